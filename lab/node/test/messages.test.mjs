// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { cpSync } from "node:fs";
import { join } from "node:path";

import * as lab from "./support/lab.mjs";
import { startPostgres } from "./support/postgres.mjs";

const COMPANIES = ["962301", "962302"];
const dir = lab.temporaryDir();
/** @type {Awaited<ReturnType<typeof startPostgres>>} */
let db;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any[]} */
let companies;
/** @type {lab.App} */
let app;

before(async () => {
  db = await startPostgres();
  standin = await lab.startStandin(dir);
  companies = lab.pair(standin, db.env, COMPANIES);
});
after(async () => {
  await app?.stop();
  await standin?.stop();
  await db?.stop();
  lab.removeDir(dir);
});

/** @param {object} message */
const write = async (message) => (await lab.call(`${standin.control}/message`, message)).outcome;

/** @param {string} contact @param {string} text */
const arrived = (contact, text) =>
  lab.until(`${text} at ${contact}`, async () => {
    const { messages } = await lab.call(`${standin.control}/inbox?contact=${contact}`);
    const errors = messages.filter((/** @type {any} */ entry) => entry.error);
    assert.deepEqual(errors, []);
    return messages.some((/** @type {any} */ entry) => entry.text === text);
  });

/** Every way in and out, for one company. @param {any} company @param {string} tag */
async function converse({ company_id: id, jid, group }, tag) {
  const texts = ["known", "pn only", "stranger", "group"].map((kind) => `${tag} ${id} ${kind}`);
  assert.equal(await write({ to: jid, text: texts[0] }), "delivered");
  assert.equal(await write({ to: jid, from: "pn-contact-1", text: texts[1] }), "delivered");
  assert.equal(await write({ to: jid, from: `stranger of ${tag}`, text: texts[2] }), "delivered");
  assert.equal(await write({ to: jid, group, text: texts[3] }), "delivered");
  const received = /** @type {any} */ (await lab.call(`${app.url}/messages?company=${id}`));
  assert.deepEqual(
    received.slice(-4).map((/** @type {any} */ message) => message.text),
    texts,
  );
  for (const contact of ["contact-1", "pn-contact-1", `stranger of ${tag}`]) {
    const { jid: to } = await lab.call(`${standin.control}/contact`, { id: contact });
    assert.equal((await lab.call(`${app.url}/send`, { company: id, to, text: `${tag} ${id} out` })).status, 200);
    await arrived(contact, `${tag} ${id} out`);
  }
  assert.equal(
    (await lab.call(`${app.url}/send`, { company: id, to: group, text: `${tag} ${id} group out` })).status,
    200,
  );
  await arrived("contact-1", `${tag} ${id} group out`);
}

describe("messages go both ways, alone and in groups", () => {
  /** The ratchets of one form are carried into the next, as failover does. @type {string} */
  let home;

  test("from PostgreSQL", async () => {
    home = lab.makeApp(dir, "postgres");
    app = await lab.startApp(home, "postgres", standin, db.env);
    for (const company of companies) {
      await lab.untilOpen(app, company.company_id);
      await converse(company, "postgres");
    }
    const { status, store } = await lab
      .call(`${app.url}/health`)
      .then(({ companies: list, ...rest }) => ({ ...rest, status: list[0].connection }));
    assert.deepEqual([status, store], ["open", "postgres"]);
    await app.stop();
  });

  test("from files, with the archived code", async () => {
    const files = lab.makeApp(dir, "archive");
    for (const id of COMPANIES)
      await lab.exportToFiles(home, db.env, id, join(files, `baileys_sessions/company_${id}`));
    app = await lab.startApp(files, "archive", standin, db.env);
    for (const company of companies) {
      await lab.untilOpen(app, company.company_id);
      await converse(company, "archive");
      const { store, user, keys_loaded: keys } = await lab.healthOf(app, company.company_id);
      assert.deepEqual([store, user], ["files", company.jid]);
      assert.ok(keys > 1300);
    }
    await app.stop();
    home = files;
  });

  test("from files, with the code of the tag, which has no /health", async () => {
    const tagged = lab.makeApp(dir, "tag");
    cpSync(join(home, "baileys_sessions"), join(tagged, "baileys_sessions"), { recursive: true });
    app = await lab.startApp(tagged, "tag", standin, db.env);
    for (const company of companies) {
      await lab.untilOpen(app, company.company_id);
      await converse(company, "tag");
    }
    assert.equal((await lab.call(`${app.url}/health`)).status, 404);
    assert.match(app.output.text, /company 962301 connection open \(files\)\n/);
    await app.stop();
  });
});

test("no message is lost or shown twice when the application restarts in the middle of them", async () => {
  const [company] = companies;
  const home = join(dir, "app-archive");
  cpSync(join(dir, "app-tag/baileys_sessions"), join(home, "baileys_sessions"), { recursive: true });
  app = await lab.startApp(home, "archive", standin, db.env);
  await lab.untilOpen(app, company.company_id);
  const seen = new Set();
  const texts = Array.from({ length: 20 }, (_, n) => `in a row ${n}`);
  const sent = texts.map((text) => lab.call(`${standin.control}/message`, { to: company.jid, text, timeout_ms: 20000 }));
  await Promise.race(sent);
  await app.stop();
  app = await lab.startApp(home, "archive", standin, db.env);
  await lab.untilOpen(app, company.company_id);
  const pending = await Promise.all(sent);
  for (const { id } of pending) {
    const outcome = () => lab.call(`${standin.control}/message?id=${id}`).then((answer) => answer.outcome);
    await lab.until("an outcome", async () => (await outcome()) !== "pending");
    assert.equal(await outcome(), "delivered");
    assert.ok(!seen.has(id));
    seen.add(id);
  }
  await app.stop();
});

test("a message to a device that is away waits for it, and is delivered once at the next login", async () => {
  const [company] = companies;
  const sent = await lab.call(`${standin.control}/message`, { to: company.jid, text: "while away" });
  assert.equal(sent.outcome, "offline");
  app = await lab.startApp(join(dir, "app-tag"), "tag", standin, db.env);
  await lab.untilOpen(app, company.company_id);
  await lab.until(
    "the delivery",
    async () => (await lab.call(`${standin.control}/message?id=${sent.id}`)).outcome === "delivered",
  );
  const received = await lab.until("the message", async () => {
    const all = /** @type {any} */ (await lab.call(`${app.url}/messages?company=${company.company_id}`));
    return all.length && all;
  });
  assert.deepEqual(
    received.map((/** @type {any} */ message) => message.text),
    ["while away"],
  );
});
