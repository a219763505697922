// SPDX-License-Identifier: GPL-3.0-or-later
// Real sessions of real Baileys that move from PostgreSQL to files and back while messages flow. A broken ratchet would show as
// a message that cannot be decrypted.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, afterEach, before, test } from "node:test";

import { decode, encode } from "../../../../roles/session_client/files/client/src/codec.js";
import { fileName } from "../../../../roles/session_client/files/client/src/names.js";
import * as lab from "../support/lab.mjs";
import { COMPANIES, filesIn, startMoving } from "./moving.mjs";
import * as client from "./support.mjs";

const TURNS = Number(process.env.SWITCH_TURNS ?? 3);
const LONG = Boolean(process.env.SWITCH_TURNS);
/** @type {import("./moving.mjs").Moving} */
let the;

before(async () => {
  the = await startMoving(lab.temporaryDir());
});
afterEach(() => the.stopApps());
after(() => the?.stop());

/** Messages both ways until `stop`, which says how many turns there were. @param {lab.App} app @param {string} text */
function flow(app, text) {
  let on = true;
  let turns = 0;
  const flowing = (async () => {
    while (on) await the.talk(app, `${text}, turn ${++turns}`);
    return turns;
  })();
  const broken = flowing.then(() => assert.fail("nothing flows any more"));
  broken.catch(() => undefined); // whoever waits for something of it is told
  return {
    /** @template T @param {Promise<T>} waiting */
    whileFlowing: (waiting) => Promise.race([waiting, broken]),
    turned: (/** @type {number} */ count) => Promise.race([lab.until(`${count} turns`, () => turns > count, 60_000), broken]),
    now: () => turns,
    stop: () => ((on = false), flowing),
  };
}

/** @param {string} id @returns {Promise<[string, string][]>} */
async function rowsOf(id) {
  const { rows: keys } = await the.database.admin.query("SELECT key_type, key_id, value::text FROM whatsapp_keys WHERE company_id = $1", [id]);
  const { rows: creds } = await the.database.admin.query("SELECT creds::text FROM whatsapp_auth WHERE company_id = $1", [id]);
  /** @type {[string, string][]} */
  const found = keys.map(({ key_type: type, key_id: key, value }) => [fileName(type, key), encode(type, decode(type, value))]);
  found.push(["creds.json", encode("creds", decode("creds", creds[0].creds))]);
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Baileys may still write what nobody waits for. @param {string} id @param {"postgres" | "files"} store */
const sameAsMemory = (id, store) =>
  lab.until(`company ${id} in ${store} is what memory is`, async () => {
    assert.deepEqual(store === "files" ? filesIn(the.moving.placeOf(id)) : await rowsOf(id), await the.memoryOf(id));
    return true;
  });

test("sessions move there and back while messages flow: nobody is disconnected, nothing is lost, and each store is what memory is", async () => {
  const app = await the.start();
  await the.talk(app, "before");
  const before = await the.logins();
  for (let turn = 1; turn <= TURNS; turn++) {
    for (const to of /** @type {const} */ (["files", "postgres"])) {
      const flowing = flow(app, `round ${turn}, to ${to}`);
      await flowing.turned(0);
      await the.moveAll(to);
      await flowing.turned(flowing.now() + 1);
      await flowing.stop();
      const { status, companies: health } = await lab.call(`${app.url}/health`);
      assert.deepEqual([status, health.map((/** @type {any} */ each) => each.store)], ["ok", [to, to]]);
      for (const id of COMPANIES) {
        await sameAsMemory(id, to);
        if (to === "postgres") rmSync(the.moving.placeOf(id), { recursive: true });
      }
    }
  }
  assert.deepEqual(await the.logins(), before);
  app.child.kill("SIGKILL");
  await the.talkTwice(await the.start(), "from the database");
});

test("a move in an outage, a hold that ends, and a sealed one that is taken back, all while messages flow", async () => {
  const app = await the.start();
  const before = await the.logins();
  const flowing = flow(app, "on and on");
  const turned = () => flowing.turned(flowing.now() + 1);
  await turned();
  the.database.proxy.refuse();
  await turned();
  const [first, second] = COMPANIES;
  const { hold } = await the.moving.hold(first, "files", "&holdMs=100");
  await lab.until("the hold has ended", async () => (await the.holds())[0] === null);
  assert.equal((await the.moving.seal(first, hold)).name, "HoldExpired");
  await turned();
  const sealed = await the.moving.move(second, "files", "put");
  await flowing.whileFlowing(lab.until("a write waits, behind a frame perhaps", async () => (await the.holds())[1]?.waiting > 0));
  assert.equal((await the.moving.abort(second, sealed.hold)).store, "postgres");
  await turned();
  await the.moveAll("files");
  await turned();
  the.database.proxy.heal();
  await turned();
  await the.moveAll("postgres");
  await turned();
  await flowing.stop();
  assert.deepEqual(await the.logins(), before);
  for (const id of COMPANIES) await sameAsMemory(id, "postgres");
});

test("a message that is being sent in a long hold leaves after it, and no step is used twice", { skip: LONG ? false : "25 s; it belongs to make test-client" }, async () => {
  const app = await the.start();
  await the.talk(app, "before");
  const [first] = COMPANIES;
  const sealed = await the.moving.move(first, "files", "put");
  const { asked } = await the.sendOne(app, first, "in the hold", (hold) => hold?.unsent > 0);
  await lab.until("Baileys would have given up", () => Date.now() - Date.parse(sealed.since) > 22_000, 30_000);
  await the.moving.record(first, "files");
  assert.equal((await the.moving.commit(first, "files", sealed.hold)).code, 200);
  await asked; // the application's own patience with the server is 10 s
  await lab.until("it is read", async () => (await the.inbox()).includes("in the hold"));
  await the.sendOne(app, first, "after it, before any answer"); // an answer would turn the ratchet
  await the.talkTwice(app, "after that");
  await the.moving.move(first, "postgres");
});

test("a session whose socket is closed moves too, and logs in from where it is then", async () => {
  const wire = await client.startProxy(Number(new URL(the.standin.ws).port));
  try {
    const url = new URL(the.standin.ws);
    url.port = String(wire.port);
    const app = await the.start(url.href);
    await the.talk(app, "before");
    for (const to of /** @type {const} */ (["files", "postgres", "files"])) {
      wire.refuse();
      await lab.until("nobody is connected", async () => (await lab.call(`${app.url}/health`)).companies.every((/** @type {any} */ { connection }) => connection !== "open"));
      await the.moveAll(to);
      wire.heal();
      await lab.until("all are connected", async () => (await lab.call(`${app.url}/health`)).status === "ok");
      await the.talkTwice(app, `on ${to}, after a new login`);
    }
    await the.moveAll("postgres");
    await the.talkTwice(app, "and back");
  } finally {
    await the.stopApps();
    await wire.stop();
  }
});
