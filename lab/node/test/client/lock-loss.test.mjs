// SPDX-License-Identifier: GPL-3.0-or-later
// The one connection that holds the writer's locks goes: with the database, or alone.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { readJournal } from "../../../../roles/session_client/files/client/src/journal.js";
import { coordinator } from "./coordinator.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
const OTHER = "962302";

for (const fence of [true, false]) {
  describe(fence ? "with the schema baileys_resilience" : "without the schema baileys_resilience", () => suite(fence));
}

/** @param {boolean} fence */
function suite(fence) {
  /** @type {client.Database} */
  let database;
  /** @type {{close: () => Promise<unknown>}[]} */
  const ends = [];

  before(async () => {
    database = await client.startDatabase({ fence });
  });
  beforeEach(async () => {
    await client.resetTables(database.admin);
    for (const company of [COMPANY, OTHER]) {
      await client.addCompany(database.admin, undefined, company);
      await client.addKey(database.admin, "session", "alice.0", client.record(1), company);
    }
  });
  afterEach(async () => {
    database.proxy.heal();
    for (const each of ends.splice(0)) await each.close();
  });
  after(() => database.stop());

  /** @param {object} [options] @param {string[]} [companies] */
  async function open(options, companies = [COMPANY, OTHER]) {
    const started = await client.startService(database, options);
    ends.push({ close: () => started.service.close().then(started.remove) });
    const auths = [];
    for (const company of companies) auths.push(await usePostgresAuthState(company, { service: started.service }));
    return { ...started, auths };
  }
  /** @param {number} counter */
  const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });
  const stored = () => client.rowOf(database.admin, "session", "alice.0");
  const holders = async () => (await database.admin.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")).rows.map(({ pid }) => pid);
  const cutLocks = () => database.admin.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");

  test("sessions that write nothing are in the outage as well when their database goes, and a process that starts in it finds them", async () => {
    const { service, auths, dir, sentry, settings } = await open();
    for (const session of service.sessions.values()) session.lastContact -= 8 * 3600_000; // idle all night
    database.proxy.refuse();
    for (const auth of auths) await client.until("the outage has begun", () => auth.status().state === "outage");
    const whole = () => auths.every((_, n) => existsSync(join(dir, `${[COMPANY, OTHER][n]}.cache`)));
    await client.until("the caches are there", whole);
    for (const auth of auths) {
      const { outage, last_contact: last } = auth.status();
      assert.ok(outage && outage.age_seconds < 60 && Date.now() - Date.parse(last) < 60_000, JSON.stringify(outage));
    }
    assert.deepEqual(sentry.sent.map(({ message, level, tags }) => [message, level, tags.company]), [
      ["session cache in use", "warning", COMPANY], ["session cache in use", "warning", OTHER],
    ]); // prettier-ignore
    await auths[0].state.keys.set(alice(2)); // no second beginning
    assert.deepEqual([sentry.sent.length, auths[0].status().outage?.journal_lines], [2, 1]);
    database.proxy.heal();
    for (const auth of auths) await client.until("the database is back", () => auth.status().state === "online");
    assert.deepEqual([sentry.sent.length, await stored()], [2, client.record(2)]);
    assert.deepEqual(client.filesIn(settings.dir), [`${COMPANY}.owner`, `${OTHER}.owner`]);
  });

  test("a process that is killed in the outage behind an idle time leaves a cache, and the next one starts from it", async () => {
    const { dir, settings } = await open({}, []);
    const child = await client.startProcess({ ...settings, admin: false });
    ends.push({ close: child.kill });
    database.proxy.refuse();
    const path = join(dir, `${COMPANY}.cache`);
    await client.until("the cache is there", () => existsSync(path));
    await child.kill();
    const second = await open({ dir, admin: false }, [COMPANY]);
    assert.equal(second.auths[0].status().state, "outage");
    assert.deepEqual(await second.auths[0].state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
    await second.auths[0].state.keys.set(alice(2));
    assert.equal((await readJournal(join(dir, `${COMPANY}.journal`), COMPANY))?.lines, 1);
    database.proxy.heal();
    await client.until("the database is back", () => second.auths[0].status().state === "online");
    assert.deepEqual(await stored(), client.record(2));
  });

  test("sessions that write nothing notice a database that keeps silent", async () => {
    const { auths, dir, sentry } = await open({ heartbeatMs: 50 });
    database.proxy.drop(); // as a frozen server: every connection stands
    for (const auth of auths) await client.until("the outage has begun", () => auth.status().state === "outage");
    await client.until("the caches are there", () => [COMPANY, OTHER].every((company) => existsSync(join(dir, `${company}.cache`))));
    assert.deepEqual(sentry.sent.map(({ message }) => message), Array(2).fill("session cache in use"));
    database.proxy.heal();
    for (const auth of auths) await client.until("the database is back", () => auth.status().state === "online");
  });

  test("when only that connection goes, the locks are taken again, and nobody is told of an outage", async () => {
    const { service, auths, dir, sentry, logger } = await open();
    const before = await holders();
    await cutLocks();
    await client.until("both are locked again", async () => {
      const now = await holders();
      return now.length === 2 && now.every((pid) => !before.includes(pid));
    });
    await client.until("the client knows", () => [COMPANY, OTHER].every((company) => service.lock.holds(company)));
    await auths[0].state.keys.set(alice(2));
    assert.deepEqual([await stored(), auths.map((auth) => auth.status().state)], [client.record(2), ["online", "online"]]);
    assert.deepEqual([sentry.sent, client.filesIn(dir)], [[], [`${COMPANY}.owner`, `${OTHER}.owner`]]);
    assert.doesNotMatch(logger.lines.warn.join(), /is away/);
  });

  test("a write that comes before the lock is there again takes it itself", async () => {
    const { service, auths, sentry } = await open();
    const gone = client.deferred();
    const { onLost } = service.lock;
    service.lock.onLost = gone.resolve; // only the write is left to find out
    await cutLocks();
    await gone.promise;
    await auths[0].state.keys.set(alice(2));
    service.lock.onLost = onLost;
    assert.deepEqual([await stored(), auths[0].status().state, sentry.sent], [client.record(2), "online", []]);
    assert.deepEqual([service.lock.holds(COMPANY), service.lock.holds(OTHER)], [true, false]);
  });

  test("where somebody else wrote while the lock was away, the session ends without a write of its own", async () => {
    const { service, auths, sentry } = await open({}, [COMPANY]);
    const { lock } = service;
    const acquire = lock.acquire.bind(lock);
    const { promise: slow, resolve: goOn } = client.deferred();
    lock.acquire = (company) => slow.then(() => acquire(company));
    await cutLocks();
    await client.until("the lock is lost", () => !lock.holds(COMPANY));
    const other = await open({ connection: database.directConnection }, [COMPANY]);
    await other.auths[0].state.keys.set(alice(9));
    await other.service.close();
    goOn();
    await client.until("the session has ended", () => auths[0].status().state === "stopped");
    assert.match(auths[0].status().error ?? "", fence ? /has written this session since/ : /another writer was at work/);
    assert.deepEqual([await stored(), sentry.sent.map(({ message }) => message)], [client.record(9), ["session stopped: Fenced"]]);
  });

  test("a lock that the server keeps for a connection of ours that it cannot end is an outage, and no other writer", async () => {
    const { service, auths } = await open({}, [COMPANY]);
    const [pid] = await holders();
    process.kill(pid, "SIGSTOP");
    try {
      /** @type {any} */ (service.lock.client).connection.stream.destroy();
      await client.until("the outage has begun", () => auths[0].status().state !== "online");
      await auths[0].state.keys.set(alice(2));
      assert.deepEqual([auths[0].status().state, auths[0].status().outage?.journal_lines], ["outage", 1]);
      const { lines } = /** @type {any} */ (await readJournal(join(service.settings.dir, `${COMPANY}.journal`), COMPANY));
      assert.equal(lines, 1);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await client.until("the session is online", () => auths[0].status().state === "online");
    assert.deepEqual(await stored(), client.record(2));
  });

  /** A session in an outage, of which a look at the database has come as far as the lock, and waits there. */
  async function looking() {
    const { service, auths, dir } = await open({}, [COMPANY]);
    database.proxy.refuse();
    await client.until("the outage has begun", () => auths[0].status().state === "outage");
    const { lock } = service;
    const { outage } = /** @type {any} */ (service.sessions.get(COMPANY));
    const acquire = lock.acquire.bind(lock);
    const { promise: slow, resolve: goOn } = client.deferred();
    const looked = client.deferred();
    const got = client.deferred();
    const done = client.deferred();
    const recover = outage.recover.bind(outage);
    outage.recover = () => recover().finally(done.resolve);
    lock.acquire = async (company) => {
      lock.acquire = acquire;
      looked.resolve();
      await slow;
      await acquire(company).finally(got.resolve);
    };
    await looked.promise;
    database.proxy.heal();
    return { service, dir, auth: auths[0], goOn, got: got.promise, done: done.promise };
  }

  test("a look at the database that was under way when the session was closed leaves no lock behind", async () => {
    const { auth, goOn, done } = await looking();
    await auth.close();
    goOn();
    await done;
    assert.deepEqual(await holders(), []);
  });

  test("a look at the database that was under way when the session was closed does not take the lock from whoever opens it again", async () => {
    const { service, auth, goOn, done } = await looking();
    await auth.close();
    const { files } = service;
    const { promise: slow, resolve: load } = client.deferred();
    const loading = client.deferred();
    const readLeft = files.readJournal.bind(files);
    files.readJournal = async (company) => {
      loading.resolve();
      await slow;
      return readLeft(company);
    };
    const opening = usePostgresAuthState(COMPANY, { service });
    await loading.promise;
    goOn();
    await done;
    assert.equal((await holders()).length, 1);
    load();
    assert.equal((await opening).status().state, "online");
    assert.equal((await holders()).length, 1);
  });

  if (fence)
    test("a look at the database that was under way when the session moved to files does not take the lock from its move back", async () => {
    const { service, dir, auth, goOn, got, done } = await looking();
    service.settings.exportDir = join(dir, "exports");
    service.settings.sessionsDir = join(dir, "sessions");
    const moving = coordinator({ dir, sessionsDir: service.settings.sessionsDir, admin: database.admin });
    await moving.move(COMPANY, "files");
    const held = await moving.move(COMPANY, "postgres", "record");
    await database.admin.query("BEGIN; LOCK TABLE whatsapp_keys IN ACCESS EXCLUSIVE MODE");
    const committing = moving.commit(COMPANY, "postgres", held.hold);
    const waits = async () => (await client.ask(database.directConnection, "SELECT FROM pg_locks WHERE NOT granted")).length > 0;
    await client.until("the commit waits for the table", waits);
    goOn();
    await got;
    await new Promise(setImmediate); // whatever comes of it has begun
    await database.admin.query("COMMIT");
    assert.equal((await committing).code, 200);
    await done;
    assert.deepEqual([service.lock.holds(COMPANY), (await holders()).length, auth.status().store], [true, 1, "postgres"]);
    await auth.close();
    assert.deepEqual(await holders(), []);
  });

  test("a lock that the server does not give back goes with its connection, and the others are taken again", async () => {
    const { service, auths, sentry } = await open();
    await database.admin.query("REVOKE EXECUTE ON FUNCTION pg_advisory_unlock(bigint) FROM PUBLIC");
    try {
      await auths[0].close();
    } finally {
      await database.admin.query("GRANT EXECUTE ON FUNCTION pg_advisory_unlock(bigint) TO PUBLIC");
    }
    await client.until("the other lock is taken again", () => service.lock.holds(OTHER));
    const third = await client.startService(database, { connection: database.directConnection });
    ends.push({ close: () => third.service.close().then(third.remove) });
    await usePostgresAuthState(COMPANY, { service: third.service });
    assert.deepEqual([(await holders()).length, auths[1].status().state, sentry.sent], [2, "online", []]);
  });

  test("a lock that is asked for twice at once is taken once: one release is enough", async () => {
    const { service } = await open({}, []);
    await Promise.all([1, 2].map(() => service.lock.acquire(COMPANY)));
    assert.equal((await holders()).length, 1);
    await service.lock.release(COMPANY);
    assert.deepEqual(await holders(), []);
  });
}
