// SPDX-License-Identifier: GPL-3.0-or-later
// What a running process answers, its health command, its limits, and the copy that it makes of itself.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, mock, test } from "node:test";
import { fileURLToPath } from "node:url";

import { useMultiFileAuthState } from "baileys";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { temporaryDir } from "../support/lab.mjs";
import { freePort } from "../support/postgres.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
const HEALTH_CHECK = fileURLToPath(new URL("../../../../roles/session_client/files/client/bin/health-check.js", import.meta.url));
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
async function start(options) {
  const started = await client.startService(database, options);
  services.push(started);
  return started;
}
/** @param {any} service @param {string} [company] */
const open = (service, company = COMPANY) => usePostgresAuthState(company, { service });

const ask = client.askHttp;
/** @param {{dir: string}} started */
const socketOf = ({ dir }) => ({ socketPath: join(dir, "admin.sock") });

test("the socket is for its user alone, and says how the sessions are without any secret", async () => {
  const started = await start();
  const auth = await open(started.service);
  assert.equal(statSync(join(started.dir, "admin.sock")).mode & 0o777, 0o600);
  const { status, text } = await ask(socketOf(started), "GET", "/status");
  assert.equal(status, 200);
  const [session] = JSON.parse(text).sessions;
  assert.deepEqual([session.company, session.state, session.keys, session.counts], [COMPANY, "online", 2, { session: 1, "pre-key": 1 }]);
  assert.doesNotMatch(text, new RegExp(auth.state.creds.advSecretKey.slice(0, 12).replaceAll(/[+/]/g, ".")));
});

test("the metrics have the names that the dashboards know", async () => {
  const started = await start();
  const auth = await open(started.service);
  await auth.state.keys.get("session", ["alice.0", "nobody.0"]);
  await auth.state.keys.set({ session: { "alice.0": client.record(2) } });
  const { text } = await ask(socketOf(started), "GET", "/metrics");
  for (const line of [
    /^wa_session_query_duration_seconds_bucket\{le="0.5",operation="set"\} 1$/m,
    /^wa_session_pool_connections\{state="idle"\} \d+$/m,
    /^wa_session_pool_max_connections 10$/m,
    /^wa_session_pool_pending_requests 0$/m,
    /^wa_session_storage_up\{company="962301"\} 1$/m,
    /^wa_session_cache_hits_total\{company="962301"\} 1$/m,
    /^wa_session_cache_misses_total\{company="962301"\} 1$/m,
    /^wa_session_cache_keys\{company="962301"\} 2$/m,
  ]) assert.match(text, line); // prettier-ignore
  assert.doesNotMatch(text, /alice/);
});

test("a port answers with the token only, and the socket as ever", async () => {
  const adminPort = await freePort();
  const adminToken = "0123456789abcdef";
  const started = await start({ adminPort, adminToken });
  const where = { host: "127.0.0.1", port: adminPort };
  assert.equal((await ask(where, "GET", "/status")).status, 401);
  assert.equal((await ask(where, "GET", "/status", { authorization: "Bearer wrong" })).status, 401);
  assert.equal((await ask(where, "GET", "/status", { authorization: `Bearer ${adminToken}` })).status, 200);
  assert.equal((await ask(socketOf(started), "GET", "/status")).status, 200);
  const dir = temporaryDir();
  for (const wrong of ["short", undefined]) {
    await assert.rejects(client.startService(database, { dir, adminPort: await freePort(), adminToken: wrong }), /needs a token/);
  }
  // Nothing listens any more, and the next one can.
  await start({ dir });
});

test("whatever is asked, the answer is that there is no such request, and the process goes on", async () => {
  const started = await start();
  for (const path of ["//", "///status", "//:0/status", "/status/", "http://[/", "http://localhost:99999/", "*"]) {
    assert.equal((await ask(socketOf(started), "OPTIONS", path)).status, 404, path);
  }
  const { status, text } = await ask(socketOf(started), "POST", "/flush?company=a?b%2Fc+d&x=%");
  assert.deepEqual([status, JSON.parse(text).error.split(" is not open")[0]], [409, "company a?b/c d"]);
});

