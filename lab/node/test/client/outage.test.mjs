// SPDX-License-Identifier: GPL-3.0-or-later
// A session while its database is away, and when it is back.
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Unavailable, usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { readJournal } from "../../../../roles/session_client/files/client/src/journal.js";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** More than nothing. */
const CACHE_AGE = /^wa_session_cache_age_seconds\{company="962301"\} (?!0$)[\d.]+$/m;

for (const fence of [true, false]) {
  describe(fence ? "with the schema baileys_resilience" : "without the schema baileys_resilience", () => suite(fence));
}

/** @param {boolean} fence */
function suite(fence) {
  /** @type {client.Database} */
  let database;
  /** @type {Awaited<ReturnType<typeof client.startService>>[]} */
  const services = [];

  before(async () => {
    database = await client.startDatabase({ fence });
  });
  beforeEach(async () => {
    await client.resetTables(database.admin);
    await client.addCompany(database.admin);
    await client.addKey(database.admin, "session", "alice.0", client.record(1));
  });
  afterEach(async () => {
    database.proxy.heal();
    for (const { service, remove } of services.splice(0)) {
      await service.close();
      remove();
    }
  });
  after(() => database.stop());

  /** @param {object} [options] */
  async function open(options) {
    const started = await client.startService(database, options);
    services.push(started);
    const auth = await usePostgresAuthState(COMPANY, { service: started.service });
    return { ...started, ...auth, keys: auth.state.keys };
  }
  /** @param {any} auth @param {string} state */
  const untilState = (auth, state) => client.until(`the session is ${state}`, () => auth.status().state === state);
  /** @param {string} id */
  const stored = (id) => client.rowOf(database.admin, "session", id);
  /** @param {number} counter */
  const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });

  /** @type {[string, () => Promise<unknown> | unknown, () => Promise<unknown> | unknown][]} */
  const FAULTS = [
    ["connections are closed", () => database.proxy.refuse(), () => database.proxy.heal()],
    ["nothing arrives", () => database.proxy.drop(), () => database.proxy.heal()],
    ["the server is frozen", () => database.freeze(), () => database.thaw()],
    ["the server takes no writes", () => readOnly("on"), () => readOnly("off")],
    ["the role may not log in", () => login("NOLOGIN"), () => login("LOGIN")],
    ["every slot is used", () => useSlots(), () => freeSlots()],
  ];
  /** @param {string} value */
  async function readOnly(value) {
    await database.admin.query("SET default_transaction_read_only = off");
    await database.admin.query(`ALTER SYSTEM SET default_transaction_read_only = ${value}`);
    await database.admin.query("SELECT pg_reload_conf()");
    const shown = () => client.ask(database.connection, "SHOW default_transaction_read_only");
    await client.until("the setting is there", async () => (await shown())[0].default_transaction_read_only === value);
  }
  /** @param {string} right */
  async function login(right) {
    await database.admin.query(`ALTER ROLE app ${right}`);
    if (right === "NOLOGIN") await endConnections();
  }
  const endConnections = () =>
    database.admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
  async function useSlots() {
    await database.admin.query("ALTER ROLE app CONNECTION LIMIT 0");
    await endConnections();
  }
  const freeSlots = () => database.admin.query("ALTER ROLE app CONNECTION LIMIT -1");

  for (const [what, breakIt, heal] of FAULTS) {
    test(`while ${what}, what is written is read at once, and it is in the database afterwards`, async () => {
      const auth = await open();
      await breakIt();
      try {
        await auth.keys.set({ session: { "alice.0": client.record(2), "bob.0": client.record(1) } });
        await auth.keys.set({ session: { "alice.0": client.record(3), "bob.0": null, "carol.0": client.record(1) } });
        assert.equal(auth.status().state, "outage");
        assert.match(await auth.service.metrics.registry.metrics(), CACHE_AGE, "what watches it sees so at once");
        assert.deepEqual(await auth.keys.get("session", ["alice.0", "bob.0"]), { "alice.0": client.record(3) });
      } finally {
        await heal();
      }
      await untilState(auth, "online");
      assert.match(await auth.service.metrics.registry.metrics(), /^wa_session_cache_age_seconds\{company="962301"\} 0$/m);
      assert.deepEqual(await stored("alice.0"), client.record(3));
      assert.equal(await stored("bob.0"), null);
      assert.deepEqual(await stored("carol.0"), client.record(1));
      await auth.keys.set(alice(4));
      assert.deepEqual(await stored("alice.0"), client.record(4));
      assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`]);
    });
  }

  test("what a frozen connection reads only later does not overwrite what came after it", async () => {
    const auth = await open();
    const { rows } = await database.admin.query(`SELECT pid FROM pg_stat_activity a WHERE usename = 'app'
      AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')`);
    assert.equal(rows.length, 1);
    process.kill(rows[0].pid, "SIGSTOP");
    try {
      await auth.keys.set(alice(2)); // lies in that connection's buffer, and in the journal
      await auth.keys.set(alice(3));
      // With tokens the session goes on without it; otherwise it waits until that connection has ended.
      if (fence) {
        await untilState(auth, "online");
        await auth.keys.set(alice(4));
      }
    } finally {
      process.kill(rows[0].pid, "SIGCONT");
    }
    await client.until("that connection ends", async () => {
      const { rows: left } = await database.admin.query("SELECT FROM pg_stat_activity WHERE pid = $1", [rows[0].pid]);
      return !left.length;
    });
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(fence ? 4 : 3));
  });

  test("a session that comes back ends no connection but those on which its own writes may still be under way", async () => {
    const auth = await open();
    const { pool, earlier } = auth.service.database;
    const others = [await pool.connect(), await pool.connect()]; // as other companies have them
    try {
      await database.admin.query("BEGIN; SELECT * FROM whatsapp_keys FOR UPDATE");
      await auth.keys.set(alice(2)).finally(() => database.admin.query("COMMIT"));
      await untilState(auth, "online");
      for (const each of others) await each.query("SELECT 1");
    } finally {
      others.forEach((each) => each.release());
    }
    assert.deepEqual([await stored("alice.0"), earlier?.size], [client.record(2), 0]);
  });

  test("a statement that waits for a lock for too long goes into the journal, and nothing is lost", async () => {
    const auth = await open();
    await database.admin.query("BEGIN; SELECT * FROM whatsapp_keys FOR UPDATE");
    await auth.keys.set(alice(2));
    assert.equal(auth.status().state, "outage");
    await auth.keys.set(alice(3));
    await database.admin.query("COMMIT");
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(3));
  });

  test("a row that the database refuses is an error of that write, and no outage", async () => {
    const auth = await open();
    await database.admin.query("ALTER TABLE whatsapp_keys ADD CONSTRAINT short CHECK (length(key_id) < 20)");
    const long = "x".repeat(30);
    await assert.rejects(auth.keys.set({ session: { [long]: client.record(1) } }), { name: "Refused" });
    assert.equal(auth.status().state, "online");
    assert.deepEqual(await auth.keys.get("session", [long]), {});
  });

  test("saveCreds never rejects, and what it saved last is what is stored", async () => {
    const auth = await open();
    const creds = async () => (await database.admin.query("SELECT creds FROM whatsapp_auth")).rows[0].creds;
    database.proxy.refuse();
    auth.state.creds.nextPreKeyId = 50;
    const first = auth.saveCreds();
    auth.state.creds.nextPreKeyId = 60;
    await Promise.all([first, auth.saveCreds()]);
    database.proxy.heal();
    await untilState(auth, "online");
    assert.equal((await creds()).nextPreKeyId, 60);
    await database.admin.query("ALTER TABLE whatsapp_auth ADD CONSTRAINT low CHECK ((creds->>'nextPreKeyId')::int < 70)");
    auth.state.creds.nextPreKeyId = 80;
    await auth.saveCreds();
    assert.equal((await creds()).nextPreKeyId, 60);
    await database.admin.query("ALTER TABLE whatsapp_auth DROP CONSTRAINT low");
    await client.until("the creds are saved", async () => (await creds()).nextPreKeyId === 80);
  });

  test("another writer's row is never overwritten: the session ends instead, and its journal is kept", async () => {
    const auth = await open();
    /** @type {Error[]} */
    const ended = [];
    auth.attach({ end: (/** @type {Error} */ error) => ended.push(error) });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    if (fence) await database.admin.query("UPDATE baileys_resilience.writers SET token = 't', holder = 'another'");
    await database.admin.query("UPDATE whatsapp_keys SET value = $1", [JSON.stringify(client.record(9))]);
    database.proxy.heal();
    const error = await client.until("the socket is ended", () => ended[0]);
    assert.equal(error.name, "Fenced");
    assert.deepEqual(await stored("alice.0"), client.record(9));
    assert.ok(readdirSync(auth.dir).some((name) => name.startsWith(`${COMPANY}.journal.refused-`)));
    await assert.rejects(auth.keys.set(alice(3)), { name: "SessionStopped" });
    await assert.rejects(auth.keys.get("session", ["alice.0"]), { name: "SessionStopped" });
  });

  test("when somebody else took the lock meanwhile, the session ends before it writes", async () => {
    const auth = await open();
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const other = await client.startService(database, { connection: database.directConnection });
    services.push(other);
    await database.admin.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
    await usePostgresAuthState(COMPANY, { service: other.service });
    database.proxy.heal();
    await untilState(auth, "stopped");
    assert.deepEqual(await stored("alice.0"), client.record(1));
  });

  test("a journal that cannot be written is told loudly, and the session goes on in memory", async () => {
    const auth = await open({ journalMaxBytes: 600 });
    database.proxy.refuse();
    for (let counter = 2; counter < 8; counter++) await auth.keys.set({ session: { "alice.0": client.record(counter), [`${counter}.0`]: client.record(1) } });
    assert.match(auth.logger.lines.error.join(), /goes on in MEMORY ONLY/);
    assert.ok(auth.sentry.sent.some(({ message, level }) => message === "session journal cannot be written" && level === "error"));
    assert.deepEqual(await auth.keys.get("session", ["alice.0"]), { "alice.0": client.record(7) });
    database.proxy.heal();
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(7));
    assert.deepEqual(await stored("3.0"), client.record(1));
  });

  test("a journal whose directory was away is whole again with the next write", async () => {
    const auth = await open();
    rmSync(auth.dir, { recursive: true });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    assert.match(auth.logger.lines.error.join(), /MEMORY ONLY/);
    const { mkdirSync } = await import("node:fs");
    mkdirSync(auth.dir, { mode: 0o700 });
    await auth.keys.set({ session: { "bob.0": client.record(1) } });
    assert.equal(auth.status().outage?.journal_error, null);
    const content = await readJournal(join(auth.dir, `${COMPANY}.journal`), COMPANY);
    assert.deepEqual([...content?.changes.values() ?? []].map(({ id }) => id).sort(), ["alice.0", "bob.0"]);
  });

  test("a journal that was made shorter still names every token that the database may hold by now", async () => {
    const auth = await open({ journalMaxBytes: 2000 });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const { writer } = auth.service;
    const replay = writer.replay.bind(writer);
    let answers = 0;
    writer.replay = async (...args) => {
      if (++answers > 3) throw new Unavailable("away again");
      await replay(...args);
      throw new Unavailable("the answer to the commit did not arrive");
    };
    database.proxy.heal();
    await client.until("it was tried again", () => answers > 4);
    for (let counter = 3; counter < 20; counter++) await auth.keys.set(alice(counter));
    const content = await readJournal(join(auth.dir, `${COMPANY}.journal`), COMPANY);
    assert.ok(content && content.lines < 10, `${content?.lines} lines`);
    if (fence) {
      const { rows } = await database.admin.query("SELECT token FROM baileys_resilience.writers");
      assert.ok(content.header.tokens.includes(rows[0].token), JSON.stringify([content.header, rows]));
    }
    writer.replay = replay;
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(19));
  });

  test("a journal that takes nothing more does not keep the session from its database", async () => {
    const auth = await open();
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const { journal } = /** @type {any} */ (auth.service.sessions.get(COMPANY)).outage;
    journal.append = () => Promise.reject(new Error("ENOSPC: no space left on device")); // a full disk, which not every host can make
    database.proxy.heal();
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(2));
  });

  test("while a copy of before cannot be removed, the outage is not over, and then it is", async () => {
    const auth = await open();
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const { files } = auth.service;
    const remove = files.removeCopies;
    let refusals = 0;
    files.removeCopies = () => Promise.reject(new Error(`EROFS: read-only file system ${++refusals}`));
    database.proxy.heal();
    await client.until("it was tried twice", () => refusals > 1);
    assert.equal(auth.status().state, "outage");
    files.removeCopies = remove;
    await untilState(auth, "online");
    assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`]);
    assert.deepEqual(await stored("alice.0"), client.record(2));
  });

  test("no cache is written where a stored key is no key: a start from it would say that there is none", async () => {
    await client.addKey(database.admin, "pre-key", "9", { private: "garbage" });
    const auth = await open({ tolerateBadKeys: true });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    await client.until("it is told", () => /stored keys are no keys/.test(auth.logger.lines.error.slice(1).join()));
    assert.ok(!client.filesIn(auth.dir).includes(`${COMPANY}.cache`));
  });

  test("onOutage memory leaves nothing on disk", async () => {
    const auth = await open({ onOutage: "memory" });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`]);
    database.proxy.heal();
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(2));
  });

  test("onOutage read-only ends the socket at the first write that it would lose, and never logs out", async () => {
    const auth = await open({ onOutage: "read-only" });
    /** @type {string[]} */
    const calls = [];
    auth.attach({ end: () => calls.push("end"), logout: () => calls.push("logout") });
    database.proxy.refuse();
    await assert.rejects(auth.keys.set(alice(2)), { name: "SessionStopped" });
    assert.deepEqual(calls, ["end"]);
    assert.ok(!existsSync(join(auth.dir, `${COMPANY}.journal`)));
  });

  test("at the end of the time limit the session goes on and says so", async () => {
    const auth = await open({ cacheTtlMs: 300 });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    await client.until("the alert", () => auth.sentry.sent.some(({ message, level }) => message === "session cache expired" && level === "error"));
    await auth.keys.set(alice(3));
    database.proxy.heal();
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(3));
  });

  test("a session that wrote nothing all night has not been without its database all night", async () => {
    const auth = await open({ cacheTtlMs: 60_000, onExpiry: "stop" });
    const session = /** @type {any} */ (auth.service.sessions.get(COMPANY));
    session.lastContact -= 8 * 3600_000;
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const { state, outage } = /** @type {any} */ (auth.status());
    assert.deepEqual([state, outage.expired, outage.age_seconds < 60], ["outage", false, true]);
    await auth.keys.set(alice(3)); // it goes on
  });

  test("with onExpiry stop it ends there, and the next start replays what it wrote", async () => {
    const auth = await open({ cacheTtlMs: 300, onExpiry: "stop" });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    await untilState(auth, "stopped");
    database.proxy.heal();
    const { dir } = auth;
    await open({ dir, admin: false });
    assert.deepEqual(await stored("alice.0"), client.record(2));
  });

  test("at the start of an outage Sentry is told its age, and at its end the cache is clean", async () => {
    const auth = await open();
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const [told] = auth.sentry.sent;
    assert.equal(told.message, "session cache in use");
    assert.equal(told.level, "warning");
    assert.match(told.tags.age_seconds, /^\d+$/);
    database.proxy.heal();
    await untilState(auth, "online");
    const metrics = await auth.service.metrics.registry.metrics();
    assert.match(metrics, /wa_session_replays_total\{company="962301",result="ok"\} 1/);
    assert.match(metrics, /wa_session_journal_lines\{company="962301"\} 0/);
    assert.match(metrics, /wa_session_storage_up\{company="962301"\} 1/);
  });

  test("a pool whose connections are all in use for too long recovers by itself", async () => {
    const auth = await open({ poolSize: 2 });
    const pool = auth.service.database.pool;
    const taken = [await pool.connect(), await pool.connect()];
    await auth.keys.set(alice(2));
    assert.equal(auth.status().state, "outage");
    taken.forEach((each) => each.release());
    await untilState(auth, "online");
    assert.deepEqual(await stored("alice.0"), client.record(2));
  });
}
