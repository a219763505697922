// SPDX-License-Identifier: GPL-3.0-or-later
// Real sessions of real Baileys while their database is away: messages both ways, in the outage and after it. A broken
// ratchet would show as a message that cannot be decrypted. OUTAGE_SECONDS=300 makes it as long as it has to be.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import * as lab from "../support/lab.mjs";
import * as client from "./support.mjs";

const OUTAGE_SECONDS = Number(process.env.OUTAGE_SECONDS ?? 8);
const COMPANIES = ["962301", "962302"];
const dir = lab.temporaryDir();
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any[]} */
let companies;
/** @type {string} */
let home;
/** @type {lab.App[]} */
const apps = [];

before(async () => {
  database = await client.startDatabase();
  standin = await lab.startStandin(dir);
  companies = lab.pair(standin, database.env, COMPANIES, 900);
  home = lab.makeApp(dir, "client");
});
afterEach(async () => {
  database.proxy.heal();
  for (const app of apps.splice(0)) await app.stop();
});
after(async () => {
  await standin?.stop();
  await database?.stop();
  lab.removeDir(dir);
});

async function start() {
  const app = await lab.startApp(home, "client", standin, { ...database.env, PGUSER: "app", PGPORT: String(database.proxy.port) });
  apps.push(app);
  for (const { company_id: id } of companies) await lab.untilOpen(app, id);
  return app;
}

/** A message to each company and an answer from each; all must be read. @param {lab.App} app @param {string} text */
async function talk(app, text) {
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

/** A ratchet that went wrong shows only after a full turn of it, and sometimes in the second. @param {lab.App} app @param {string} text */
async function talkTwice(app, text) {
  await talk(app, `${text}, first`);
  await talk(app, `${text}, second`);
}

const logins = async () => {
  const { devices } = await lab.call(`${standin.control}/status`);
  return devices.map((/** @type {any} */ device) => device.logins);
};
/** @param {lab.App} app */
const untilWell = (app) => lab.until("all is written", async () => (await lab.call(`${app.url}/health`)).status === "ok");

test("messages flow through an outage: nobody is disconnected, nothing is lost, and the rows are the session's", async () => {
  const app = await start();
  await talkTwice(app, "before");
  const before = await logins();
  database.proxy.drop();
  const end = Date.now() + OUTAGE_SECONDS * 1000;
  for (let turn = 1; turn < 3 || Date.now() < end; turn++) {
    await talk(app, `in the outage, turn ${turn}`);
    if (turn > 2) await new Promise((resolve) => setTimeout(resolve, 250));
  }
  const health = await lab.call(`${app.url}/health`);
  assert.equal(health.status, "degraded");
  assert.match(health.last_error, /runs from memory/);
  database.proxy.heal();
  await untilWell(app);
  await talkTwice(app, "after");
  assert.deepEqual(await logins(), before);
  // What is in the database is enough: another process goes on with it.
  await app.stop();
  await talkTwice(await start(), "from the database");
});

test("an application that is killed in the outage goes on in it, and after it", async () => {
  const app = await start();
  await talk(app, "before the kill");
  database.proxy.refuse();
  await talkTwice(app, "in memory");
  app.child.kill("SIGKILL");
  const second = await start();
  await talkTwice(second, "from the cache");
  database.proxy.heal();
  await untilWell(second);
  await talkTwice(second, "back in the database");
  second.child.kill("SIGKILL");
  await talkTwice(await start(), "after a kill while all is well");
});

test("an application that is killed in the outage and started after it has lost nothing", async () => {
  const app = await start();
  database.proxy.refuse();
  await talkTwice(app, "in memory");
  app.child.kill("SIGKILL");
  database.proxy.heal();
  await talkTwice(await start(), "after the outage");
});