test("an export is what the real library loads, journal included, with a manifest", async () => {
  const started = await start({ exportDir: undefined });
  started.service.settings.exportDir = join(started.dir, "exports");
  const auth = await open(started.service);
  database.proxy.refuse();
  await auth.state.keys.set({ session: { "alice.0": client.record(7), "a:b/c.0": client.record(1) } });
  auth.state.creds.nextPreKeyId = 99;
  await auth.saveCreds();
  const { status, text } = await ask(socketOf(started), "POST", "/export");
  assert.equal(status, 200, text);
  const { directory, keys, manifest_sha256: digest } = JSON.parse(text).exported[COMPANY];
  assert.equal(keys, 3);
  const { state } = await useMultiFileAuthState(directory);
  assert.equal(state.creds.nextPreKeyId, 99);
  assert.deepEqual(await state.keys.get("session", ["alice.0", "a:b/c.0"]), { "alice.0": client.record(7), "a:b/c.0": client.record(1) });
  assert.equal((await state.keys.get("pre-key", ["5"]))["5"].private.length, 32);
  const lines = readFileSync(join(directory, ".resilience-manifest.jsonl"), "utf8").trim().split("\n");
  assert.equal(lines.length, 6);
  assert.equal(JSON.parse(lines[5]).sha256, digest);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  assert.equal(statSync(join(directory, "creds.json")).mode & 0o777, 0o600);
});

test("a copy in one file is all of memory, journal included, and of the two forms there is one", async () => {
  const started = await start({ exportDir: undefined });
  const exports = join(started.dir, "exports");
  started.service.settings.exportDir = exports;
  const auth = await open(started.service);
  database.proxy.refuse();
  await auth.state.keys.set({ session: { "alice.0": client.record(7), "a:b/c.0": client.record(1) } });
  const name = `company_${COMPANY}`;
  for (const [form, left] of [["directory", name], ["file", `${name}.copy`], ["file", `${name}.copy`], ["directory", name], ["file", `${name}.copy`]]) {
    assert.equal((await client.post(started.dir, `/export?form=${form}`)).code, 200);
    assert.deepEqual(readdirSync(exports), [left]);
  }
  const { exported } = await client.post(started.dir, "/export?form=file");
  const { file, sha256, keys, counts, snapshot_at: moment } = exported[COMPANY];
  assert.deepEqual([file, keys, counts], [join(exports, `${name}.copy`), 3, { "pre-key": 1, session: 2 }]);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, "utf8");
  const [header, creds, ...lines] = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(header, { format: "baileys-resilience/client-copy", version: 1, company: COMPANY, epoch: 0, snapshot_at: moment, keys: 3, sha256 });
  assert.equal(createHash("sha256").update(text.slice(text.indexOf("\n") + 1)).digest("hex"), sha256);
  const { memory } = started.service.session(COMPANY);
  assert.deepEqual([creds, lines], [["creds", "", memory.creds], [...memory.entries()]]);
});

test("a form that there is not is refused, and nothing is drained or held", async () => {
  const started = await start({ exportDir: undefined });
  started.service.settings.exportDir = join(started.dir, "exports");
  await open(started.service);
  for (const path of ["/export?form=tar", "/drain?export=true&form=toString", `/store?company=${COMPANY}&to=files&phase=hold&form=`]) {
    const { code, error } = await client.post(started.dir, path);
    assert.deepEqual([path, code], [path, 409]);
    assert.match(error, /form is .*HINT: one of directory, file/);
  }
  const [session] = started.service.status().sessions;
  assert.deepEqual([session.state, session.hold ?? null], ["online", null]);
});

test("without a configured place there is no export, and nobody can name one", async () => {
  const started = await start();
  await open(started.service);
  const { status, text } = await ask(socketOf(started), "POST", "/export?to=/tmp/x");
  assert.equal(status, 409);
  assert.match(text, /set exportDir/);
});

test("after a drain nothing more is taken, and the socket was ended", async () => {
  const started = await start();
  const auth = await open(started.service);
  let ended = 0;
  auth.attach({ end: () => ended++ });
  assert.equal((await ask(socketOf(started), "POST", `/drain?company=${COMPANY}`)).status, 200);
  assert.equal(ended, 1);
  await assert.rejects(auth.state.keys.set({ session: { "alice.0": client.record(2) } }), { name: "SessionStopped" });
  assert.equal((await ask(socketOf(started), "POST", "/drain?company=7")).status, 409);
});

