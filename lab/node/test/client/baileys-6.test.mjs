// SPDX-License-Identifier: GPL-3.0-or-later
// The session client under real Baileys 6.7: through an outage, to files and back while it is connected, and on to Baileys 7.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import * as seven from "baileys";
import * as six from "baileys-6";
import pino from "pino";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { canonical } from "../../../../roles/session_client/files/client/src/replay.js";
import { quietLibsignal } from "../../quiet.mjs";
import { WA_VERSION } from "../../seed/device.mjs";
import * as lab from "../support/lab.mjs";
import { coordinator } from "./coordinator.mjs";
import { filesIn } from "./moving.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** Without a LID: Baileys 6 does not find what Baileys 7, which pairs here, has stored of the others. */
const CONTACT = "pn-contact-1";
/** Baileys 6 drops what the server says while it still derives the keys to read it with, and a server on the same machine is as
 * fast as that: such a login is tried again, as an application does. */
const LOGIN_MS = 3000;
const LOGINS = 10;

const dir = lab.temporaryDir();
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any} */
let company;
/** @type {{service: any, remove: () => void}[]} */
const services = [];

before(async () => {
  quietLibsignal();
  database = await client.startDatabase();
  standin = await lab.startStandin(dir);
  [company] = lab.pair(standin, database.env, [COMPANY], 300);
});
afterEach(async () => {
  database.proxy.heal();
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
  await database.admin.query("TRUNCATE baileys_resilience.stores");
});
after(async () => {
  await standin?.stop();
  await database?.stop();
  lab.removeDir(dir);
});

/** A process's session with that library, connected. @param {any} library @param {object} [options] */
async function start(library, options = {}) {
  const started = await client.startService(database, { baileys: library, ...options });
  const { settings } = started.service;
  settings.exportDir = join(started.dir, "exports");
  settings.sessionsDir = join(started.dir, "sessions");
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  const sock = await login(library, auth);
  services.push({ service: started.service, remove: started.remove });
  const moving = coordinator({ dir: started.dir, sessionsDir: settings.sessionsDir, admin: database.admin });
  return { ...started, auth, sock, moving };
}
/** @typedef {Awaited<ReturnType<typeof start>>} Started */

/** @param {any} library @param {any} auth @returns {Promise<any>} */
async function login(library, auth) {
  for (let tries = 1; ; tries++) {
    const sock = library.makeWASocket({
      waWebSocketUrl: standin.ws, auth: auth.state, version: WA_VERSION, browser: library.Browsers.ubuntu("Chrome"),
      logger: pino({ level: process.env.BAILEYS_LOG ?? "silent" }), markOnlineOnConnect: false, syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
    }); // prettier-ignore
    auth.attach(sock);
    sock.ev.on("creds.update", () => auth.saveCreds());
    const open = await new Promise((resolve) => {
      const timer = setTimeout(resolve, LOGIN_MS, false);
      sock.ev.on("connection.update", (/** @type {any} */ { connection }) => {
        if (connection !== "open" && connection !== "close") return;
        clearTimeout(timer);
        resolve(connection === "open");
      });
    });
    if (open) return sock;
    await sock.end(undefined);
    if (tries === LOGINS) throw new Error(`no connection in ${LOGINS} logins`);
  }
}

/** A message to the company and an answer from it, twice: a ratchet that went wrong may show only then.
 * @param {Started} app @param {string} about */
async function talk({ sock }, about) {
  const { jid: contact } = await lab.call(`${standin.control}/contact`, { id: CONTACT });
  for (const text of [`${about}, first`, `${about}, second`]) {
    const { outcome } = await lab.call(`${standin.control}/message`, { to: company.jid, from: CONTACT, text, timeout_ms: 15000 });
    assert.equal(outcome, "delivered", text);
    await sock.sendMessage(contact, { text: `answer: ${text}` });
    await lab.until(`"${text}" is answered`, async () => {
      const { messages } = await lab.call(`${standin.control}/inbox?contact=${CONTACT}`);
      return messages.some((/** @type {any} */ message) => message.text === `answer: ${text}`);
    });
  }
}

/** Every key and the creds, as memory and as the database has them. @param {Started} app */
async function assertStored({ service }) {
  const { memory, tail } = service.sessions.get(COMPANY) ?? assert.fail("the session is not open");
  await tail;
  const { rows } = await database.admin.query("SELECT key_type, key_id, value::text FROM whatsapp_keys ORDER BY 1, 2");
  const { rows: auth } = await database.admin.query("SELECT creds::text FROM whatsapp_auth");
  const stored = rows.map(({ key_type: type, key_id: id, value }) => [type, id, canonical(type, value)]);
  assert.ok(rows.length >= 300 && stored.every(([, , text]) => text !== null));
  const inOrder = (/** @type {any[][]} */ entries) => entries.map((entry) => entry.join("\0")).sort();
  assert.deepEqual(inOrder([...memory.entries()]), inOrder(stored));
  assert.equal(memory.creds, canonical("creds", auth[0].creds));
}

/** @param {Started} app */
async function end({ service, sock, remove }) {
  await service.close();
  await sock.end(undefined);
  services.pop();
  remove();
}

test("messages flow through an outage without a new login, and the database is equal to memory before and after it", async () => {
  const app = await start(six);
  await talk(app, "before");
  await assertStored(app);
  const [device] = (await lab.call(`${standin.control}/status`)).devices;
  database.proxy.refuse();
  await talk(app, "in the outage");
  assert.equal(app.auth.status().state, "outage");
  assert.ok(Number(app.auth.status().outage?.journal_lines) > 0);
  database.proxy.heal();
  await client.until("the database is back", () => app.auth.status().state === "online");
  await talk(app, "after");
  await assertStored(app);
  assert.equal((await lab.call(`${standin.control}/status`)).devices[0].logins, device.logins);
});

test("a session that ends in an outage goes on from its cache, and then in the database", async () => {
  const first = await start(six);
  database.proxy.refuse();
  await talk(first, "in the outage of the first");
  await first.service.close();
  await first.sock.end(undefined);
  const second = await start(six, { dir: first.dir });
  assert.equal(second.auth.status().state, "outage");
  await talk(second, "from the cache");
  database.proxy.heal();
  await client.until("the database is back", () => second.auth.status().state === "online");
  await talk(second, "in the database again");
  await assertStored(second);
});

test("it moves to files and back while it is connected", async () => {
  const app = await start(six);
  const [{ logins }] = (await lab.call(`${standin.control}/status`)).devices;
  await app.moving.move(COMPANY, "files");
  await talk(app, "on files");
  await app.moving.move(COMPANY, "postgres");
  await talk(app, "on PostgreSQL again");
  await assertStored(app);
  assert.equal((await lab.call(`${standin.control}/status`)).devices[0].logins, logins);
  assert.ok(filesIn(app.moving.placeOf(COMPANY)).length > 300);
});

test("an application that goes on with Baileys 7, and back to 6.7, loses nothing", async () => {
  for (const [name, library] of Object.entries({ six, seven, "six again": six })) {
    const app = await start(library);
    await talk(app, `with ${name}`);
    await assertStored(app);
    await end(app);
  }
});
