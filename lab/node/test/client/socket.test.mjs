// SPDX-License-Identifier: GPL-3.0-or-later
// What may leave on a session's socket while its writes are held or it is drained: nothing whose step is not in the copy.
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { useMultiFileAuthState } from "baileys";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { KEPT_MS } from "../../../../roles/session_client/files/client/src/socket.js";
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
});
afterEach(async () => {
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

/** A session with a socket that looks as Baileys' does, and a wire that takes frames when it is told to. */
async function open() {
  const started = await client.startService(database);
  services.push(started);
  const { settings } = started.service;
  settings.exportDir = join(started.dir, "exports");
  settings.sessionsDir = join(started.dir, "sessions");
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  const wire = { sent: /** @type {string[]} */ ([]), slow: false, paused: false, waiting: /** @type {(() => void)[]} */ ([]) };
  const raw = {
    send(/** @type {string} */ frame, /** @type {(error?: Error) => void} */ done) {
      wire.sent.push(frame);
      if (wire.slow) wire.waiting.push(done);
      else done();
    },
    pause: () => (wire.paused = true),
    resume: () => (wire.paused = false),
  };
  const ev = new EventEmitter();
  const ws = Object.assign(new EventEmitter(), { socket: raw, isClosed: false });
  auth.attach({ end: () => wire.sent.push("end"), ws, ev });
  const send = (/** @type {string} */ frame) => new Promise((resolve, reject) => raw.send(frame, (error) => (error ? reject(error) : resolve(undefined))));
  const moving = coordinator({ dir: started.dir, sessionsDir: settings.sessionsDir, admin: database.admin });
  return { ...started, ...auth, keys: auth.state.keys, wire, ws, ev, send, moving };
}
/** @param {number} counter */
const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });
/** @param {string} directory */
const copied = async (directory) => (await (await useMultiFileAuthState(directory)).state.keys.get("session", ["alice.0"]))["alice.0"];

for (const way of ["a drain", "a hold"]) {
  test(`the step of a message that is leaving when ${way} begins is in the copy`, async () => {
    const auth = await open();
    auth.wire.slow = true;
    const message = auth.send("message").then(() => auth.keys.set(alice(2))); // in this order, as Baileys
    const copying = way === "a drain" ? client.post(auth.dir, "/drain?export=true") : auth.moving.hold(COMPANY, "files");
    await client.until("nothing is read any more", () => auth.wire.paused);
    auth.wire.waiting.forEach((done) => done());
    const answer = await copying;
    assert.deepEqual(await copied(answer.export?.directory ?? answer.drained[COMPANY].export.directory), client.record(2));
    await message;
  });
}

test("what is to be sent in a hold leaves after it, in order, and its step is in the new store", async () => {
  const auth = await open();
  const held = await auth.moving.move(COMPANY, "files", "put");
  const first = auth.send("first").then(() => auth.keys.set(alice(2)));
  const second = auth.send("second").then(() => auth.keys.set(alice(3)));
  assert.deepEqual([auth.wire.sent, auth.status().hold?.unsent], [[], 2]);
  assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).code, 200);
  await Promise.all([first, second]);
  assert.deepEqual(auth.wire.sent, ["first", "second"]);
  assert.deepEqual(await copied(auth.moving.placeOf(COMPANY)), client.record(3));
});

test("a frame that is kept for long is under way for Baileys, which would forget its step otherwise, and leaves after the hold", async (t) => {
  const auth = await open();
  const held = await auth.moving.move(COMPANY, "files", "put");
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let writing = false;
  const message = auth.send("message").then(() => ((writing = true), auth.keys.set(alice(2))));
  t.mock.timers.tick(KEPT_MS - 1);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(writing, false);
  t.mock.timers.tick(1);
  await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.reset();
  assert.deepEqual([writing, auth.wire.sent, auth.status().hold], [true, [], { ...auth.status().hold, unsent: 1, waiting: 1 }]);
  assert.equal((await auth.moving.commit(COMPANY, "files", held.hold)).code, 200);
  await message;
  assert.deepEqual(auth.wire.sent, ["message"]);
  assert.deepEqual(await copied(auth.moving.placeOf(COMPANY)), client.record(2));
});

test("a socket that is attached in a hold sends nothing before its end", async () => {
  const auth = await open();
  const { hold } = await auth.moving.move(COMPANY, "files", "seal");
  /** @type {string[]} */
  const sent = [];
  const raw = { send: (/** @type {string} */ frame, /** @type {() => void} */ done) => (sent.push(frame), done()) };
  auth.attach({ end() {}, ws: Object.assign(new EventEmitter(), { socket: raw }), ev: new EventEmitter() });
  const hello = new Promise((resolve) => raw.send("hello", () => resolve(undefined)));
  assert.deepEqual(sent, []);
  await auth.moving.abort(COMPANY, hold);
  await hello;
  assert.deepEqual(sent, ["hello"]);
});

test("what was to be sent when a drain began never leaves, and whoever wanted it is told", async () => {
  const auth = await open();
  auth.wire.slow = true;
  const leaving = auth.send("leaving").then(() => auth.keys.set(alice(2)));
  const draining = client.post(auth.dir, "/drain?export=true");
  await client.until("nothing is read any more", () => auth.wire.paused);
  await client.until("nothing leaves any more", () => /** @type {any} */ (auth.service.sessions.get(COMPANY)).socket.isShut);
  const late = auth.send("late").then(() => auth.keys.set(alice(9)));
  auth.wire.waiting.forEach((done) => done());
  await Promise.all([assert.rejects(late, /ended before this was sent/), leaving, draining]);
  assert.deepEqual(auth.wire.sent, ["leaving", "end"]);
  assert.deepEqual(await copied((await draining).drained[COMPANY].export.directory), client.record(2));
});

test("a drain waits for a message that is at work, whose receipt would not leave otherwise", async () => {
  const auth = await open();
  auth.ws.emit("CB:message", { attrs: { id: "M1" } });
  const draining = client.post(auth.dir, "/drain?export=true");
  await client.until("nothing is read any more", () => auth.wire.paused);
  await auth.keys.set(alice(2));
  await auth.send("receipt");
  auth.ev.emit("messages.upsert", { messages: [{ key: { id: "M1" } }] });
  await draining;
  assert.deepEqual(auth.wire.sent, ["receipt", "end"]);
});
