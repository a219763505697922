// SPDX-License-Identifier: GPL-3.0-or-later
// Links in the places that the client writes to and reads from, and what an error may say of the files there: their names are
// ids of keys, and those are phone numbers.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fsPromises from "node:fs/promises";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, mock, test } from "node:test";
import { inspect } from "node:util";

import { usePostgresAuthState, useResilientAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { coordinator } from "./coordinator.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
const PHONE = "4915112345678";
/** A name that no file system takes. */
const LONG = `${PHONE}.${"0".repeat(300)}`;
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
  await client.addKey(database.admin, "session", `${PHONE}.0`, client.record(1));
});
afterEach(async () => {
  mock.restoreAll();
  syncBuiltinESMExports();
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

async function start() {
  const started = await client.startService(database);
  services.push(started);
  const { settings } = started.service;
  settings.exportDir = join(started.dir, "exports");
  settings.sessionsDir = join(started.dir, "sessions");
  const elsewhere = join(started.dir, "elsewhere");
  mkdirSync(elsewhere);
  writeFileSync(join(elsewhere, "precious"), "");
  const moving = coordinator({ dir: started.dir, sessionsDir: settings.sessionsDir, admin: database.admin });
  const exported = join(settings.exportDir, `company_${COMPANY}`);
  return { ...started, exports: settings.exportDir, exported, elsewhere, moving, place: moving.placeOf(COMPANY) };
}
async function open() {
  const started = await start();
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...started, ...auth, keys: auth.state.keys };
}
/** In files, and open from there. @param {(place: string) => void} [spoil] */
async function openFiles(spoil = () => undefined) {
  const first = await open();
  await first.moving.move(COMPANY, "files");
  await first.close();
  spoil(first.place);
  const opening = useResilientAuthState(COMPANY, { service: first.service }, { USE_DATABASE_AUTH_STATE: "false" });
  return { ...first, opening };
}
/** Everything that was said anywhere, causes included. @param {any[]} said */
function saysNoNumber(...said) {
  for (const each of said) assert.doesNotMatch(typeof each === "string" ? each : inspect(each, { depth: 9, showHidden: true }), new RegExp(PHONE));
}
/** @param {Promise<unknown>} promise */
const errorOf = (promise) => promise.then(() => assert.fail("nothing was refused"), (error) => error);
/** @param {string} dir */
const onlyPrecious = (dir) => assert.deepEqual(readdirSync(dir), ["precious"]);

for (const what of /** @type {const} */ (["exports", "exported"])) {
  test(`an export is refused where ${what === "exports" ? "its place" : "the company's place in it"} is a link, and what the link names is untouched`, async () => {
    const auth = await open();
    mkdirSync(join(auth[what], ".."), { recursive: true });
    symlinkSync(auth.elsewhere, auth[what]);
    const { code, name, error } = await client.post(auth.dir, `/export?company=${COMPANY}`);
    assert.deepEqual([code, name], [409, "FilesFailed"]);
    assert.match(error, /its export failed \(ENOTDIR\).*HINT: .*a link\?/);
    onlyPrecious(auth.elsewhere);
    rmSync(auth[what]);
    assert.equal((await client.post(auth.dir, `/export?company=${COMPANY}`)).code, 200);
    assert.deepEqual(readdirSync(auth.exports), [`company_${COMPANY}`]);
  });
}

test("a link that is put in the place of the exports while one is written leads nothing astray", async () => {
  const auth = await open();
  const { mkdir } = fsPromises;
  const away = `${auth.exports}.away`;
  mock.method(fsPromises, "mkdir", async (/** @type {any} */ path, /** @type {any} */ options) => {
    await mkdir(path, options);
    if (!path.endsWith(".new")) return;
    renameSync(auth.exports, away);
    symlinkSync(auth.elsewhere, auth.exports);
  });
  syncBuiltinESMExports();
  await client.post(auth.dir, `/export?company=${COMPANY}`);
  onlyPrecious(auth.elsewhere);
  assert.ok(existsSync(join(away, `company_${COMPANY}`, "creds.json")));
});

for (const what of /** @type {const} */ (["exports", "exported"])) {
  test(`the same goes for a copy in one file, where ${what === "exports" ? "the place" : "an older copy's directory"} is a link`, async () => {
    const auth = await open();
    mkdirSync(join(auth[what], ".."), { recursive: true });
    symlinkSync(auth.elsewhere, auth[what]);
    assert.equal((await client.post(auth.dir, `/export?company=${COMPANY}&form=file`)).code, 409);
    onlyPrecious(auth.elsewhere);
  });
}

test("a copy in one file is put in the place of a link, not through it", async () => {
  const auth = await open();
  mkdirSync(auth.exports);
  for (const name of [".copy", `.copy.${process.pid}.new`]) symlinkSync(join(auth.elsewhere, "precious"), `${auth.exported}${name}`);
  assert.equal((await client.post(auth.dir, `/export?company=${COMPANY}&form=file`)).code, 200);
  assert.equal(readFileSync(join(auth.elsewhere, "precious"), "utf8"), "");
  assert.deepEqual(readdirSync(auth.exports), [`company_${COMPANY}.copy`]);
});

test("what a killed process left half-way goes with the next export of that company", async () => {
  const auth = await open();
  mkdirSync(`${auth.exported}.4194305.new`, { recursive: true });
  writeFileSync(join(`${auth.exported}.4194305.new`, "creds.json"), "half");
  writeFileSync(`${auth.exported}.copy.4194305.new`, "half");
  const others = [`company_${COMPANY}9.copy.4194305.new`, `company_${COMPANY}.kept.new`];
  for (const name of others) writeFileSync(join(auth.exports, name), "");
  assert.equal((await client.post(auth.dir, `/export?company=${COMPANY}&form=file`)).code, 200);
  assert.deepEqual(readdirSync(auth.exports).sort(), [`company_${COMPANY}.copy`, ...others].sort());
});

test("an export replaces the one before, and leaves nothing beside it", async () => {
  const auth = await open();
  for (const id of ["a.0", "b.0"]) {
    await auth.keys.set({ session: { "a.0": null, [id]: client.record(2) } });
    assert.equal((await client.post(auth.dir, `/export?company=${COMPANY}`)).code, 200);
  }
  assert.deepEqual(readdirSync(auth.exports), [`company_${COMPANY}`]);
  assert.deepEqual(readdirSync(auth.exported).sort(), [".resilience-manifest.jsonl", "creds.json", `session-${PHONE}.0.json`, "session-b.0.json"]);
});

test("a session on files does not write through a link that is put in the place of its directory", async () => {
  const auth = await open();
  await auth.moving.move(COMPANY, "files");
  const away = `${auth.place}.away`;
  renameSync(auth.place, away);
  symlinkSync(auth.elsewhere, auth.place);
  const error = await errorOf(auth.keys.set({ session: { "a.0": client.record(2) } }));
  assert.deepEqual([error.name, /ENOTDIR/.test(error.message)], ["FilesFailed", true]);
  onlyPrecious(auth.elsewhere);
  rmSync(auth.place);
  renameSync(away, auth.place);
  await auth.keys.set({ session: { "a.0": client.record(2) } });
  assert.ok(existsSync(join(auth.place, "session-a.0.json")));
});

test("a commit is refused where the company's place is a link, though what it names is the session", async () => {
  const auth = await open();
  const held = await auth.moving.move(COMPANY, "files", "record");
  const away = `${auth.place}.away`;
  renameSync(auth.place, away);
  symlinkSync(away, auth.place);
  const { name, error } = await auth.moving.commit(COMPANY, "files", held.hold);
  assert.deepEqual([name, /cannot be its store: ENOTDIR/.test(error)], ["StoreDiffers", true]);
  await auth.moving.abort(COMPANY, held.hold);
});

test("a start follows the link that the operator has put in the place of a company's directory", async () => {
  const { opening, place } = await openFiles((dir) => {
    renameSync(dir, `${dir}.moved`);
    symlinkSync(`${dir}.moved`, dir);
  });
  const auth = await opening;
  await auth.state.keys.set({ session: { "a.0": client.record(2) } });
  assert.ok(existsSync(join(`${place}.moved`, "session-a.0.json")));
});

test("no start waits for a pipe that lies where a file belongs", async () => {
  const { opening } = await openFiles((place) => execFileSync("mkfifo", [join(place, "session-pipe.json")]));
  assert.match((await errorOf(opening)).message, /cannot be read: EFTYPE/);
});

test("what fails on a file of a key does not say which: in answers, in logs and in causes", async () => {
  const auth = await open();
  await auth.keys.set({ session: { [LONG]: client.record(1) } });
  for (const path of [`/export?company=${COMPANY}`, `/store?company=${COMPANY}&to=files&phase=hold`, "/drain?export=true"]) {
    const answer = await client.post(auth.dir, path);
    assert.deepEqual([path, answer.code], [path, 409]);
    assert.match(inspect(answer, { depth: 9 }), /its export failed \(ENAMETOOLONG\)/);
    saysNoNumber(answer);
  }
  await auth.keys.set({ session: { [LONG]: null } });
  await auth.moving.move(COMPANY, "files");
  const error = await errorOf(auth.keys.set({ session: { [LONG]: client.record(1) } }));
  assert.match(error.message, /take no writes: ENAMETOOLONG/);
  saysNoNumber(error, auth.logger.lines, auth.sentry.sent, auth.service.status());
});

/** @type {[string, (place: string) => void, RegExp][]} */
const SPOILT = [
  ["is a directory", (place) => mkdirSync(join(place, `session-${PHONE}.1.json`)), /EFTYPE|EISDIR/],
  ["was left by a writer and cannot go", (place) => mkdirSync(join(place, `session-${PHONE}.1.json.tmp`)), /EISDIR|EPERM/],
  ["holds a number and no JSON", (place) => writeFileSync(join(place, `session-${PHONE}.0.json`), `"${PHONE}`), /it is no JSON/],
];
for (const [what, spoil, reason] of SPOILT) {
  test(`a start that fails on a file that ${what} does not say its name`, async () => {
    const { opening, logger } = await openFiles(spoil);
    const error = await errorOf(opening);
    assert.match(error.message, reason);
    saysNoNumber(error, logger.lines);
  });
}

test("a manifest that cannot be read is told without a line of it", async () => {
  const { opening, logger } = await openFiles((place) => {
    const path = join(place, ".resilience-manifest.jsonl");
    writeFileSync(path, readFileSync(path, "utf8").replace(`["session","${PHONE}`, `"${PHONE}`));
  });
  await opening;
  assert.match(logger.lines.warn.join(), /the manifest cannot be read.*SyntaxError/);
  saysNoNumber(logger.lines);
});

test("what PostgreSQL says of a refused row is told without the row", async () => {
  const auth = await open();
  await database.admin.query("ALTER TABLE whatsapp_keys ADD CONSTRAINT short CHECK (length(key_id) < 20)");
  const error = await errorOf(auth.keys.set({ session: { [LONG]: client.record(1) } }));
  assert.match(error.message, /violates check constraint "short"/);
  saysNoNumber(error);
});
