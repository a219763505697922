// SPDX-License-Identifier: GPL-3.0-or-later
// A process that ends while its database is away, and the one that comes after it.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Unavailable, usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** @type {client.Database} */
let database;
/** @type {string} */
let dir;
/** @type {{close: () => Promise<unknown>}[]} */
const open = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  dir = temporaryDir();
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "session", "alice.0", client.record(1));
  await client.addKey(database.admin, "pre-key", "5", client.preKey());
});
afterEach(async () => {
  database.proxy.heal();
  for (const each of open.splice(0)) await each.close();
  removeDir(dir);
});
after(() => database.stop());

const settings = () => ({
  connection: database.connection, dir, admin: false, connectTimeoutMs: 400, queryTimeoutMs: 600, recoveryIntervalMs: 100,
}); // prettier-ignore

async function startChild() {
  const child = await client.startProcess(settings());
  open.push({ close: child.kill });
  return child;
}

/** A second life in this process. @param {object} [options] */
async function startHere(options = {}) {
  const started = await client.startService(database, { ...settings(), ...options });
  open.push(started.service);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...auth, ...started };
}

/** Written in an outage, then killed. */
async function killInOutage() {
  const child = await startChild();
  database.proxy.refuse();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(2) } } });
  await child.ask({ do: "creds", change: { nextPreKeyId: 77 } });
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(3) }, "pre-key": { 5: null } } });
  await client.until("the cache is written", () => existsSync(fileOf("cache")));
  await child.kill();
}

/** @param {string} kind */
const fileOf = (kind) => join(dir, `${COMPANY}.${kind}`);
const creds = async () => (await database.admin.query("SELECT creds FROM whatsapp_auth")).rows[0].creds;

test("what a killed process wrote in the outage is in the database after the next start", async () => {
  await killInOutage();
  database.proxy.heal();
  const auth = await startHere();
  assert.equal(auth.status().state, "online");
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(3));
  assert.equal(await client.rowOf(database.admin, "pre-key", "5"), null);
  assert.equal((await creds()).nextPreKeyId, 77);
  assert.equal(auth.state.creds.nextPreKeyId, 77);
  assert.deepEqual(client.filesIn(dir), [`${COMPANY}.owner`]);
});

test("a start during the outage goes on where the killed process was, and the database gets everything", async () => {
  await killInOutage();
  const auth = await startHere();
  assert.equal(auth.status().state, "outage");
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(3) });
  assert.deepEqual(await auth.state.keys.get("pre-key", ["5"]), {});
  assert.equal(auth.state.creds.nextPreKeyId, 77);
  await auth.state.keys.set({ session: { "alice.0": client.record(4) } });
  database.proxy.heal();
  await client.until("the database is back", () => auth.status().state === "online");
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(4));
  assert.equal(await client.rowOf(database.admin, "pre-key", "5"), null);
  assert.equal((await creds()).nextPreKeyId, 77);
});

test("a start without the database works after an orderly end", async () => {
  const child = await startChild();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(2) } } });
  await child.ask({ do: "close" });
  await child.kill();
  database.proxy.refuse();
  const auth = await startHere();
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(2) });
  assert.ok(auth.sentry.sent.some(({ message, level }) => message === "session cache in use" && level === "warning"));
});

test("a start without the database works after the orderly end of a session that wrote nothing all night", async () => {
  const first = await startHere();
  const session = /** @type {any} */ (first.service.sessions.get(COMPANY));
  session.lastContact -= 8 * 3600_000;
  await first.close();
  database.proxy.refuse();
  const auth = await startHere();
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
});

/** A session that ended in order; its cache as it was then. */
async function endInOrder() {
  const child = await startChild();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(2) } } });
  await child.ask({ do: "close" });
  await child.kill();
  return readFileSync(fileOf("cache"));
}

test("a journal that was begun on the cache of an orderly end goes on from it, also when that was never replaced", async () => {
  const cache = await endInOrder();
  database.proxy.refuse();
  const child = await startChild();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(3) } } });
  await child.kill();
  writeFileSync(fileOf("cache"), cache);
  const auth = await startHere();
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(3) });
  database.proxy.heal();
  await client.until("the session is online", () => auth.status().state === "online");
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(3));
});

test("a journal that was begun on another cache is refused", async () => {
  const cache = await endInOrder();
  database.proxy.refuse();
  const child = await startChild();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(3) } } });
  await child.kill();
  writeFileSync(fileOf("cache"), String(cache).replace(/"last_contact":"[^"]+"/, `"last_contact":"${new Date().toISOString()}"`));
  await client.refuses(startHere(), "CopyRefused", /not of the same outage/);
});

test("with onOutage memory nothing older than the session stays on disk for a later start", async () => {
  await endInOrder();
  database.proxy.refuse();
  const auth = await startHere({ onOutage: "memory" });
  await auth.state.keys.set({ session: { "alice.0": client.record(3) } });
  assert.deepEqual(client.filesIn(dir), [`${COMPANY}.owner`]);
});

