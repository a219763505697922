// SPDX-License-Identifier: GPL-3.0-or-later
// A commit that takes longer than whoever asked for it waits. What is taken back meanwhile must not happen later.
import assert from "node:assert/strict";
import fsPromises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, mock, test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { coordinator } from "./coordinator.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** Time enough for whatever is asked while the commit stands still. */
const QUERY_MS = 30_000;
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof client.startService>>[]} */
const services = [];
/** Lets everything go on that a test has slowed down. @type {(() => void)[]} */
const gates = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "session", "alice.0", client.record(1));
});
afterEach(async () => {
  for (const goOn of gates.splice(0)) goOn();
  mock.restoreAll();
  syncBuiltinESMExports();
  await database.admin.query("ROLLBACK");
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

async function open() {
  const started = await client.startService(database, { queryTimeoutMs: QUERY_MS });
  services.push(started);
  const { settings } = started.service;
  settings.exportDir = join(started.dir, "exports");
  settings.sessionsDir = join(started.dir, "sessions");
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  const moving = coordinator({ dir: started.dir, sessionsDir: settings.sessionsDir, admin: database.admin });
  return { ...started, ...auth, keys: auth.state.keys, moving, place: moving.placeOf(COMPANY) };
}
/** @typedef {Awaited<ReturnType<typeof open>>} Opened */
/** @param {number} counter */
const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });
const stored = () => client.rowOf(database.admin, "session", "alice.0");
const locks = async () => (await database.admin.query("SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND granted")).rows[0].n;

/** The first look at the files stands still until `goOn`. */
function slowDisk() {
  const { promise: slow, resolve: goOn } = client.deferred();
  gates.push(goOn);
  const reached = client.deferred();
  const { readdir } = fsPromises;
  mock.method(fsPromises, "readdir", async (/** @type {any[]} */ ...args) => {
    reached.resolve();
    await slow;
    return /** @type {any} */ (readdir)(...args);
  });
  syncBuiltinESMExports();
  return { reached: reached.promise, goOn };
}

/** The table stands still until `goOn`. */
async function slowTable() {
  await database.admin.query("BEGIN; LOCK TABLE whatsapp_keys IN ACCESS EXCLUSIVE MODE");
  const waits = async () => (await client.ask(database.directConnection, "SELECT FROM pg_locks WHERE NOT granted")).length > 0;
  return { reached: () => client.until("the commit waits for the table", waits), goOn: () => database.admin.query("COMMIT") };
}

/** @param {Opened} auth on files, to PostgreSQL, up to the record */
async function recorded(auth) {
  const held = await auth.moving.move(COMPANY, "postgres", "put");
  await auth.moving.record(COMPANY, "postgres");
  return held;
}

test("an abort beside a commit to files is answered at once, and the commit that is late does not move the session", async () => {
  const auth = await open();
  const held = await auth.moving.move(COMPANY, "files", "record");
  const disk = slowDisk();
  const committing = auth.moving.commit(COMPANY, "files", held.hold);
  await disk.reached;
  const aborting = auth.moving.abort(COMPANY, held.hold);
  await client.until("the hold has ended", () => auth.status().hold === null, 5000);
  await auth.keys.set(alice(2)); // goes on at once
  disk.goOn();
  const [aborted, late] = await Promise.all([aborting, committing]);
  assert.deepEqual([aborted.code, aborted.phase, aborted.store], [200, "aborted", "postgres"]);
  assert.deepEqual([late.code, late.name], [409, "SwitchRefused"]);
  assert.match(late.error, /was not committed: it was aborted/);
  assert.deepEqual([auth.status().store, await stored(), await locks()], ["postgres", client.record(2), 1]);
});

test("an abort beside a commit to PostgreSQL is answered at once, and nothing of the late commit stays", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  const held = await recorded(auth);
  const writers = () => client.ask(database.directConnection, "SELECT token FROM baileys_resilience.writers");
  const before = await writers();
  const table = await slowTable();
  const committing = auth.moving.commit(COMPANY, "postgres", held.hold);
  await table.reached();
  const aborting = auth.moving.abort(COMPANY, held.hold);
  await client.until("the hold has ended", () => auth.status().hold === null, 5000);
  await auth.keys.set(alice(2));
  await table.goOn();
  const [aborted, late] = await Promise.all([aborting, committing]);
  assert.deepEqual([aborted.code, aborted.phase, aborted.store], [200, "aborted", "files"]);
  assert.deepEqual([late.code, late.name], [409, "SwitchRefused"]);
  assert.deepEqual([auth.status().store, await stored(), await locks()], ["files", client.record(1), 0]);
  assert.deepEqual(await writers(), before);
  // A later move is not disturbed by what is left of the late one.
  await auth.moving.move(COMPANY, "postgres");
  await auth.keys.set(alice(3));
  assert.deepEqual([await stored(), await locks()], [client.record(3), 1]);
});

test("a commit that has switched the writer and is not done yet is never called aborted", async () => {
  const auth = await open();
  const held = await auth.moving.move(COMPANY, "files", "record");
  const { files } = auth.service;
  const { promise: slow, resolve: goOn } = client.deferred();
  gates.push(goOn);
  const remove = files.removeCopies.bind(files);
  files.removeCopies = async (...args) => slow.then(() => remove(...args));
  const committing = auth.moving.commit(COMPANY, "files", held.hold);
  await client.until("the writer is switched", () => auth.status().store === "files");
  for (const asked of [auth.moving.abort(COMPANY, held.hold), auth.moving.seal(COMPANY, held.hold)]) {
    const { code, name, error, hint } = await asked;
    assert.deepEqual([code, name], [409, "Committed"]);
    assert.match(error, /lives in files now, and that is not taken back/);
    assert.match(hint, /files is its store of record/);
  }
  goOn();
  assert.deepEqual([(await committing).code, (await auth.moving.abort(COMPANY, held.hold)).name], [200, "Committed"]);
});

test("a seal takes back a commit that is under way: the hold stays, and can be committed again or aborted", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  const held = await recorded(auth);
  const table = await slowTable();
  const late = auth.moving.commit(COMPANY, "postgres", held.hold);
  await table.reached();
  assert.equal((await auth.moving.seal(COMPANY, held.hold)).phase, "sealed");
  const again = auth.moving.commit(COMPANY, "postgres", held.hold); // waits for the end of the other
  await table.goOn();
  const { code, error } = await late;
  assert.deepEqual([code, /phase=seal has taken the commit back/.test(error)], [409, true]);
  assert.deepEqual([(await again).code, auth.status().store, await locks()], [200, "postgres", 1]);
  await auth.keys.set(alice(2));
  assert.deepEqual(await stored(), client.record(2));
});
