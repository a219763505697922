// SPDX-License-Identifier: GPL-3.0-or-later
// A process that ends while its database is away, and the one that comes after it.
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { Unavailable, usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { creds, database, dir, fileOf, killInOutage, open, settings, startChild, startHere } from "./lives.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;

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