test("a drained company is opened again by nobody but after a resume, and a second drain answers the same", async () => {
  const started = await start();
  started.service.settings.exportDir = join(started.dir, "exports");
  const auth = await open(started.service);
  await auth.state.keys.set({ session: { "alice.0": client.record(3) } });
  const first = await client.post(started.dir, `/drain?export=true&company=${COMPANY}`);
  assert.deepEqual([first.code, first.drained[COMPANY].export.keys, first.drained[COMPANY].state], [200, 2, "stopped"]);
  const refused = await client.refuses(open(started.service), "Drained", /this process opens it no more/);
  assert.match(refused.hint, /POST \/resume/);
  assert.deepEqual(await client.post(started.dir, `/drain?export=true&company=${COMPANY}`), first);
  assert.deepEqual(Object.keys(started.service.status().drained.companies), [COMPANY]);
  // A socket of the old state is ended before it can log in.
  let ended = 0;
  auth.attach({ end: () => ended++ });
  assert.equal(ended, 1);
  assert.deepEqual((await client.post(started.dir, `/resume?company=${COMPANY}`)).resumed, [COMPANY]);
  const again = await open(started.service);
  assert.deepEqual(await again.state.keys.get("session", ["alice.0"]), { "alice.0": client.record(3) });
  const { code, name, hint } = await client.post(started.dir, `/resume?company=${COMPANY}`);
  assert.deepEqual([code, name], [409, "NotOpen"]);
  assert.match(hint, /GET \/status/);
});

test("a drain of all bars those too that are not open yet, and tells which one could not be drained", async () => {
  await client.addCompany(database.admin, undefined, "2");
  await client.addCompany(database.admin, undefined, "3");
  await client.addKey(database.admin, "pre-key", "9", { private: "garbage" }, "2");
  const started = await start({ tolerateBadKeys: true });
  started.service.settings.exportDir = join(started.dir, "exports");
  await open(started.service);
  const bad = await open(started.service, "2");
  const { code, drained, failed } = await client.post(started.dir, "/drain?export=true");
  assert.deepEqual([code, Object.keys(drained), Object.keys(failed)], [409, [COMPANY], ["2"]]);
  assert.match(failed["2"].hint, /repair those rows/);
  await bad.state.keys.set({ session: { "alice.0": client.record(2) } }); // it goes on
  await client.refuses(open(started.service, "3"), "Drained", /company 3/);
  await client.post(started.dir, "/resume?company=3");
  await open(started.service, "3");
  await client.refuses(open(started.service), "Drained", /company 962301/);
  await client.post(started.dir, "/resume");
  await open(started.service);
});

