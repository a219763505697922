// SPDX-License-Identifier: GPL-3.0-or-later
// A database, a directory, and a session that is written in an outage by a process that is killed: for tests of the one that comes
// after it. Imported, it makes all that anew for each test of the file.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** @type {client.Database} */
export let database;
/** @type {string} */
export let dir;
/** @type {{close: () => Promise<unknown>}[]} */
export const open = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  dir = temporaryDir();
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "session", "alice.0", client.record(1));
  await client.addKey(database.admin, "pre-key", "5", client.preKey());
});
afterEach(async () => {
  database.proxy.heal();
  for (const each of open.splice(0)) await each.close();
  removeDir(dir);
});
after(() => database.stop());

export const settings = () => ({
  connection: database.connection, dir, admin: false, connectTimeoutMs: 400, queryTimeoutMs: 600, recoveryIntervalMs: 100,
}); // prettier-ignore

export async function startChild() {
  const child = await client.startProcess(settings());
  open.push({ close: child.kill });
  return child;
}

/** A second life in this process. @param {object} [options] */
export async function startHere(options = {}) {
  const started = await client.startService(database, { ...settings(), ...options });
  open.push(started.service);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...auth, ...started };
}

/** Written in an outage, then killed. */
export async function killInOutage() {
  const child = await startChild();
  database.proxy.refuse();
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(2) } } });
  await child.ask({ do: "creds", change: { nextPreKeyId: 77 } });
  await child.ask({ do: "set", data: { session: { "alice.0": client.record(3) }, "pre-key": { 5: null } } });
  await client.until("the cache is written", () => existsSync(fileOf("cache")));
  await child.kill();
}

/** @param {string} kind */
export const fileOf = (kind) => join(dir, `${COMPANY}.${kind}`);
export const creds = async () => (await database.admin.query("SELECT creds FROM whatsapp_auth")).rows[0].creds;
