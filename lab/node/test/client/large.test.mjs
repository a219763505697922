// SPDX-License-Identifier: GPL-3.0-or-later
// A company so large, over a link so slow, that it comes in no time that a single statement may take.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import * as client from "./support.mjs";

const { COMPANY } = client;
const KEYS = 20_000;
const DEADLINE_MS = 600;
/** So that all keys take several deadlines. */
const BYTES_A_SECOND = 1_500_000;

/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof client.startService>>[]} */
const services = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
  await database.admin.query(
    `INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)
     SELECT $1, 'device-list', n::text, jsonb_build_array(n::text, repeat('x', 150)) FROM generate_series(1, $2::int) AS n`,
    [COMPANY, KEYS],
  );
  await database.admin.query("ANALYZE whatsapp_keys");
});
afterEach(async () => {
  database.proxy.heal();
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

async function open() {
  const started = await client.startService(database, { queryTimeoutMs: DEADLINE_MS });
  services.push(started);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...started, ...auth, keys: auth.state.keys };
}

/** What came over the link could not come within one deadline. @param {number} bytes */
const tookLonger = (bytes) => assert.ok((bytes / BYTES_A_SECOND) * 1000 > 3 * DEADLINE_MS, `only ${bytes} bytes came`);

test("it loads, although all of it takes longer than a statement may", async () => {
  database.proxy.slow(BYTES_A_SECOND);
  const before = database.proxy.received;
  const auth = await open();
  tookLonger(database.proxy.received - before);
  assert.equal(auth.status().keys, KEYS);
  assert.deepEqual(await auth.keys.get("device-list", [String(KEYS)]), { [KEYS]: [String(KEYS), "x".repeat(150)] });
});

test("a link that goes silent in the middle of it is noticed by the deadline of a statement", async () => {
  database.proxy.slow(BYTES_A_SECOND);
  database.proxy.dropAfter(2_000_000);
  const error = await client.refuses(open(), "Unavailable", /load: the database does not serve: Query read timeout/);
  assert.equal(error.retryable, true);
  const { logger } = services[0];
  const [line] = logger.lines.warn.filter((each) => each.includes('"operation":"load"'));
  assert.match(line, /"failed":"timeout"/);
});

test("it comes back from an outage over that link, with all that it wrote", async () => {
  const auth = await open();
  database.proxy.refuse();
  const written = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`w${n}`, ["0", "y".repeat(150)]]));
  await auth.keys.set({ "device-list": { ...written, 1: null } });
  database.proxy.heal();
  database.proxy.slow(BYTES_A_SECOND);
  const before = database.proxy.received;
  await client.until("the session is online", () => auth.status().state === "online", 120_000);
  tookLonger(database.proxy.received - before);
  const { rows } = await database.admin.query("SELECT count(*)::int AS n, count(*) FILTER (WHERE key_id = '1')::int AS gone FROM whatsapp_keys");
  assert.deepEqual(rows[0], { n: KEYS + 5000 - 1, gone: 0 });
});

test("the way back reads everything once, and what it wrote once more", async () => {
  const unit = database.proxy.received;
  const auth = await open();
  const all = database.proxy.received - unit;
  database.proxy.refuse();
  await auth.keys.set({ "device-list": { w: ["0"], 1: null } });
  const before = database.proxy.received;
  database.proxy.heal();
  await client.until("the session is online", () => auth.status().state === "online");
  const read = database.proxy.received - before;
  assert.ok(read > 0.9 * all && read < 1.2 * all, `${read} bytes came, and all of it is ${all}`);
});
