// SPDX-License-Identifier: GPL-3.0-or-later
// What comes into memory, and what is refused with which words.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { proto } from "baileys";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { reencode } from "../../seed/encodings.mjs";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof client.startService>>[]} */
const services = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(() => client.resetTables(database.admin));
afterEach(async () => {
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

/** @param {object} [options] @param {string} [company] */
async function open(options, company = COMPANY) {
  const started = await client.startService(database, options);
  services.push(started);
  const auth = await usePostgresAuthState(company, { service: started.service });
  return { ...started, ...auth, keys: auth.state.keys };
}

/** @param {string} table */
const rowsOf = async (table) => (await database.admin.query(`SELECT * FROM ${table}`)).rows;

for (const form of [0, 1, 2]) {
  test(`bytes in the ${["base64", "array", "index"][form]} form are loaded as bytes, in creds and keys`, async () => {
    const creds = client.pairedCreds();
    const pair = client.preKey();
    const plain = (/** @type {any} */ value) => reencode(JSON.parse(JSON.stringify(value, client.replacer)), form);
    await client.addCompany(database.admin, plain(creds));
    await client.addKey(database.admin, "pre-key", "5", plain(pair));
    await client.addKey(database.admin, "identity-key", "a.0", plain(Buffer.from([5, 1, 2])));
    await client.addKey(database.admin, "app-state-sync-version", "regular", plain({ version: 3, hash: Buffer.alloc(128), indexValueMap: { x: { valueMac: Buffer.from("m") } } }));
    const auth = await open();
    assert.deepEqual(auth.state.creds.noiseKey.private, Buffer.from(creds.noiseKey.private));
    assert.deepEqual(auth.state.creds.signedPreKey.signature, Buffer.from(creds.signedPreKey.signature));
    assert.deepEqual((await auth.keys.get("pre-key", ["5"]))["5"], { private: Buffer.from(pair.private), public: Buffer.from(pair.public) });
    assert.deepEqual((await auth.keys.get("identity-key", ["a.0"]))["a.0"], Buffer.from([5, 1, 2]));
    assert.deepEqual((await auth.keys.get("app-state-sync-version", ["regular"])).regular.indexValueMap.x.valueMac, Buffer.from("m"));
  });
}

test("an app state key comes as the protobuf that Baileys works with, and goes back as it was", async () => {
  await client.addCompany(database.admin);
  const stored = { keyData: Buffer.from("k".repeat(32)).toString("base64"), fingerprint: { rawId: 1, currentIndex: 0, deviceIndexes: [0] }, timestamp: "1700000000000" };
  await client.addKey(database.admin, "app-state-sync-key", "AAA", stored);
  const auth = await open();
  const { AAA: key } = await auth.keys.get("app-state-sync-key", ["AAA"]);
  assert.ok(key instanceof proto.Message.AppStateSyncKeyData);
  assert.deepEqual(Buffer.from(key.keyData ?? ""), Buffer.from("k".repeat(32)));
  await auth.keys.set({ "app-state-sync-key": { BBB: key } });
  assert.deepEqual(await client.rowOf(database.admin, "app-state-sync-key", "BBB"), stored);
});

test("what is changed in a value that was read or written does not change the session", async () => {
  await client.addCompany(database.admin);
  const auth = await open();
  /** @type {Record<string, boolean>} */
  const given = { "a@s": true };
  await auth.keys.set({ "sender-key-memory": { g: given } });
  given["b@s"] = true;
  const first = (await auth.keys.get("sender-key-memory", ["g"])).g;
  first["c@s"] = true;
  assert.deepEqual(await auth.keys.get("sender-key-memory", ["g"]), { g: { "a@s": true } });
});

test("a company that is not in the table is refused, and stays so", async () => {
  await client.refuses(open(), "UnknownCompany", /allowNewCompany: true/);
  assert.deepEqual(await rowsOf("whatsapp_auth"), []);
});

test("only allowNewCompany makes creds, and their row comes with the first save", async () => {
  const auth = await open({ allowNewCompany: true });
  assert.deepEqual(await rowsOf("whatsapp_auth"), []);
  auth.state.creds.me = { id: "1:1@s.whatsapp.net" };
  await auth.saveCreds();
  await auth.saveCreds();
  const [row] = await rowsOf("whatsapp_auth");
  assert.equal(row.creds.me.id, "1:1@s.whatsapp.net");
  assert.equal(row.creds.noiseKey.private.type, "Buffer");
});

for (const [what, creds, reason] of /** @type {[string, any, RegExp][]} */ ([
  ["null", null, /NULL|null/],
  ["empty", {}, /noiseKey is no pair of keys/],
  ["a list", [], /no object|noiseKey/],
  ["of the wrong shape", { ...client.pairedCreds(), registrationId: "7" }, /registrationId/],
])) {
  test(`creds that are ${what} are refused, also for a new company`, async () => {
    await client.addCompany(database.admin, creds);
    const before = await rowsOf("whatsapp_auth");
    for (const allowNewCompany of [false, true]) {
      await client.refuses(open({ allowNewCompany }), "CredsInvalid", reason);
    }
    assert.deepEqual(await rowsOf("whatsapp_auth"), before);
  });
}

test("keys without a row of creds are a company in trouble, not a new one", async () => {
  await client.addKey(database.admin, "lid-mapping", "1", "2");
  await client.refuses(open({ allowNewCompany: true }), "CredsInvalid", /no row of creds/);
});

test("stored keys that are no keys are named by type and hash, and the session does not start", async () => {
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "pre-key", "962790000009", { private: "garbage" });
  await client.addKey(database.admin, "session", "good.0", client.record(1));
  const told = /1 stored keys are no keys \(pre-key #[0-9a-f]{10}: it is no pair of keys\).*tolerateBadKeys/;
  const error = await client.refuses(open(), "KeysUndecodable", told);
  assert.doesNotMatch(error.message, /962790000009/);
});

test("with tolerateBadKeys the rest is there, and to ask for a bad one is an error and never an absence", async () => {
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "pre-key", "9", { private: "garbage" });
  await client.addKey(database.admin, "session", "good.0", client.record(1));
  const auth = await open({ tolerateBadKeys: true });
  assert.deepEqual(await auth.keys.get("session", ["good.0", "none.0"]), { "good.0": client.record(1) });
  await assert.rejects(auth.keys.get("pre-key", ["9"]), { name: "AbsenceUnproven" });
  await auth.keys.set({ "pre-key": { 9: client.preKey() } });
  assert.ok((await auth.keys.get("pre-key", ["9"]))["9"].private);
});

test("a missing table or column is named, with the option to set", async () => {
  await client.addCompany(database.admin);
  await assert.rejects(open({ tables: { keys: { table: "nothing" } } }), /table "nothing" does not exist. HINT: set tables.keys.table/);
  await assert.rejects(open({ tables: { auth: { creds: "secret" } } }), /column "secret" missing in whatsapp_auth. HINT: set tables.auth.creds .*there are: company_id, created_at/);
});

test("tables with other names, a uuid for the company and no times work through the mapping", async () => {
  const company = "0d6f2d3e-5e0a-4c51-9b6e-1c2d3e4f5a6b";
  await database.admin.query(`DROP TABLE IF EXISTS "My Auth", mine;
    CREATE TABLE "My Auth" (org uuid PRIMARY KEY, secret json);
    CREATE TABLE mine (org uuid, kind varchar(30), name varchar(200), body json, PRIMARY KEY (org, kind, name))`);
  await database.admin.query('INSERT INTO "My Auth" VALUES ($1, $2)', [company, JSON.stringify(client.pairedCreds(), client.replacer)]);
  const tables = {
    auth: { table: "My Auth", company: "org", creds: "secret", updated_at: null },
    keys: { table: "mine", company: "org", type: "kind", id: "name", value: "body", updated_at: null },
  };
  const auth = await open({ tables }, company);
  await auth.keys.set({ session: { "a.0": client.record(1), "b.0": client.record(1) } });
  await auth.keys.set({ session: { "a.0": client.record(2), "b.0": null } });
  auth.state.creds.nextPreKeyId = 99;
  await auth.saveCreds();
  const rows = await rowsOf("mine");
  assert.deepEqual(rows.map(({ name, body }) => [name, body]), [["a.0", client.record(2)]]);
  assert.equal((await rowsOf('"My Auth"'))[0].secret.nextPreKeyId, 99);
});

test("a company that lives in files is not opened from its old rows", async () => {
  await client.addCompany(database.admin);
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'files', 1, now(), 'app-1', 'r')", [COMPANY]);
  await client.refuses(open(), "Fenced", /lives in files on app-1/);
});

test("one connection is enough", async () => {
  await client.addCompany(database.admin);
  const auth = await open({ poolSize: 1 });
  await Promise.all(Array.from({ length: 20 }, (_, number) => auth.keys.set({ "lid-mapping": { [number]: "x" } })));
  assert.equal((await rowsOf("whatsapp_keys")).length, 20);
});

test("a second process is told who has the session", async () => {
  await client.addCompany(database.admin);
  await open();
  const elsewhere = temporaryDir(); // another host would not see the mark of the first either
  try {
    const who = new RegExp(`another process has this session: wa-session/[^/]+/${process.pid}/[0-9a-z]{12} \\(127.0.0.1, since `);
    await client.refuses(open({ dir: elsewhere }), "WriterBusy", who);
  } finally {
    removeDir(elsewhere);
  }
});

test("an id that would be a path is refused before anything is made", async () => {
  for (const id of ["", "..", "."]) await assert.rejects(open({}, id), { name: "Misconfigured" });
});

test("a setting that is none of the allowed ones is named", async () => {
  await assert.rejects(open({ onOutage: "never" }), /onOutage is never. HINT: one of journal, memory, read-only/);
  await assert.rejects(open({ cacheTtlMs: -1 }), /cacheTtlMs is -1/);
});
