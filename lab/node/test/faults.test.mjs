// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import pg from "pg";

import * as lab from "./support/lab.mjs";
import { connectionOf, freePort, startPostgres } from "./support/postgres.mjs";

const COMPANIES = ["962301", "962302", "962303", "962304"];
const dir = lab.temporaryDir();
/** @type {Awaited<ReturnType<typeof startPostgres>>} */
let db;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any[]} */
let companies;
/** @type {pg.Client} */
let client;
/** @type {string} */
let home;
/** @type {lab.App[]} */
const apps = [];

before(async () => {
  db = await startPostgres();
  standin = await lab.startStandin(dir);
  companies = lab.pair(standin, db.env, COMPANIES, 900);
  client = new pg.Client(connectionOf(db.env));
  await client.connect();
  home = lab.makeApp(dir, "postgres");
});
afterEach(async () => {
  for (const app of apps.splice(0)) await app.stop();
});
after(async () => {
  await client?.end();
  await standin?.stop();
  await db?.stop();
  lab.removeDir(dir);
});

/** @param {Record<string, string>} extra @param {string} [at] @param {lab.Form} [form] */
async function start(extra, at = home, form = /** @type {lab.Form} */ ("postgres")) {
  const app = await lab.startApp(at, form, standin, db.env, extra);
  apps.push(app);
  return app;
}

/** @param {string} jid @param {string} text */
const write = async (jid, text) => (await lab.call(`${standin.control}/message`, { to: jid, text })).outcome;

/** @param {lab.App} app @param {string} company @param {string} connection */
const untilState = (app, company, connection) =>
  lab.until(`company ${company} ${connection}`, async () => {
    const health = await lab.healthOf(app, company);
    return health?.connection === connection && health;
  });

test("a session row that was rolled back shows as a message that cannot be decrypted, both ways", async () => {
  const [{ company_id: id, jid }] = companies;
  const { jid: contact, lid } = await lab.call(`${standin.control}/contact`, { id: "contact-1" });
  const address = `${lid.split("@")[0]}_1.0`;
  const select = "SELECT value FROM whatsapp_keys WHERE company_id = $1 AND key_type = 'session' AND key_id = $2";
  const {
    rows: [{ value: old }],
  } = await client.query(select, [id, address]);
  let app = await start({ COMPANIES: id });
  await lab.untilOpen(app, id);
  for (let turn = 0; turn < 3; turn++) {
    assert.equal(await write(jid, `turn ${turn}`), "delivered");
    assert.equal((await lab.call(`${app.url}/send`, { company: id, to: contact, text: `turn ${turn}` })).status, 200);
  }
  await app.stop();
  const update = "UPDATE whatsapp_keys SET value = $3 WHERE company_id = $1 AND key_type = 'session' AND key_id = $2";
  await client.query(update, [id, address, JSON.stringify(old)]);
  app = await start({ COMPANIES: id });
  await lab.untilOpen(app, id);
  assert.equal(await write(jid, "after the rollback"), "retry");
  assert.equal((await lab.call(`${app.url}/send`, { company: id, to: contact, text: "lost" })).status, 200);
  const { messages } = await lab.call(`${standin.control}/inbox?contact=contact-1`);
  assert.ok(messages.at(-1).error, JSON.stringify(messages.at(-1)));
  assert.equal(messages.at(-1).from, jid);
});

test("a device that the phone removed shows as logged out, and the other companies go on", async () => {
  const [, gone, other] = companies;
  const app = await start({ COMPANIES: `${gone.company_id},${other.company_id}` });
  for (const { company_id: id } of [gone, other]) await lab.untilOpen(app, id);
  await lab.call(`${standin.control}/logout`, { jid: gone.jid });
  await untilState(app, gone.company_id, "logged_out");
  assert.equal(await write(other.jid, "still here"), "delivered");
  assert.equal((await lab.call(`${app.url}/health`)).status, "degraded");
});

test("the next login of a removed device is refused with 401", async () => {
  const [, gone] = companies;
  const app = await start({ COMPANIES: gone.company_id });
  const health = await untilState(app, gone.company_id, "logged_out");
  assert.match(health.last_error, /logged out/);
});

