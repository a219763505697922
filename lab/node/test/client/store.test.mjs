// SPDX-License-Identifier: GPL-3.0-or-later
// A running session that moves from PostgreSQL to files and back, in each phase and in what can go wrong between them.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { useMultiFileAuthState } from "baileys";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { coordinator } from "./coordinator.mjs";
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
  await client.addKey(database.admin, "pre-key", "5", client.preKey());
  await client.addKey(database.admin, "sender-key", "1-2@g.us::alice::0", Buffer.from("[]"));
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
/** @param {Opened} auth @param {string} type @param {string} id */
const inFile = async (auth, type, id) => /** @type {any} */ (await (await useMultiFileAuthState(auth.place)).state.keys.get(/** @type {any} */ (type), [id]))[id];
/** @param {Opened} auth @param {number} counter that nobody waits for */
function setHeld(auth, counter) {
  const state = { done: false, failed: /** @type {any} */ (null) };
  const written = auth.keys.set(alice(counter)).then(() => (state.done = true), (/** @type {any} */ error) => (state.failed = error));
  return { state, written };
}
const locks = async () => (await database.admin.query("SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND granted")).rows[0].n;

test("while a hold is on, writes wait, and reads but those of what waits go on; after the commit they are in the files and nowhere else", async () => {
  const auth = await open();
  const held = await auth.moving.hold(COMPANY, "files");
  assert.deepEqual([held.phase, held.to, held.store, held.export.keys, held.hold_ms], ["hold", "files", "postgres", 3, 15000]);
  const { state, written } = setHeld(auth, 2);
  assert.deepEqual(Object.keys(await auth.keys.get("pre-key", ["5"])), ["5"]);
  const read = auth.keys.get("session", ["alice.0"]); // told as it was, Baileys would store over what is held
  auth.state.creds.nextPreKeyId = 42;
  const saved = auth.saveCreds();
  assert.equal(auth.status().hold?.waiting, 2);
  assert.equal((await auth.moving.seal(COMPANY, held.hold)).phase, "sealed");
  auth.moving.putFiles(COMPANY, held.export);
  assert.deepEqual([state.done, await stored()], [false, client.record(1)]);
  const committed = await auth.moving.commit(COMPANY, "files", held.hold);
  assert.deepEqual([committed.code, committed.phase, committed.store], [200, "committed", "files"]);
  await Promise.all([written, saved]);
  assert.deepEqual(await read, { "alice.0": client.record(2) });
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(2));
  assert.equal((await useMultiFileAuthState(auth.place)).state.creds.nextPreKeyId, 42);
  assert.deepEqual(await stored(), client.record(1));
  assert.deepEqual([auth.status().store, auth.status().state, auth.status().directory], ["files", "online", auth.place]);
  assert.equal(await locks(), 0);
  const { text } = await client.askHttp({ socketPath: join(auth.dir, "admin.sock") }, "GET", "/metrics");
  assert.match(text, /^wa_session_store\{company="962301",store="files"\} 1$/m);
  assert.match(text, /^wa_session_store\{company="962301",store="postgres"\} 0$/m);
  // Asked again, whoever was cut off reads the same.
  assert.deepEqual(await auth.moving.commit(COMPANY, "files", held.hold), committed);
});

test("files are written as Baileys writes them, for their owner alone, and nothing temporary stays", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  await auth.keys.set({ session: { "bob.0": client.record(1) }, "pre-key": { 5: null }, "app-state-sync-key": { "AA/B=": { keyData: Buffer.from("k") } }, "sender-key": { "1-2@g.us::bob::0": Buffer.from("x") } });
  assert.deepEqual(readdirSync(auth.place).filter((name) => name.endsWith(".json")).sort(), [
    "app-state-sync-key-AA__B=.json", "creds.json", "sender-key-1-2@g.us--alice--0.json", "sender-key-1-2@g.us--bob--0.json",
    "session-alice.0.json", "session-bob.0.json",
  ]); // prettier-ignore
  assert.ok(!readdirSync(auth.place).some((name) => name.endsWith(".tmp")));
  assert.equal(statSync(join(auth.place, "session-bob.0.json")).mode & 0o777, 0o600);
  assert.equal((await inFile(auth, "app-state-sync-key", "AA/B=")).keyData.toString(), "k");
  assert.equal((await inFile(auth, "sender-key", "1-2@g.us::bob::0")).toString(), "x");
});