test("a journal that was left is gone on with, also with onOutage memory", async () => {
  await killInOutage();
  const auth = await startHere({ onOutage: "memory" });
  await auth.state.keys.set({ session: { "alice.0": client.record(4) } });
  await auth.service.close();
  const again = await startHere();
  assert.deepEqual(await again.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(4) });
});

test("a journal whose first line was cut off does not keep the next one from being begun", async () => {
  await endInOrder();
  writeFileSync(fileOf("journal"), "0123");
  database.proxy.refuse();
  const auth = await startHere();
  await auth.state.keys.set({ session: { "alice.0": client.record(3) } });
  assert.equal(auth.status().outage?.journal_error, null);
  assert.equal(auth.status().outage?.journal_lines, 1);
});

test("creds that are saved when the session is about to close are stored", async () => {
  const first = await startHere();
  const closing = first.close();
  first.state.creds.nextPreKeyId = 77;
  await Promise.all([closing, first.saveCreds()]);
  assert.equal((await creds()).nextPreKeyId, 77);
});

for (const away of [false, true]) {
  test(`what is written while a session is closed ${away ? "in an outage " : ""}is found by the next start, or was refused`, async () => {
    const first = await startHere();
    if (away) {
      database.proxy.refuse();
      await client.until("the outage has begun", () => first.status().state === "outage");
    }
    const closing = first.close();
    const writing = [2, 3, 4].map((counter) => first.state.keys.set({ session: { "alice.0": client.record(counter) } }).then(() => counter, () => 1));
    const [, ...written] = await Promise.all([closing, ...writing]);
    database.proxy.refuse();
    const auth = await startHere();
    assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(Math.max(...written)) });
  });
}

test("while the database serves there is no cache that could be taken for the session later", async () => {
  const child = await startChild();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(2) } } });
  await child.kill();
  assert.deepEqual(client.filesIn(dir), [`${COMPANY}.owner`]);
  database.proxy.refuse();
  await assert.rejects(startHere(), { name: "Unavailable" });
});

test("journal and cache can be read by their owner alone", async () => {
  const { statSync } = await import("node:fs");
  await killInOutage();
  for (const kind of ["journal", "cache"]) assert.equal(statSync(fileOf(kind)).mode & 0o777, 0o600);
  assert.equal(statSync(dir).mode & 0o777, 0o700);
});

for (const [what, change, reason] of /** @type {[string, (text: string) => string, RegExp][]} */ ([
  ["too old", (text) => text.replace(/"last_contact":"[^"]+"/, `"last_contact":"${new Date(Date.now() - 600_000).toISOString()}"`), /600 s old, and 300 s is the limit/],
  ["still to come", (text) => text.replace(/"last_contact":"[^"]+"/, `"last_contact":"${new Date(Date.now() + 600_000).toISOString()}"`), /the clock was set back/],
  ["of another version", (text) => text.replace('"version":1', '"version":9'), /is not a .* of version 1/],
  ["of another company", (text) => text.replace(`"company":"${COMPANY}"`, '"company":"7"'), /is of company 7, not of 962301/],
  ["cut off", (text) => text.slice(0, -20), /cut off or changed/],
])) {
  test(`a cache that is ${what} is refused with the reason`, async () => {
    await killInOutage();
    const text = readFileSync(fileOf("cache"), "utf8");
    assert.notEqual(change(text), text);
    writeFileSync(fileOf("cache"), change(text));
    await client.refuses(startHere(), "CopyRefused", reason);
    // Nothing is lost by that: the database gets what the journal holds.
    database.proxy.heal();
    await startHere();
    assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(3));
  });
}

test("a last line of the journal that a crash cut off counts as not written", async () => {
  await killInOutage();
  const text = readFileSync(fileOf("journal"), "utf8");
  writeFileSync(fileOf("journal"), text.slice(0, -10));
  database.proxy.heal();
  const auth = await startHere();
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(2) });
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(2));
});

for (const [what, change] of /** @type {[string, (text: string) => string][]} */ ([
  ["damaged", (text) => text.replace('"previousCounter', '"previousCounteR')],
  ["of another version", (text) => {
    const [, ...rest] = text.split("\n");
    return [`${"0".repeat(16)} {}`, ...rest].join("\n");
  }],
])) {
  test(`a journal that is ${what} is put aside, told, and not replayed`, async () => {
    await killInOutage();
    writeFileSync(fileOf("journal"), change(readFileSync(fileOf("journal"), "utf8")));
    database.proxy.heal();
    const auth = await startHere();
    assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
    assert.ok(readdirSync(dir).some((name) => name.startsWith(`${COMPANY}.journal.refused-`)));
    assert.ok(auth.sentry.sent.some(({ message, level }) => message === "session journal refused" && level === "error"));
  });
}

test("a journal is not replayed over what another process wrote since", async () => {
  await killInOutage();
  const elsewhere = temporaryDir();
  database.proxy.heal();
  const other = await client.startService(database, { ...settings(), dir: elsewhere });
  const second = await usePostgresAuthState(COMPANY, { service: other.service });
  await second.state.keys.set({ session: { "alice.0": client.record(9) } });
  await other.service.close();
  removeDir(elsewhere);
  const auth = await startHere();
  assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(9) });
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(9));
  assert.match(auth.logger.lines.error.join(), /has written this session since/);
});

