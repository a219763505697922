// SPDX-License-Identifier: GPL-3.0-or-later
// A session that starts from files: what Baileys wrote is found, and what Baileys would take for a new identity or for a key
// that does not exist is refused.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, renameSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { useMultiFileAuthState } from "baileys";

import { SessionService, useResilientAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import { coordinator } from "./coordinator.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
const FILES = { USE_DATABASE_AUTH_STATE: "false" };
/** @type {client.Database} */
let database;
/** @type {string} */
let dir;
/** @type {string} */
let place;
/** @type {SessionService[]} */
const services = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  await client.resetTables(database.admin);
  dir = temporaryDir();
  place = join(dir, "sessions", `company_${COMPANY}`);
  mkdirSync(place, { recursive: true });
  const { state, saveCreds } = await useMultiFileAuthState(place);
  Object.assign(state.creds, client.pairedCreds());
  await saveCreds();
  await state.keys.set(/** @type {any} */ (KEYS));
});
afterEach(async () => {
  for (const service of services.splice(0)) await service.close();
  removeDir(dir);
});
after(() => database.stop());

const KEYS = {
  session: { "alice.0": client.record(1), "bob_1.2": client.record(2) },
  "pre-key": { 5: client.preKey() },
  "sender-key": { "1-2@g.us::alice_1::0": Buffer.from("[1]") },
  "sender-key-memory": { "1-2@g.us": { "a@s.whatsapp.net": true } },
  "app-state-sync-key": { "AA/B_C=": { keyData: Buffer.from("k") } },
  "lid-mapping": { "123_reverse": "962" },
  tctoken: { __index: { token: Buffer.from("t") } },
};

/** @param {object} [options] @param {Record<string, string>} [env] */
async function open(options = {}, env = FILES) {
  const service = await SessionService.create({ dir, sessionsDir: join(dir, "sessions"), exportDir: join(dir, "exports"), ...options }, env);
  services.push(service);
  const auth = await useResilientAuthState(COMPANY, { service }, env);
  return { ...auth, service, keys: auth.state.keys };
}

test("without any database, what Baileys wrote is found under the ids that it has there", async () => {
  const auth = await open();
  const { state, store, directory, keys } = auth.status();
  assert.deepEqual([state, store, directory, keys], ["online", "files", place, 8]);
  for (const [type, values] of Object.entries(KEYS)) {
    const found = await auth.keys.get(type, Object.keys(values));
    assert.deepEqual(Object.keys(found), Object.keys(values), type);
  }
  assert.deepEqual((await auth.keys.get("session", ["bob_1.2"]))["bob_1.2"], client.record(2));
  assert.equal((await auth.keys.get("app-state-sync-key", ["AA/B_C="]))["AA/B_C="].keyData.toString(), "k");
  assert.deepEqual(await auth.keys.get("session", ["nobody.0"]), {});
  assert.deepEqual(await auth.service.companies("files"), [COMPANY]);
  const status = JSON.parse((await client.askHttp({ socketPath: join(dir, "admin.sock") }, "GET", "/status")).text);
  assert.deepEqual(status.sessions.map((/** @type {any} */ each) => [each.company, each.store]), [[COMPANY, "files"]]);
  assert.match((await client.post(dir, `/store?company=${COMPANY}&to=postgres&phase=hold`)).error, /POSTGRES_HOST is not set/);
  await client.refuses(auth.service.open(COMPANY.replace("1", "2")), "Misconfigured", /POSTGRES_HOST is not set/);
});

test("it is as Baileys reads it after each write, creds included", async () => {
  const auth = await open();
  await auth.keys.set({ session: { "alice.0": client.record(9) }, "pre-key": { 5: null, 6: client.preKey() } });
  auth.state.creds.nextPreKeyId = 77;
  await auth.saveCreds();
  const { state } = await useMultiFileAuthState(place);
  assert.equal(state.creds.nextPreKeyId, 77);
  assert.deepEqual((await state.keys.get("session", ["alice.0"]))["alice.0"], /** @type {any} */ (client.record(9)));
  const preKeys = await state.keys.get("pre-key", ["5", "6"]);
  assert.deepEqual([preKeys[5], preKeys[6].private.length], [null, 32]);
});

