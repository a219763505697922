// SPDX-License-Identifier: GPL-3.0-or-later
// Real messages between contacts of the stand-in and companies of an application, both ways.
import assert from "node:assert/strict";
import { join } from "node:path";

import * as lab from "../support/lab.mjs";

/** @typedef {Awaited<ReturnType<typeof lab.startStandin>>} Standin */

/** The application with the session client, and with its file form. @param {string} dir */
export const makeHomes = (dir) => ({ client: lab.makeApp(dir, "client"), files: lab.makeApp(dir, "archive") });

/** @param {{client: string, files: string}} homes */
export const settingsOf = (homes) => ({
  WA_SESSION_EXPORT_DIR: join(homes.client, ".exports"),
  WA_SESSIONS_DIR: join(homes.client, "baileys_sessions"),
});

/** The application is no superuser, and its network can fail. @param {{env: any, proxy: {port: number}}} database */
export const throughProxy = (database) => ({ ...database.env, PGUSER: "app", PGPORT: String(database.proxy.port) });

/** A message to each company and an answer from each; all must be read.
 * @param {Standin} standin @param {any[]} companies @param {lab.App} app @param {string} text */
export async function talk(standin, companies, app, text) {
  for (const { company_id: id, jid } of companies) {
    const { outcome } = await lab.call(`${standin.control}/message`, { to: jid, text, timeout_ms: 15000 });
    assert.equal(outcome, "delivered", `${text} to ${id}: ${app.output.text.slice(-2000)}`);
    const { jid: contact } = await lab.call(`${standin.control}/contact`, { id: "contact-1" });
    const sent = await lab.call(`${app.url}/send`, { company: id, to: contact, text: `${id} ${text}` });
    assert.equal(sent.status, 200, JSON.stringify(sent));
    await lab.until("the answer is read", async () => {
      const { messages } = await lab.call(`${standin.control}/inbox?contact=contact-1`);
      return messages.some((/** @type {any} */ message) => message.text === `${id} ${text}`);
    });
  }
}

/** A ratchet that went wrong shows only after a full turn of it, and sometimes in the second.
 * @param {Standin} standin @param {any[]} companies @param {lab.App} app @param {string} text */
export async function talkTwice(standin, companies, app, text) {
  await talk(standin, companies, app, `${text}, first`);
  await talk(standin, companies, app, `${text}, second`);
}

/** How often each device has logged in. @param {Standin} standin @returns {Promise<number[]>} */
export async function loginsOf(standin) {
  const { devices } = await lab.call(`${standin.control}/status`);
  return devices.map((/** @type {any} */ device) => device.logins);
}