test("a set that the disk does not take is an error of that write, and leaves all files as they were", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  const long = "x".repeat(300); // a name that no file system takes
  const error = await client.refuses(auth.keys.set({ session: { "alice.0": client.record(2), [long]: client.record(1) } }), "FilesFailed", /ENAMETOOLONG/);
  assert.match(error.hint, /is there space/);
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(1));
  assert.deepEqual(await auth.keys.get("session", ["alice.0", long]), { "alice.0": client.record(1) });
  assert.ok(!readdirSync(auth.place).some((name) => name.endsWith(".tmp")));
});

test("a hold that is not sealed ends by itself: what was held is in the old store, and a seal comes too late", async () => {
  const auth = await open();
  const held = await auth.moving.hold(COMPANY, "files", "&holdMs=50");
  await auth.keys.set(alice(2)); // waits for the end of the hold
  assert.deepEqual(await stored(), client.record(2));
  const late = await auth.moving.seal(COMPANY, held.hold);
  assert.deepEqual([late.code, late.name], [409, "HoldExpired"]);
  assert.match(late.hint, /lives in postgres; begin again/);
  assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).name, "HoldExpired");
  assert.equal((await auth.moving.abort(COMPANY, held.hold)).phase, "expired");
  assert.equal(auth.status().hold, null);
});

test("a sealed hold does not end by itself, and an abort undoes it", async () => {
  await client.addCompany(database.admin, undefined, "2");
  const auth = await open();
  const other = await usePostgresAuthState("2", { service: auth.service });
  const held = await auth.moving.hold(COMPANY, "files", "&holdMs=300");
  await auth.moving.seal(COMPANY, held.hold);
  const { state, written } = setHeld(auth, 2);
  await auth.moving.hold("2", "files", "&holdMs=300");
  await client.until("a later one has ended", () => other.status().hold === null);
  assert.deepEqual([state.done, auth.status().hold?.phase], [false, "sealed"]);
  const aborted = await auth.moving.abort(COMPANY, held.hold);
  assert.deepEqual([aborted.code, aborted.phase, aborted.store], [200, "aborted", "postgres"]);
  await written;
  assert.deepEqual(await stored(), client.record(2));
  assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).name, "SwitchRefused");
  await auth.moving.move(COMPANY, "files"); // and it can be begun anew
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(2));
});

test("a move that PostgreSQL was told of and that is taken back costs the session no later outage", async () => {
  const auth = await open();
  const held = await auth.moving.hold(COMPANY, "files");
  await auth.moving.seal(COMPANY, held.hold);
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'postgres', 2, now(), 'h', 'r')", [COMPANY]); // there and back
  await auth.moving.abort(COMPANY, held.hold, "&epoch=2");
  assert.equal(auth.status().epoch, 2);
  database.proxy.refuse();
  await auth.keys.set({ session: { "alice.0": client.record(2) } });
  database.proxy.heal();
  await client.until("the journal is replayed", () => auth.status().state === "online");
  assert.deepEqual(await stored(), client.record(2));
});