test("a journal of before a failover is not replayed after it", async () => {
  await killInOutage();
  database.proxy.heal();
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'postgres', 2, now(), 'h', 'r', now(), '{0,1}')", [COMPANY]); // a lineage of another epoch
  const auth = await startHere();
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(1));
  assert.match(auth.logger.lines.error.join(), /epoch/);
  assert.ok(!existsSync(fileOf("journal")));
});

test("one stays while the database says files, and is replayed once it is told that the move was taken back", async () => {
  await killInOutage();
  database.proxy.heal();
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'files', 1, now(), 'h', 'r')", [COMPANY]);
  await client.refuses(startHere(), "Fenced", /lives in files on h/);
  assert.ok(existsSync(fileOf("journal")));
  await database.admin.query("UPDATE baileys_resilience.stores SET store = 'postgres', epoch = 2, lineage = '{0,2}'");
  const auth = await startHere();
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(3));
  assert.equal(auth.status().state, "online");
});

/** A start whose database goes away again behind the take-over. @param {(service: any) => void} breakIt */
async function startInto(breakIt) {
  const started = await client.startService(database, settings());
  open.push(started.service);
  breakIt(started.service);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  assert.equal(auth.status().state, "outage");
  return { ...auth, ...started };
}
const away = () => Promise.reject(new Unavailable("away again"));
/** Transactions of a database that answers the take-over and nothing else until it is healed. @param {any} pool
 * @param {() => boolean} healed */
function taken(pool, healed) {
  const transaction = pool.transaction.bind(pool);
  return (/** @type {any[]} */ ...args) => (healed() || args[0] === "take_over" ? transaction(...args) : away());
}

test("a journal survives a start that took the session over and ended before it was replayed", async () => {
  await killInOutage();
  database.proxy.heal();
  const first = await startInto((service) => (service.writer.replay = away));
  await first.close();
  const auth = await startHere();
  assert.equal(auth.status().state, "online");
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(3));
  assert.deepEqual(client.filesIn(dir), [`${COMPANY}.owner`]);
});

test("the cache of an orderly end survives a start that took the session over and was killed before it had loaded", async () => {
  await endInOrder();
  /** @type {Map<string, Buffer>} What a kill would leave that comes while the snapshot is read. */
  const left = new Map();
  const first = await startInto((service) => {
    const transaction = taken(service.database, () => false);
    service.database.transaction = (/** @type {any[]} */ ...args) => {
      if (args[0] === "load") for (const kind of ["cache", "journal"]) if (existsSync(fileOf(kind))) left.set(kind, readFileSync(fileOf(kind)));
      return transaction(...args);
    };
  });
  await first.close();
  for (const kind of ["cache", "journal"]) rmSync(fileOf(kind), { force: true });
  for (const [kind, content] of left) writeFileSync(fileOf(kind), content);
  database.proxy.refuse();
  const auth = await startHere();
  await auth.state.keys.set({ session: { "alice.0": client.record(4) } });
  database.proxy.heal();
  await client.until("the database is back", () => auth.status().state !== "outage");
  assert.deepEqual([auth.status().error, auth.status().state], [null, "online"]);
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(4));
});

for (const left of ["cache", "journal and cache"]) {
  test(`a start from ${left}, because the database went away between the take-over and the snapshot, finds its way back`, async () => {
    if (left === "cache") {
      const child = await startChild();
      await child.ask({ do: "set", data: { session: { "alice.0": client.record(3) } } });
      await child.ask({ do: "close" });
      await child.kill();
    } else {
      await killInOutage();
      database.proxy.heal();
    }
    let healed = false;
    const auth = await startInto((service) => (service.database.transaction = taken(service.database, () => healed)));
    assert.deepEqual(await auth.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(3) });
    await auth.state.keys.set({ session: { "alice.0": client.record(4) } });
    healed = true;
    await client.until("the database is back", () => auth.status().state !== "outage");
    assert.deepEqual([auth.status().error, auth.status().state], [null, "online"]);
    assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(4));
  });
}

test("the mark of a process that was killed does not keep the next one out", async () => {
  const child = await startChild();
  await assert.rejects(startHere(), { name: "WriterBusy" });
  await child.kill();
  assert.equal((await startHere()).status().state, "online");
});

test("a process that ends while nothing arrives from its database leaves the cache of an orderly end for each session, and begins no outage", async () => {
  const auth = await startHere();
  const more = ["2", "3", "4"];
  for (const company of more) {
    await client.addCompany(database.admin, undefined, company);
    await usePostgresAuthState(company, { service: auth.service });
  }
  database.proxy.drop();
  await auth.service.close();
  assert.deepEqual(auth.sentry.sent, []);
  assert.deepEqual(client.filesIn(dir), [...more, COMPANY].map((company) => `${company}.cache`).sort());
  const again = await startHere();
  assert.equal(again.status().state, "outage");
  assert.deepEqual(await again.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
});
