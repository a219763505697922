// SPDX-License-Identifier: GPL-3.0-or-later
// What a killed process left behind, and the next one must not use: damaged, of another, or of before.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { database, dir, fileOf, killInOutage, settings, startHere } from "./lives.mjs";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;

test("journal and cache can be read by their owner alone", async () => {
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
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'postgres', 2, now(), 'h', 'r')", [COMPANY]);
  const auth = await startHere();
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(1));
  assert.match(auth.logger.lines.error.join(), /epoch/);
  assert.ok(!existsSync(fileOf("journal")));
});

for (const [epoch, lineage, replayed] of /** @type {const} */ ([
  [2, "{0,2}", true],
  [4, "{0,2}", false], // of another epoch: somebody who does not know of lineages has moved the session since
])) {
  test(`one of before a move that was taken back is ${replayed ? "" : "not "}replayed in epoch ${epoch} with the lineage ${lineage}`, async () => {
    await killInOutage();
    database.proxy.heal();
    await database.admin.query(
      "INSERT INTO baileys_resilience.stores (company, store, epoch, since, host, run, lineage) VALUES ($1, 'postgres', $2, now(), 'h', 'r', $3)",
      [COMPANY, epoch, lineage],
    );
    const auth = await startHere();
    assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0"), client.record(replayed ? 3 : 1));
    assert.equal(auth.status().epoch, epoch);
  });
}

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
