// SPDX-License-Identifier: GPL-3.0-or-later
// Who has a session, when the process that had it is gone and another one has its pid: after a reboot, in a container that was
// started again, or soon or late anyway.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { HOST, isDead, newIdentity } from "../../../../roles/session_client/files/client/src/identity.js";
import { WriterLock } from "../../../../roles/session_client/files/client/src/writer-lock.js";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** @type {client.Database} */
let database;
/** @type {(() => Promise<unknown>)[]} */
const ends = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
});
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
after(() => database.stop());

async function start() {
  const started = await client.startService(database);
  ends.push(() => started.service.close().then(started.remove));
  return started;
}

/** The parts of an identity, changed. @param {string} identity
 * @param {{host?: string, pid?: number, boot?: string, space?: string, start?: string}} [change] */
function changed(identity, { host, pid, boot, space, start } = {}) {
  const [prefix, ofHost, ofPid, life] = identity.split("/");
  const parts = [boot ?? life.slice(0, 3), space ?? life.slice(3, 6), start ?? life.slice(6, 9), life.slice(9)];
  return [prefix, host ?? ofHost, pid ?? ofPid, parts.join("")].join("/");
}
const PART = "zz0"; // may be the real one once in 46,656 times

test("a process is dead when its pid is free or another's, or its host was booted since", () => {
  const mine = newIdentity();
  assert.match(mine, new RegExp(`^wa-session/${HOST}/${process.pid}/[0-9a-z]{12}$`));
  assert.ok(`wa-session/${"h".repeat(30)}/4194304/${mine.slice(-12)}`.length < 64); // as PostgreSQL keeps it
  /** @type {[Parameters<typeof changed>[1], boolean][]} */
  const cases = [
    [{}, false], [{ start: PART }, true], [{ boot: PART }, true], [{ pid: 2 ** 22 + 1 }, true], [{ pid: database.pid }, true],
    [{ host: "elsewhere", pid: 2 ** 22 + 1, boot: PART }, false], [{ space: PART, pid: 2 ** 22 + 1 }, false],
  ]; // prettier-ignore
  for (const [change, dead] of cases) assert.equal(isDead(changed(mine, change)), dead, JSON.stringify(change));
  // What older versions have left.
  assert.deepEqual([process.pid, 2 ** 22 + 1].map((pid) => isDead(`wa-session/${HOST}/${pid}/605d935c`)), [false, true]);
});

/** What a killed process has left, when its pid is that of somebody else. @type {[string, (mark: string) => string][]} */
const LEFT = [
  ["whose pid is another's by now", (mark) => changed(mark, { pid: database.pid })],
  ["of before a boot, whose pid is another's by now", (mark) => changed(mark, { pid: database.pid, boot: PART })],
  ["of a container that was started again", (mark) => changed(mark, { pid: process.pid, space: PART })],
];
for (const [what, change] of LEFT) {
  test(`the mark of a process ${what} keeps nobody out`, async () => {
    const { service, dir, settings } = await start();
    const child = await client.startProcess({ ...settings, admin: false });
    await child.kill();
    const path = join(dir, `${COMPANY}.owner`);
    writeFileSync(path, change(readFileSync(path, "utf8")));
    const auth = await usePostgresAuthState(COMPANY, { service });
    assert.equal(auth.status().state, "online");
    assert.equal(readFileSync(path, "utf8"), service.identity);
  });
}

/** A connection with the lock, of somebody of that name. @param {string} identity */
async function lockAs(identity) {
  const options = { ...database.directConnection, application_name: identity };
  const lock = new WriterLock(options, identity, { logger: client.recorder(), heartbeatMs: 60_000 });
  ends.push(() => lock.close());
  await lock.acquire(COMPANY);
}

test("a lock that the server keeps for a process whose pid is another's by now is taken", async () => {
  const { service } = await start();
  await lockAs(changed(newIdentity(), { pid: database.pid }));
  assert.equal((await usePostgresAuthState(COMPANY, { service })).status().state, "online");
});

test("a lock of another container with this host's name is not taken, whatever pids there are here", async () => {
  const { service } = await start();
  await lockAs(changed(newIdentity(), { pid: 2 ** 22 + 1, space: PART }));
  await client.refuses(usePostgresAuthState(COMPANY, { service }), "WriterBusy", /another process has this session: wa-session/);
});
