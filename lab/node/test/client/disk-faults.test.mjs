// SPDX-License-Identifier: GPL-3.0-or-later
// A disk that takes nothing any more while its sessions run, as one does that the kernel has made read-only.
import assert from "node:assert/strict";
import { constants, writeFileSync } from "node:fs";
import fsPromises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, mock, test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import * as client from "./support.mjs";

const { COMPANY } = client;
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
  await client.addKey(database.admin, "session", "alice.0", client.record(1));
});
afterEach(async () => {
  writable();
  database.proxy.heal();
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

/** As Linux does it: what would change something is refused before anybody looks whether the file is there. */
function readOnly() {
  const refuse = async () => {
    throw Object.assign(new Error("EROFS: read-only file system"), { code: "EROFS" });
  };
  for (const name of /** @type {const} */ (["unlink", "rename", "link", "writeFile", "mkdir"])) mock.method(fsPromises, name, refuse);
  const { open } = fsPromises;
  mock.method(fsPromises, "open", (/** @type {string} */ path, /** @type {number} */ flags, /** @type {number} */ mode) =>
    flags & (constants.O_WRONLY | constants.O_RDWR) ? refuse() : open(path, flags, mode),
  );
  syncBuiltinESMExports();
}
function writable() {
  mock.restoreAll();
  syncBuiltinESMExports();
}

/** @param {object} [options] */
async function open(options) {
  const started = await client.startService(database, options);
  services.push(started);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...started, ...auth, keys: auth.state.keys };
}
/** @param {any} auth @param {string} state */
const untilState = (auth, state) => client.until(`the session is ${state}`, () => auth.status().state === state);
const stored = () => client.rowOf(database.admin, "session", "alice.0");
/** @param {number} counter */
const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });

for (const onOutage of ["journal", "memory"]) {
  test(`with onOutage ${onOutage}, a session on a read-only disk lives through an outage and is back when the database is`, async () => {
    const auth = await open({ onOutage });
    readOnly();
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const told = auth.sentry.sent.map(({ message }) => message).slice(1);
    assert.deepEqual(told, onOutage === "journal" ? ["session journal cannot be written"] : []); // there is no cache of before
    database.proxy.heal();
    await untilState(auth, "online");
    assert.deepEqual(await stored(), client.record(2));
  });
}

test("with onOutage memory, a cache of before that cannot be removed is told, and goes with the first write that can remove it", async () => {
  const auth = await open({ onOutage: "memory" });
  const older = join(auth.dir, `${COMPANY}.cache`);
  writeFileSync(older, "of before");
  readOnly();
  database.proxy.refuse();
  await auth.keys.set(alice(2));
  await auth.keys.set(alice(3));
  const told = auth.sentry.sent.map(({ message, level }) => [message, level]);
  assert.deepEqual(told, [["session cache in use", "warning"], ["session cache of before cannot be removed", "error"]]);
  assert.match(auth.logger.lines.error.join(), /would start from an OLDER session.*EROFS/);
  writable();
  await auth.keys.set(alice(4));
  assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`]);
  database.proxy.heal();
  await untilState(auth, "online");
  assert.deepEqual(await stored(), client.record(4));
});

test("with onOutage memory, the way back is looked for also where a cache of before stays, and taken once it is gone", async () => {
  const auth = await open({ onOutage: "memory" });
  writeFileSync(join(auth.dir, `${COMPANY}.cache`), "of before");
  readOnly();
  database.proxy.refuse();
  await auth.keys.set(alice(2));
  database.proxy.heal();
  await client.until("the database is equal to memory", async () => (await stored())?._sessions["BQ=="].indexInfo.used === 2);
  assert.equal(auth.status().state, "outage");
  writable();
  await untilState(auth, "online");
  assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`]);
});

test("on a read-only disk all sessions are closed in order, and what they had still to save is in the database", async () => {
  await client.addCompany(database.admin, undefined, "2");
  const first = await open();
  const second = await usePostgresAuthState("2", { service: first.service });
  readOnly();
  second.state.creds.nextPreKeyId = 77;
  const saving = second.saveCreds();
  await first.service.close();
  await saving;
  assert.deepEqual([first, second].map((each) => each.status().state), ["stopped", "stopped"]);
  const { rows } = await database.admin.query("SELECT creds->>'nextPreKeyId' AS id FROM whatsapp_auth WHERE company_id = '2'");
  assert.deepEqual([rows, first.service.database.pool.ended], [[{ id: "77" }], true]);
  assert.match(first.logger.lines.warn.join(), /mark of who has the session could not be removed.*EROFS/);
});

for (const away of [false, true]) {
  test(`on a read-only disk a session that is somebody else's ends its socket${away ? " after an outage, too" : ""}, and can be opened again`, async () => {
    const auth = await open();
    let ended = 0;
    auth.attach({ end: () => ended++ });
    if (away) {
      database.proxy.refuse();
      await auth.keys.set(alice(2));
    }
    readOnly();
    await database.admin.query("UPDATE baileys_resilience.writers SET token = 't', holder = 'another'");
    database.proxy.heal();
    if (!away) await client.refuses(auth.keys.set(alice(2)), "Fenced", /has taken this session over/);
    await client.until("the socket is ended", () => ended);
    const { rowCount } = await database.admin.query("SELECT FROM pg_locks WHERE locktype = 'advisory'");
    assert.deepEqual([auth.status().state, rowCount], ["stopped", 0]);
    const refused = await client.refuses(usePostgresAuthState(COMPANY, { service: auth.service }), "FilesFailed", /mark of who has its session cannot be written: EROFS/);
    assert.match(refused.hint, /is there space/);
    writable();
    const again = await usePostgresAuthState(COMPANY, { service: auth.service });
    await client.refuses(usePostgresAuthState(COMPANY, { service: auth.service }), "SessionClientError", /is open already/);
    assert.deepEqual(await again.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
  });
}

test("of two that open a company at the same time, one gets it", async () => {
  const { service } = await open();
  await client.addCompany(database.admin, undefined, "2");
  const opened = await Promise.allSettled([1, 2].map(() => usePostgresAuthState("2", { service })));
  assert.deepEqual(opened.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const [refused] = opened.filter((each) => each.status === "rejected");
  assert.equal(refused.reason.name, "WriterBusy");
});
