// SPDX-License-Identifier: GPL-3.0-or-later
// Two sample applications with as many companies each, one on the session client and one on files, and messages through them.

import { proto, useMultiFileAuthState } from "baileys";
import pg from "pg";

import { decode } from "../../../roles/session_client/files/client/src/codec.js";
import * as lab from "../test/support/lab.mjs";
import { connectionOf } from "../test/support/postgres.mjs";
import { folderOf } from "./stores.mjs";

const TURNS = 3;

/** @typedef {{company_id: string, jid: string}} Paired @typedef {{control: string, ws: string}} Standin */

/** A company's rows as the real library writes them. @param {pg.Client} client @param {string} company @param {string} home */
export async function writeFiles(client, company, home) {
  const { state, saveCreds } = await useMultiFileAuthState(folderOf(home, company));
  const auth = await client.query("SELECT creds::text AS creds FROM whatsapp_auth WHERE company_id = $1", [company]);
  Object.assign(state.creds, decode("creds", auth.rows[0].creds));
  await saveCreds();
  const { rows } = await client.query("SELECT key_type AS type, key_id AS id, value::text AS value FROM whatsapp_keys WHERE company_id = $1", [company]);
  /** @type {any} */
  const data = {};
  for (const { type, id, value: text } of rows) {
    const value = decode(type, text);
    (data[type] ??= {})[id] = type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(value) : value;
  }
  await state.keys.set(data);
}

/** @param {"client" | "archive"} form @param {string} dir @param {Standin} standin @param {Record<string, string>} env
 * @param {Paired[]} companies */
async function startApp(form, dir, standin, env, companies) {
  const home = lab.makeApp(dir, form);
  const ids = companies.map(({ company_id: id }) => id);
  if (form === "archive") {
    const client = new pg.Client(connectionOf(env));
    await client.connect();
    for (const id of ids) await writeFiles(client, id, `${home}/baileys_sessions`);
    await client.end();
  }
  process.env.POSTGRES_PASSWORD = env.PGPASSWORD; // any character, which a line of .env cannot hold
  const app = await lab.startApp(home, form, standin, env, { COMPANIES: ids.join(",") });
  for (const id of ids) await lab.untilOpen(app, id);
  return { ...app, companies };
}

/** @param {string} dir @param {Standin} standin @param {Record<string, string>} env @param {Paired[]} companies half for each */
export async function startApps(dir, standin, env, companies) {
  const half = companies.length / 2;
  const client = await startApp("client", dir, standin, env, companies.slice(0, half));
  const files = await startApp("archive", dir, standin, env, companies.slice(half));
  const contact = (await lab.call(`${standin.control}/contact`, { id: "contact-1" })).jid;
  return {
    /** Seconds for a message: every company gets and sends `TURNS` at once with all others. @param {"client" | "files"} store */
    async talk(store) {
      const app = store === "client" ? client : files;
      const started = performance.now();
      await Promise.all(app.companies.map((company) => talk(app, standin, company, contact)));
      return (performance.now() - started) / 1000 / (app.companies.length * TURNS * 2);
    },
    async stop() {
      await client.stop();
      await files.stop();
    },
  };
}

/** @param {lab.App} app @param {Standin} standin @param {Paired} company @param {string} contact */
async function talk(app, standin, { company_id: company, jid }, contact) {
  for (let turn = 0; turn < TURNS; turn++) {
    const { outcome } = await lab.call(`${standin.control}/message`, { to: jid, text: `to ${company}`, timeout_ms: 30000 });
    if (outcome !== "delivered") throw new Error(`a message to ${company} was ${outcome}: ${app.output.text.slice(-1000)}`);
    const sent = await lab.call(`${app.url}/send`, { company, to: contact, text: `from ${company}` });
    if (sent.status !== 200) throw new Error(`${company} could not send: ${JSON.stringify(sent)}`);
  }
}