/** @type {[string, () => void, string, RegExp][]} */
const TRAPS = [
  ["there are no creds", () => unlinkSync(join(place, "creds.json")), "UnknownCompany", /there is no .*creds.json/],
  ["the creds are empty", () => truncateSync(join(place, "creds.json")), "CredsInvalid", /are no session/],
  ["the creds are of nobody", () => writeFileSync(join(place, "creds.json"), "{}"), "CredsInvalid", /noiseKey is no pair/],
  ["a key file is empty", () => truncateSync(join(place, "session-alice.0.json")), "KeysUndecodable", /1 stored keys are no keys/],
  ["a key file is a link to somewhere", () => {
    renameSync(join(place, "session-alice.0.json"), join(dir, "elsewhere"));
    symlinkSync(join(dir, "elsewhere"), join(place, "session-alice.0.json"));
  }, "FilesFailed", /ELOOP/],
]; // prettier-ignore
for (const [what, spoil, name, message] of TRAPS) {
  test(`where ${what}, nothing starts and nothing is made anew`, async () => {
    spoil();
    const before = readdirSync(place);
    await client.refuses(open(), name, message);
    assert.deepEqual(readdirSync(place), before);
  });
}

test("a flag that is not set is no guess, and a second process is kept out", async () => {
  await client.refuses(open({}, /** @type {any} */ ({ POSTGRES_HOST: "h", POSTGRES_DB: "d", POSTGRES_USER: "u" })), "Misconfigured", /USE_DATABASE_AUTH_STATE is not set/);
  await services.splice(0)[0].close();
  const auth = await open();
  await client.refuses(useResilientAuthState(COMPANY, { service: auth.service, sessionsDir: "/elsewhere" }, FILES), "Misconfigured", /that of the service is/);
  await client.refuses(open({ admin: false }), "WriterBusy", /another process of this host/);
});

test("what a writer that was killed left half-way is not read, and goes", async () => {
  writeFileSync(join(place, "session-alice.0.json.tmp"), "{");
  const auth = await open();
  assert.deepEqual((await auth.keys.get("session", ["alice.0"]))["alice.0"], client.record(1));
  assert.ok(!readdirSync(place).includes("session-alice.0.json.tmp"));
});

test("a key whose name can be read in two ways is found under the id that Baileys asks for", async () => {
  const { state } = await useMultiFileAuthState(place);
  await state.keys.set(/** @type {any} */ ({ session: { "a:b/c.0": client.record(3) }, "new-kind": { one: { a: 1 } } }));
  const auth = await open();
  const { code, error } = await client.post(dir, `/export?company=${COMPANY}`);
  assert.deepEqual([code, /1 files start with no known type/.test(error)], [409, true]);
  assert.deepEqual(await auth.keys.get("session", ["a:b/c.0"]), { "a:b/c.0": client.record(3) });
  assert.deepEqual(await auth.keys.get("session", ["a-b__c.0"]), {});
  assert.deepEqual(await auth.keys.get("new-kind", ["one"]), { one: { a: 1 } });
  const { exported } = await client.post(dir, `/export?company=${COMPANY}`);
  assert.equal(exported[COMPANY].keys, 10);
});

test("a session that began in files moves to PostgreSQL with its ids, and back", async () => {
  await client.addCompany(database.admin);
  const auth = await open({ connection: database.directConnection });
  const moving = coordinator({ dir, sessionsDir: join(dir, "sessions"), admin: database.admin });
  await moving.move(COMPANY, "postgres");
  await auth.keys.set({ session: { "alice.0": client.record(6) } });
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(6));
  assert.ok(await client.rowOf(database.admin, "app-state-sync-key", "AA/B_C="));
  assert.ok(await client.rowOf(database.admin, "sender-key", "1-2@g.us::alice_1::0"));
  await moving.move(COMPANY, "files");
  await auth.service.close();
  const again = await open();
  assert.deepEqual((await again.keys.get("session", ["alice.0"]))["alice.0"], client.record(6));
});

for (const told of [true, false]) {
  test(`one that has moved and is opened again by its process is where it moved to, ${told ? "whatever the flag says" : "also before the database is told"}`, async () => {
    await client.addCompany(database.admin);
    const auth = await open({ connection: database.directConnection });
    const moving = coordinator({ dir, sessionsDir: join(dir, "sessions"), admin: database.admin });
    await moving.move(COMPANY, "postgres");
    await auth.keys.set({ session: { "alice.0": client.record(6) } });
    await auth.close();
    const there = await useResilientAuthState(COMPANY, { service: auth.service }, FILES);
    assert.deepEqual([there.status().store, (await there.state.keys.get("session", ["alice.0"]))["alice.0"]], ["postgres", client.record(6)]);
    await moving.move(COMPANY, "files");
    await there.state.keys.set({ session: { "alice.0": client.record(7) } });
    await there.close();
    if (!told) await database.admin.query("UPDATE baileys_resilience.stores SET store = 'postgres'");
    const back = await useResilientAuthState(COMPANY, { service: auth.service }, { USE_DATABASE_AUTH_STATE: "true" });
    assert.deepEqual([back.status().store, (await back.state.keys.get("session", ["alice.0"]))["alice.0"]], ["files", client.record(7)]);
  });
}