test("writes that are asked for while a drain copies are refused once the socket is ended, and are not in the copy", async () => {
  const started = await start();
  started.service.settings.exportDir = join(started.dir, "exports");
  const auth = await open(started.service);
  /** @type {string[]} */
  const order = [];
  auth.attach({ end: () => order.push(`ended, ${auth.status().state}`) }); // nothing was refused before
  const draining = client.post(started.dir, "/drain?export=true").then(() => order.push("drained"));
  await client.until("the copy is under way", () => client.filesIn(started.dir).includes("exports"));
  await auth.state.keys.set({ session: { "alice.0": client.record(9) } }).then(() => order.push("written"), () => order.push("refused"));
  await draining;
  assert.deepEqual([order[0], ...order.slice(1).sort()], ["ended, online", "drained", "refused"]);
  const { state } = await useMultiFileAuthState(join(started.dir, "exports", `company_${COMPANY}`));
  assert.deepEqual(await state.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
});

/** The health command's exit code and words. @param {string} dir @returns {Promise<[number, string]>} */
const health = (dir) =>
  new Promise((resolve) => {
    const env = { ...process.env, WA_SESSION_DIR: dir };
    execFile(process.execPath, [HEALTH_CHECK], { env }, (error, stdout, stderr) => resolve([Number(error?.code ?? 0), stdout + stderr]));
  });

test("the health command says it in words and in its exit code", async () => {
  const started = await start();
  const auth = await open(started.service);
  assert.deepEqual(await health(started.dir), [0, "company 962301: online, 2 keys\n"]);
  database.proxy.refuse();
  await auth.state.keys.set({ session: { "alice.0": client.record(2) } });
  const [code, text] = await health(started.dir);
  assert.equal(code, 1);
  assert.match(text, /^company 962301: outage, 2 keys, from memory for \d+ s, 1 writes in the journal\n$/);
  await started.service.close();
  const [gone, words] = await health(started.dir);
  assert.equal(gone, 2);
  assert.match(words, /does not answer/);
});

test("a session that had to end is seen as that, in words and metrics, until it is opened again", async () => {
  const started = await start({ onOutage: "read-only" });
  const auth = await open(started.service);
  database.proxy.refuse();
  await client.refuses(auth.state.keys.set({ session: { "alice.0": client.record(2) } }), "SessionStopped", /onOutage is read-only/);
  const [code, text] = await health(started.dir);
  assert.equal(code, 1);
  assert.match(text, /^company 962301: stopped at 2\d{3}-\S+Z: .*onOutage is read-only/);
  const metrics = async () => (await ask(socketOf(started), "GET", "/metrics")).text;
  assert.match(await metrics(), /^wa_session_state\{company="962301",state="stopped"\} 1$/m);
  assert.match(await metrics(), /^wa_session_storage_up\{company="962301"\} 0$/m);
  database.proxy.heal();
  const again = await open(started.service);
  assert.deepEqual(await health(started.dir), [0, "company 962301: online, 2 keys\n"]);
  assert.match(await metrics(), /^wa_session_state\{company="962301",state="stopped"\} 0$/m);
  await again.close(); // in order: that is none of them
  assert.deepEqual([await health(started.dir), /company="962301",state/.test(await metrics())], [[0, ""], false]);
});

test("an idle session makes room for a new one, a connected one never does", async () => {
  for (const id of ["2", "3", "4"]) await client.addCompany(database.admin, undefined, id);
  const started = await start({ maxCompanies: 2 });
  const first = await open(started.service);
  const second = await open(started.service, "2");
  first.attach({ end() {}, ws: { isClosed: false } });
  second.attach({ end() {}, ws: { isClosed: true } });
  const third = await open(started.service, "3");
  assert.deepEqual([first, second, third].map((each) => each.status().state), ["online", "stopped", "online"]);
  const fourth = await open(started.service, "4");
  assert.deepEqual([first, third, fourth].map((each) => each.status().state), ["online", "online", "online"]);
  assert.match(started.logger.lines.warn.join(), /3 sessions are in use/);
  assert.ok(started.sentry.sent.some(({ message }) => message === "session client above its limits"));
});

test("a second process cannot take the socket of one that answers", async () => {
  const { dir } = await start();
  await assert.rejects(client.startService(database, { dir }), /another process listens/);
});

test("a file in the place of the socket is not removed", async () => {
  const adminSocket = join(temporaryDir(), "precious");
  writeFileSync(adminSocket, "of somebody");
  await client.refuses(client.startService(database, { adminSocket }), "Misconfigured", /is there, and is no socket.*HINT: set adminSocket/);
  assert.equal(readFileSync(adminSocket, "utf8"), "of somebody");
});

test("a port that is in use, or is none, is told with what to do", async () => {
  const adminToken = "0123456789abcdef";
  const { service } = await start({ adminPort: await freePort(), adminToken });
  for (const adminPort of [service.settings.adminPort, 99_999]) {
    await client.refuses(client.startService(database, { adminPort, adminToken }), "Misconfigured", /cannot be listened on: .*HINT: one process a port/);
  }
});

test("what the application makes while the socket is made has the application's mode", async () => {
  const place = join(temporaryDir(), "of the application");
  const { umask } = process;
  mock.method(process, "umask", (/** @type {number} */ mask) => {
    if (mask === 0o177) process.nextTick(() => mkdirSync(place)); // the next turn of whatever else runs here
    return umask(mask);
  });
  const { dir } = await start();
  mock.restoreAll();
  assert.equal(statSync(place).mode & 0o700, 0o700);
  assert.equal(statSync(join(dir, "admin.sock")).mode & 0o777, 0o600);
});