test("while PostgreSQL still says files after a move that was taken back, the session goes on from its journal", async () => {
  const auth = await open();
  const held = await auth.moving.hold(COMPANY, "files");
  await auth.moving.seal(COMPANY, held.hold);
  await database.admin.query("INSERT INTO baileys_resilience.stores VALUES ($1, 'files', 1, now(), 'h', 'r')", [COMPANY]);
  database.proxy.refuse();
  await auth.moving.abort(COMPANY, held.hold, "&epoch=2");
  await auth.keys.set(alice(2));
  const { writer } = auth.service;
  const replay = writer.replay.bind(writer);
  /** @type {string[]} */
  const refused = [];
  writer.replay = (...words) => replay(...words).catch((error) => (refused.push(error.message), Promise.reject(error)));
  database.proxy.heal();
  await client.until("it has seen what PostgreSQL says", () => refused.some((each) => /taken back, which is not told there yet/.test(each)));
  await auth.keys.set(alice(3));
  await database.admin.query("UPDATE baileys_resilience.stores SET store = 'postgres', epoch = 2, lineage = '{0,2}'");
  await client.until("the journal is replayed", () => auth.status().state === "online");
  assert.deepEqual(await stored(), client.record(3));
});

/** @type {[string, (place: string) => void, RegExp][]} */
const TAMPERED = [
  ["with another content", (place) => writeFileSync(join(place, "session-alice.0.json"), JSON.stringify(client.record(7))), /1 differ, 0 are missing, 0 are not/],
  ["that is missing", (place) => rmSync(join(place, "pre-key-5.json")), /0 differ, 1 are missing, 0 are not/],
  ["too many", (place) => writeFileSync(join(place, "session-mallory.0.json"), "{}"), /0 differ, 0 are missing, 1 are not/],
  ["of creds that is older", (place) => writeFileSync(join(place, "creds.json"), "{}"), /1 differ/],
  ["nowhere at all", (place) => rmSync(place, { recursive: true }), /cannot be its store: ENOENT/],
];
for (const [what, tamper, reason] of TAMPERED) {
  test(`a commit is refused on a file ${what}; the hold stays, and the repaired copy is taken`, async () => {
    const auth = await open();
    const held = await auth.moving.move(COMPANY, "files", "record");
    tamper(auth.place);
    const refused = await auth.moving.commit(COMPANY, "files", held.hold);
    assert.deepEqual([refused.code, refused.name], [409, "StoreDiffers"]);
    assert.match(refused.error, reason);
    assert.match(refused.hint, /commit again; or abort/);
    assert.deepEqual([auth.status().store, auth.status().hold?.phase], ["postgres", "sealed"]);
    auth.moving.putFiles(COMPANY, held.export);
    assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).code, 200);
    await auth.keys.set(alice(2));
    assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(2));
  });
}

test("what is asked in a wrong order, of a wrong place or without a need is refused with what to do", async () => {
  const auth = await open();
  const ask = (/** @type {string} */ query) => auth.moving.store(COMPANY, query);
  const held = await auth.moving.hold(COMPANY, "files");
  auth.moving.putFiles(COMPANY, held.export);
  /** @type {[Promise<any>, string, RegExp][]} */
  const refused = [
    [ask("to=files&phase=hold"), "SwitchRefused", /on its way to files already.*HINT: commit or abort/],
    [auth.moving.commit(COMPANY, "files", held.hold), "SwitchRefused", /is not sealed.*HINT: phase=seal first/],
    [ask(`phase=commit&hold=${held.hold}&directory=/tmp`), "SwitchRefused", /belong in .*sessions\/company_962301, not in \/tmp/],
    [ask(`phase=commit&hold=${held.hold}`), "SwitchRefused", /no directory was given/],
    [ask("phase=seal&hold=another"), "SwitchRefused", /has no hold another.*HINT: the id is in the answer/],
    [ask(`phase=seal&to=postgres&hold=${held.hold}`), "SwitchRefused", /is a move to files, not to postgres/],
    [ask("phase=now"), "Misconfigured", /phase is now.*HINT: one of hold, seal, commit, abort/],
    [client.post(auth.dir, `/drain?company=${COMPANY}`), "SwitchRefused", /on its way to files.*then drain/],
    [client.post(auth.dir, "/store?company=7&to=files&phase=hold"), "NotOpen", /company 7 is not open/],
    [client.post(auth.dir, "/store?to=files&phase=hold"), "Misconfigured", /company is not given/],
  ];
  for (const [answer, name, error] of refused) {
    const found = await answer;
    assert.deepEqual([found.code, found.name], [409, name], found.error);
    assert.match(found.error, error);
  }
  await auth.moving.abort(COMPANY, held.hold);
  assert.match((await ask("to=postgres&phase=hold")).error, /lives in postgres already/);
  assert.match((await ask("to=files&phase=hold&holdMs=0")).error, /holdMs is 0/);
  assert.match((await ask("to=elsewhere&phase=hold")).error, /to is elsewhere/);
  auth.service.settings.exportDir = "";
  assert.match((await ask("to=files&phase=hold")).error, /no place for exports/);
});

