// SPDX-License-Identifier: GPL-3.0-or-later
// Real sessions of real Baileys while their database is away: messages both ways, in the outage and after it. A broken
// ratchet would show as a message that cannot be decrypted. OUTAGE_SECONDS=300 makes it as long as it has to be.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import * as lab from "../support/lab.mjs";
import * as client from "./support.mjs";
import * as talking from "./talking.mjs";

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
  const app = await lab.startApp(home, "client", standin, talking.throughProxy(database));
  apps.push(app);
  for (const { company_id: id } of companies) await lab.untilOpen(app, id);
  return app;
}

/** @param {lab.App} app @param {string} text */
const talk = (app, text) => talking.talk(standin, companies, app, text);
/** @param {lab.App} app @param {string} text */
const talkTwice = (app, text) => talking.talkTwice(standin, companies, app, text);
const logins = () => talking.loginsOf(standin);
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
