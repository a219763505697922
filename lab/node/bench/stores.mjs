// SPDX-License-Identifier: GPL-3.0-or-later
// The stores that the session client is measured beside, each opened for one company and asked as Baileys asks it.
import Module, { createRequire } from "node:module";
import { join } from "node:path";

import { BufferJSON, proto, useMultiFileAuthState } from "baileys";
import pg from "pg";

import { NODE_DIR } from "../test/support/lab.mjs";

/**
 * What Baileys hands to `set`, by type and id; a key that goes is null.
 * @typedef {Record<string, Record<string, any>>} Data
 * @typedef {{get: (type: string, ids: string[]) => Promise<Record<string, any>>, set: (data: Data) => Promise<unknown>}} Keys
 */

/** @param {string} home @param {string} company */
export const folderOf = (home, company) => join(home, `company_${company}`);

/** The real library's. @param {string} folder @returns {Promise<Keys>} */
export async function openFiles(folder) {
  const { state } = await useMultiFileAuthState(folder);
  return /** @type {any} */ (state.keys);
}

/** `postgres-baileys`. It was made for another name of Baileys, and asks for `uuid`, which it does not install (for a new
 * identity only, which nobody makes here). */
function loadPackage() {
  const require = createRequire(join(NODE_DIR, "x.js"));
  const modules = /** @type {any} */ (Module);
  const resolve = modules._resolveFilename;
  modules._resolveFilename = (/** @type {string} */ name, /** @type {any[]} */ ...rest) => {
    if (name === "uuid") return "crypto";
    return resolve.call(modules, name.replace(/^@whiskeysockets\/baileys\b/, join(NODE_DIR, "node_modules/baileys")), ...rest);
  };
  try {
    return require("postgres-baileys").usePostgreSQLAuthState;
  } finally {
    modules._resolveFilename = resolve;
  }
}

/** @type {any} */
let usePostgreSQLAuthState;

/** @param {pg.Pool} pool @param {string} company @returns {Promise<Keys>} */
export async function openPackage(pool, company) {
  usePostgreSQLAuthState ??= loadPackage();
  return (await usePostgreSQLAuthState(pool, company)).state.keys;
}

/** What `mysql-baileys` does, in PostgreSQL: one connection, and one query after the other, one a key.
 * @param {pg.Client} client @param {string} session @returns {Keys} */
export function openOneQueryAKey(client, session) {
  const read = async (/** @type {string} */ id) => {
    const { rows } = await client.query("SELECT value FROM auth WHERE id = $1 AND session = $2", [id, session]);
    return rows.length ? JSON.parse(rows[0].value, BufferJSON.reviver) : null;
  };
  const write = (/** @type {string} */ id, /** @type {any} */ value) =>
    client.query("INSERT INTO auth (session, id, value) VALUES ($1, $2, $3) ON CONFLICT (session, id) DO UPDATE SET value = $3", [
      session,
      id,
      JSON.stringify(value, BufferJSON.replacer),
    ]);
  const remove = (/** @type {string} */ id) => client.query("DELETE FROM auth WHERE id = $1 AND session = $2", [id, session]);
  return {
    async get(type, ids) {
      /** @type {Record<string, any>} */
      const data = {};
      for (const id of ids) {
        const value = await read(`${type}-${id}`);
        data[id] = type === "app-state-sync-key" && value ? proto.Message.AppStateSyncKeyData.fromObject(value) : value;
      }
      return data;
    },
    async set(data) {
      for (const type in data) {
        for (const [id, value] of Object.entries(data[type])) await (value ? write(`${type}-${id}`, value) : remove(`${type}-${id}`));
      }
    },
  };
}

const UPSERT = `INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) SELECT $1, t, i, v::jsonb
  FROM unnest($2::text[], $3::text[], $4::text[]) AS w (t, i, v)
  ON CONFLICT (company_id, key_type, key_id) DO UPDATE SET value = excluded.value, updated_at = now()`;
const DELETE = "DELETE FROM whatsapp_keys WHERE company_id = $1 AND key_type = $2 AND key_id = ANY ($3)";

/** One `set` as somebody writes it by hand who knows PostgreSQL: one transaction, as few statements as the data allows.
 * @param {pg.Pool} pool @param {string} company */
export const byHand = (pool, company) => async (/** @type {Data} */ data) => {
  /** @type {string[][]} */
  const kept = [];
  /** @type {[string, string[]][]} */
  const gone = [];
  for (const type in data) {
    const entries = Object.entries(data[type]);
    for (const [id, value] of entries) if (value) kept.push([type, id, JSON.stringify(value, BufferJSON.replacer)]);
    const ids = entries.filter(([, value]) => !value).map(([id]) => id);
    if (ids.length) gone.push([type, ids]);
  }
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    if (kept.length) await client.query(UPSERT, [company, ...[0, 1, 2].map((column) => kept.map((row) => row[column]))]);
    for (const [type, ids] of gone) await client.query(DELETE, [company, type, ids]);
    await client.query("COMMIT");
  } finally {
    client.release();
  }
};

/** The tables of the other two, with one company's creds and keys. @param {pg.Pool} pool @param {string} company
 * @param {any} creds @param {Keys} from @param {Map<string, string[]>} names */
export async function copyToOthers(pool, company, creds, from, names) {
  await pool.query(`CREATE TABLE auth (session varchar(50) NOT NULL, id varchar(80) NOT NULL, value text, UNIQUE (session, id));
    CREATE INDEX ON auth (session); CREATE INDEX ON auth (id);
    CREATE TABLE auth_data (session_key varchar(255) PRIMARY KEY, data text NOT NULL)`);
  // Where it finds no creds it makes a new identity.
  await pool.query("INSERT INTO auth_data VALUES ($1, $2)", [`${company}:auth_creds`, JSON.stringify(creds)]);
  const theirs = await openPackage(pool, company);
  const client = new pg.Client(pool.options);
  await client.connect();
  const one = openOneQueryAKey(client, company);
  for (const [type, ids] of names) {
    const data = { [type]: await from.get(type, ids) };
    await theirs.set(data);
    await one.set(data);
  }
  await client.end();
}