test("a move out of an outage ends it: nothing is left to replay, and the database that comes back is not touched", async () => {
  const auth = await open();
  database.proxy.refuse();
  await auth.keys.set(alice(2));
  assert.equal(auth.status().state, "outage");
  const held = await auth.moving.move(COMPANY, "files", "record");
  const { outage } = /** @type {any} */ (auth.service.sessions.get(COMPANY));
  assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).code, 200);
  assert.deepEqual([auth.status().state, auth.status().outage, outage.over], ["online", null, true]);
  assert.deepEqual(client.filesIn(auth.dir), [`${COMPANY}.owner`, "exports", "sessions"]);
  await auth.keys.set(alice(3));
  database.proxy.heal();
  await outage.recover(); // a look that was on its way
  assert.deepEqual([await stored(), await locks()], [client.record(1), 0]);
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(3));
});

test("a hold in an outage that ends goes on in its journal, and the database gets all of it", async () => {
  const auth = await open();
  database.proxy.refuse();
  await auth.keys.set(alice(2));
  await auth.moving.hold(COMPANY, "files", "&holdMs=50");
  await auth.keys.set(alice(3));
  assert.equal(auth.status().outage?.journal_lines, 2);
  database.proxy.heal();
  await client.until("the database is back", () => auth.status().state === "online");
  assert.deepEqual(await stored(), client.record(3));
});

test("a hold that begins while a session waits for its turn to come back keeps no other from coming back", async () => {
  await client.addCompany(database.admin, undefined, "2");
  const auth = await open({ poolSize: 2 }); // one at a time
  const { replays } = auth.service;
  const turn = client.deferred();
  void replays.take(() => turn.promise);
  database.proxy.refuse();
  await auth.keys.set(alice(2));
  database.proxy.heal();
  await client.until("the first one waits for its turn", () => replays.waiting.length);
  const other = await usePostgresAuthState("2", { service: auth.service });
  const held = await auth.moving.hold(COMPANY, "files");
  await auth.moving.seal(COMPANY, held.hold);
  database.proxy.refuse();
  await other.state.keys.set(alice(2));
  database.proxy.heal();
  turn.resolve();
  await client.until("the other is back", () => other.status().state === "online");
  assert.deepEqual([auth.status().hold?.phase, auth.status().state], ["sealed", "outage"]);
  await auth.moving.abort(COMPANY, held.hold);
  await client.until("the first one is back as well", () => auth.status().state === "online");
  assert.deepEqual(await stored(), client.record(2));
});

test("on the way back the database must hold what memory holds, and then the session is fenced and journaled as ever", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  await auth.keys.set({ session: { "alice.0": client.record(4), "bob.0": client.record(1) }, "pre-key": { 5: null } });
  const held = await auth.moving.hold(COMPANY, "postgres");
  await auth.moving.seal(COMPANY, held.hold);
  const { written } = setHeld(auth, 5);
  await auth.moving.record(COMPANY, "postgres");
  const refused = await auth.moving.commit(COMPANY, "postgres", held.hold);
  assert.deepEqual([refused.code, refused.name], [409, "StoreDiffers"]);
  assert.match(refused.error, /the database is not what memory holds: 1 differ, 1 are missing, 1 are not in memory/);
  assert.deepEqual([auth.status().store, auth.status().hold?.phase, await locks()], ["files", "sealed", 0]);
  await auth.moving.putRows(COMPANY, held.export);
  const committed = await auth.moving.commit(COMPANY, "postgres", held.hold);
  assert.deepEqual([committed.code, committed.store], [200, "postgres"]);
  await written;
  assert.deepEqual(await stored(), client.record(5));
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(4)); // left for whoever archives it
  const { epoch, fenced } = auth.status();
  assert.deepEqual([epoch, fenced, await locks()], [3, true, 1]);
  database.proxy.refuse();
  await auth.keys.set(alice(6));
  assert.equal(auth.status().outage?.journal_lines, 1);
  database.proxy.heal();
  await client.until("the database is back", () => auth.status().state === "online");
  assert.deepEqual(await stored(), client.record(6));
});

