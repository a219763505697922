// SPDX-License-Identifier: GPL-3.0-or-later
// Real sessions that are drained for a failover in the middle of an outage: the copy is all there is, and it is enough.
import assert from "node:assert/strict";
import { cpSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { useMultiFileAuthState } from "baileys";

import * as lab from "../support/lab.mjs";
import * as client from "./support.mjs";
import * as talking from "./talking.mjs";

const COMPANIES = ["962301", "962302"];
const dir = lab.temporaryDir();
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any[]} */
let companies;
/** @type {Awaited<ReturnType<typeof talking.makeHomes>>} */
let homes;
/** @type {lab.App[]} */
const apps = [];

before(async () => {
  database = await client.startDatabase();
  standin = await lab.startStandin(dir);
  companies = lab.pair(standin, database.env, COMPANIES, 400);
  homes = talking.makeHomes(dir);
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

async function startClient() {
  const app = await lab.startApp(homes.client, "client", standin, talking.throughProxy(database), talking.settingsOf(homes));
  apps.push(app);
  for (const id of COMPANIES) await lab.untilOpen(app, id);
  return app;
}
const post = (/** @type {string} */ path) => client.post(join(homes.client, ".wa-session"), path);
const logins = () => talking.loginsOf(standin);
/** @param {lab.App} app @param {string} text */
const talk = (app, text) => talking.talkTwice(standin, companies, app, text);
/** @param {lab.App} app */
const refusals = (app) => COMPANIES.every((id) => app.output.text.includes(`company ${id} close: company ${id} was drained for a failover`));

test("a failover that was taken back goes on in the same process, and nothing is lost", async () => {
  const app = await startClient();
  database.proxy.refuse();
  await talk(app, "in the outage");
  const { code, drained } = await post("/drain?export=true");
  assert.equal(code, 200);
  for (const id of COMPANIES) assert.deepEqual([drained[id].state, drained[id].export.counts], ["stopped", drained[id].counts]);
  await lab.until("the application has tried to open them again", () => refusals(app));
  const before = await logins();
  assert.deepEqual((await post("/resume")).resumed.sort(), COMPANIES);
  await lab.until("each has logged in again", async () => (await logins()).every((/** @type {number} */ count, /** @type {number} */ at) => count === before[at] + 1));
  await talk(app, "from the cache, after the resume");
  database.proxy.heal();
  await lab.until("all is written", async () => (await lab.call(`${app.url}/health`)).status === "ok");
  await talk(app, "in the database");
});

test("the copy of a drain in an outage is what the real library loads, and it goes on decrypting from there", async () => {
  const app = await startClient();
  database.proxy.refuse();
  await talk(app, "in the outage");
  const { drained } = await post("/drain?export=true");
  const before = await logins();
  for (const id of COMPANIES) {
    const { directory, keys, manifest_sha256: digest } = drained[id].export;
    const lines = readFileSync(join(directory, ".resilience-manifest.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(lines.at(-1).sha256, digest);
    const { state } = await useMultiFileAuthState(directory);
    const named = lines.slice(1, -1).filter(([type]) => type !== "creds");
    for (const [type, key] of named) assert.ok((await state.keys.get(type, [key]))[key], `${type} is not loaded`);
    assert.equal(named.length, keys);
    cpSync(directory, join(homes.files, "baileys_sessions", `company_${id}`), { recursive: true });
  }
  await lab.until("the application has tried to open them again", () => refusals(app));
  // While it runs: what it holds is nobody's business any more.
  const files = await lab.startApp(homes.files, "archive", standin, database.env);
  apps.push(files);
  for (const id of COMPANIES) await lab.untilOpen(files, id);
  await talk(files, "from the copy");
  assert.deepEqual(await logins(), before.map((/** @type {number} */ count) => count + 1));
});