test("two processes with one session: the older one is told that its connection was replaced", async () => {
  const [, , , company] = companies;
  const first = await start({ COMPANIES: company.company_id });
  await lab.untilOpen(first, company.company_id);
  const second = await start({ COMPANIES: company.company_id });
  const health = await untilState(first, company.company_id, "close");
  assert.equal(health.last_error, "connection replaced");
  await lab.untilOpen(second, company.company_id);
  const { devices } = await lab.call(`${standin.control}/status`);
  assert.equal(devices.find((/** @type {any} */ device) => device.jid === company.jid).conflicts, 1);
});

test("creds that are gone or broken are an error of that company, and never a new identity", async () => {
  const [, , other, broken] = companies;
  await client.query("UPDATE whatsapp_auth SET creds = NULL WHERE company_id = $1", [broken.company_id]);
  const app = await start({ COMPANIES: `${broken.company_id},${other.company_id},999999` });
  await lab.untilOpen(app, other.company_id);
  assert.match((await untilState(app, broken.company_id, "close")).last_error, /not a paired session/);
  assert.match((await untilState(app, "999999", "close")).last_error, /no row in whatsapp_auth/);
  const { rows } = await client.query("SELECT creds FROM whatsapp_auth WHERE company_id IN ($1, '999999')", [
    broken.company_id,
  ]);
  assert.deepEqual(rows, [{ creds: null }]);
});

test("a folder with an empty or missing creds.json is an error of that company, and stays as it is", async () => {
  const [, , other] = companies;
  const files = lab.makeApp(dir, "archive");
  const sessions = join(files, "baileys_sessions");
  await lab.exportToFiles(home, db.env, other.company_id, join(sessions, `company_${other.company_id}`));
  await lab.exportToFiles(home, db.env, other.company_id, join(sessions, "company_1"));
  writeFileSync(join(sessions, "company_1/creds.json"), "");
  const app = await start({ COMPANIES: `1,2,${other.company_id}` }, files, "archive");
  await lab.untilOpen(app, other.company_id);
  assert.match((await untilState(app, "1", "close")).last_error, /creds\.json/);
  assert.match((await untilState(app, "2", "close")).last_error, /ENOENT/);
});

test("while the database is away the application waits for it and says so", async () => {
  const [, , other] = companies;
  const app = await start({ POSTGRES_PORT: String(await freePort()), COMPANIES: other.company_id });
  const health = await lab.until("the reason", async () => {
    const found = await lab.healthOf(app, other.company_id);
    return found?.last_error && found;
  });
  assert.match(health.last_error, /database: /);
  assert.equal(health.connection, "close");
});

test("a write that the database refuses shows in /health, and the process lives on", async () => {
  const [, , other] = companies;
  const app = await start({ COMPANIES: other.company_id });
  await lab.untilOpen(app, other.company_id);
  await client.query("ALTER TABLE whatsapp_keys RENAME TO away");
  try {
    await lab.call(`${standin.control}/message`, { to: other.jid, text: "in vain", timeout_ms: 500 });
    const health = await lab.until("degraded", async () => {
      const answer = await lab.call(`${app.url}/health`);
      return answer.status === "degraded" && answer;
    });
    assert.match(health.companies[0].last_error, /database: relation "whatsapp_keys" does not exist/);
  } finally {
    await client.query("ALTER TABLE away RENAME TO whatsapp_keys");
  }
});

test("code that does not fit USE_DATABASE_AUTH_STATE refuses to start", async () => {
  const head = await start({ USE_DATABASE_AUTH_STATE: "false" });
  await lab.until("the refusal", () => head.child.exitCode === 1);
  assert.match(head.output.text, /refusing to start: USE_DATABASE_AUTH_STATE=false.*PostgreSQL only/);
  const old = await start({ USE_DATABASE_AUTH_STATE: "true" }, lab.makeApp(dir, "tag"), "tag");
  await lab.until("the refusal", () => old.child.exitCode === 1);
  assert.match(old.output.text, /refusing to start: USE_DATABASE_AUTH_STATE=true.*in files/);
});