test("without the database, or while it says files, there is no way back: the session stays where it is", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  await auth.keys.set(alice(2));
  const held = await auth.moving.hold(COMPANY, "postgres");
  await auth.moving.seal(COMPANY, held.hold);
  await auth.moving.putRows(COMPANY, held.export);
  const fenced = await auth.moving.commit(COMPANY, "postgres", held.hold);
  assert.deepEqual([fenced.code, fenced.name], [409, "Fenced"]);
  database.proxy.refuse();
  const refused = await auth.moving.commit(COMPANY, "postgres", held.hold);
  assert.deepEqual([refused.code, refused.name], [409, "Unavailable"]);
  assert.equal(auth.status().store, "files");
  const { written } = setHeld(auth, 3);
  assert.equal((await auth.moving.abort(COMPANY, held.hold)).code, 200);
  await written;
  assert.deepEqual(await inFile(auth, "session", "alice.0"), client.record(3));
  assert.deepEqual(await stored(), client.record(2));
});

test("one company's hold holds nobody else's writes, and each lives where it was moved", async () => {
  await client.addCompany(database.admin, undefined, "2");
  const auth = await open();
  const other = await usePostgresAuthState("2", { service: auth.service });
  await auth.moving.move(COMPANY, "files", "seal");
  await other.state.keys.set(alice(8));
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0", "2"), client.record(8));
  await auth.moving.move("2", "files");
  assert.deepEqual([auth.status().store, auth.status().hold?.phase, other.status().store], ["postgres", "sealed", "files"]);
  await other.state.keys.set(alice(9));
  assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0", "2"), client.record(8));
});

test("a process that ends in a sealed hold writes to neither store, and has ended its socket before it says so", async () => {
  const auth = await open();
  /** @type {string[]} */
  const order = [];
  auth.attach({ end: () => order.push("ended") });
  await auth.moving.move(COMPANY, "files", "put");
  const { state, written } = setHeld(auth, 2);
  void written.then(() => order.push("refused"));
  await auth.close();
  await written;
  assert.equal(state.failed?.name, "SessionStopped");
  assert.deepEqual(order, ["ended", "refused"]);
  assert.deepEqual([await stored(), await inFile(auth, "session", "alice.0")], [client.record(1), client.record(1)]);
});

test("a process that ends in a hold that is not sealed writes what was held", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files", "hold");
  const { written } = setHeld(auth, 2);
  await auth.close();
  await written;
  assert.deepEqual(await stored(), client.record(2));
});

test("a session on files is drained and exported as any other", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  await auth.keys.set(alice(2));
  const { code, drained } = await client.post(auth.dir, "/drain?export=true");
  assert.deepEqual([code, drained[COMPANY].store, drained[COMPANY].export.keys], [200, "files", 3]);
  const { state } = await useMultiFileAuthState(drained[COMPANY].export.directory);
  assert.deepEqual(await state.keys.get("session", ["alice.0"]), { "alice.0": client.record(2) });
  assert.ok(!existsSync(join(auth.dir, `${COMPANY}.cache`)), "a cache would be of a database that has not got this");
  assert.deepEqual(readFileSync(join(auth.place, "creds.json"), "utf8"), readFileSync(join(drained[COMPANY].export.directory, "creds.json"), "utf8"));
});
