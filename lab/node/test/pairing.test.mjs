// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import pg from "pg";

import { call, pair, removeDir, startStandin, temporaryDir } from "./support/lab.mjs";
import { connectionOf, startPostgres } from "./support/postgres.mjs";

const dir = temporaryDir();
/** @type {Awaited<ReturnType<typeof startPostgres>>} */
let db;
/** @type {Awaited<ReturnType<typeof startStandin>>} */
let standin;
/** @type {any[]} */
let companies;
/** @type {pg.Client} */
let client;

before(async () => {
  db = await startPostgres();
  standin = await startStandin(dir);
  companies = pair(standin, db.env, ["962301", "962302"]);
  client = new pg.Client(connectionOf(db.env));
  await client.connect();
});
after(async () => {
  await client?.end();
  await standin?.stop();
  await db?.stop();
  removeDir(dir);
});

/** @param {string} sql */
const rows = async (sql) => (await client.query(sql)).rows;

test("each company has as many keys as were asked for, in the mix of a real one", async () => {
  const counts = await rows("SELECT company_id, key_type, count(*)::int AS n FROM whatsapp_keys GROUP BY 1, 2");
  for (const { company_id: id } of companies) {
    const mine = Object.fromEntries(counts.filter((row) => row.company_id === id).map((row) => [row.key_type, row.n]));
    assert.equal(
      Object.values(mine).reduce((sum, n) => sum + n, 0),
      1333,
    );
    assert.ok(mine["pre-key"] > 780 && mine["pre-key"] <= 812);
    for (const type of ["session", "lid-mapping", "identity-key", "device-list", "sender-key", "sender-key-memory"]) {
      assert.ok(mine[type] >= 30, type);
    }
    assert.deepEqual([mine["app-state-sync-key"], mine["app-state-sync-version"]], [6, 5]);
  }
});

test("the bytes of each company are stored in all three encodings", async () => {
  const forms = await rows(`
    SELECT company_id, count(*) FILTER (WHERE value #>> '{private,data}' LIKE '[%')::int AS arrays,
           count(*) FILTER (WHERE jsonb_typeof(value #> '{private,data}') = 'string')::int AS base64,
           count(*) FILTER (WHERE value -> 'private' ? '31')::int AS indexes
      FROM whatsapp_keys WHERE key_type = 'pre-key' GROUP BY 1`);
  assert.equal(forms.length, 2);
  for (const { arrays, base64, indexes } of forms) assert.ok(arrays > 200 && base64 > 200 && indexes > 200);
});

test("the bytes of creds are stored in all three encodings, too", async () => {
  const forms = await rows(`
    SELECT jsonb_typeof(creds #> '{noiseKey,private,data}') AS first,
           creds #> '{signedIdentityKey,private}' ? '31' AS third,
           jsonb_typeof(creds #> '{pairingEphemeralKeyPair,private,data}') AS second FROM whatsapp_auth`);
  for (const form of forms) assert.deepEqual(form, { first: "string", second: "array", third: true });
});

test("creds keep their promises about the keys", async () => {
  const facts = await rows(`
    SELECT (creds ->> 'nextPreKeyId')::int > (SELECT max(key_id::int) FROM whatsapp_keys k
              WHERE k.company_id = a.company_id AND key_type = 'pre-key') AS next_is_above,
           (creds ->> 'firstUnuploadedPreKeyId')::int <= (creds ->> 'nextPreKeyId')::int AS uploaded,
           EXISTS (SELECT FROM whatsapp_keys k WHERE k.company_id = a.company_id AND key_type = 'app-state-sync-key'
              AND key_id = creds ->> 'myAppStateKeyId') AS has_app_state_key,
           creds #>> '{me,id}' AS jid, creds ->> 'registered' AS registered
      FROM whatsapp_auth a ORDER BY company_id`);
  assert.deepEqual(
    facts.map(({ jid }) => jid),
    companies.map(({ jid }) => jid),
  );
  for (const { next_is_above: next, uploaded, has_app_state_key: key, registered } of facts) {
    assert.deepEqual([next, uploaded, key, registered], [true, true, true, "false"]);
  }
});

test("app state keys are protobuf JSON with bare base64 and a text timestamp", async () => {
  const keys = await rows("SELECT value FROM whatsapp_keys WHERE key_type = 'app-state-sync-key'");
  for (const { value } of keys) {
    assert.equal(Buffer.from(value.keyData, "base64").length, 32);
    assert.equal(typeof value.timestamp, "string");
  }
});

test("the pre-keys on the server are the ones that the company still has", async () => {
  const [{ n }] = await rows("SELECT count(*)::int AS n FROM whatsapp_keys WHERE key_type = 'pre-key'");
  const { devices } = await call(`${standin.control}/status`);
  assert.equal(
    devices.reduce((/** @type {number} */ sum, /** @type {any} */ device) => sum + device.prekeys_left, 0),
    n,
  );
  assert.deepEqual(
    devices.map((/** @type {any} */ device) => device.retries),
    [0, 0],
  );
});

test("a QR code that nobody shows is refused with a clear sentence", async () => {
  const answer = await call(`${standin.control}/scan`, { qr: "a,b,c,d" });
  assert.equal(answer.status, 400);
  assert.match(answer.error, /no connection waits with this QR code/);
});
