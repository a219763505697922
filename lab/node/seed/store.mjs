// SPDX-License-Identifier: GPL-3.0-or-later
// An auth state in memory, as Baileys wants it, and its way into the two tables.
import { BufferJSON, initAuthCreds, proto } from "baileys";

import { reencode, reencodeFields } from "./encodings.mjs";

/** Values are kept as JSON text: a store that hands out its own objects would hide lost writes. */
export class MemoryState {
  constructor() {
    this.creds = initAuthCreds();
    /** @type {Map<string, Map<string, string>>} */
    this.rows = new Map();
    this.keys = {
      get: async (/** @type {string} */ type, /** @type {string[]} */ ids) => this.read(type, ids),
      set: async (/** @type {Record<string, Record<string, any>>} */ data) => this.write(data),
    };
  }

  /** @param {string} type @param {string[]} ids */
  read(type, ids) {
    /** @type {Record<string, any>} */
    const found = {};
    for (const id of ids) {
      const text = this.rows.get(type)?.get(id);
      if (text === undefined) continue;
      const value = JSON.parse(text, BufferJSON.reviver);
      found[id] = type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(value) : value;
    }
    return found;
  }

  /** @param {Record<string, Record<string, any>>} data */
  write(data) {
    for (const [type, values] of Object.entries(data)) {
      const rows = this.rows.get(type) ?? new Map();
      this.rows.set(type, rows);
      for (const [id, value] of Object.entries(values)) {
        if (value) rows.set(id, JSON.stringify(value, BufferJSON.replacer));
        else rows.delete(id);
      }
    }
  }

  /** @param {string} type */
  count(type) {
    return this.rows.get(type)?.size ?? 0;
  }

  total() {
    return [...this.rows.values()].reduce((sum, rows) => sum + rows.size, 0);
  }
}

const UPSERT_KEYS = `
  INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, created_at, updated_at)
  SELECT $1, t, i, v::jsonb, now() - make_interval(secs => age), now() - make_interval(secs => age)
    FROM unnest($2::text[], $3::text[], $4::text[], $5::float8[]) AS row (t, i, v, age)`;
const INSERT_CREDS = "INSERT INTO whatsapp_auth (company_id, creds) VALUES ($1, $2::jsonb)";
const FILLER_MAX_AGE_SECONDS = 90 * 86400;

/** Writes one company in one transaction, in place of what was there.
 * The rows that nobody uses get an age of up to 90 days.
 * @param {import("pg").Pool} pool
 * @param {string} company
 * @param {MemoryState} state
 * @param {Set<string>} filler ids as `type id`
 */
export async function saveCompany(pool, company, state, filler) {
  const rows = [...state.rows].flatMap(([type, values]) => [...values].map(([id, text]) => ({ type, id, text })));
  const values = rows.map(({ text }, index) => JSON.stringify(reencode(JSON.parse(text), index)));
  const ages = rows.map(({ type, id }) => (filler.has(`${type} ${id}`) ? Math.random() * FILLER_MAX_AGE_SECONDS : 0));
  const creds = reencodeFields(JSON.parse(JSON.stringify(state.creds, BufferJSON.replacer)));
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await client.query("DELETE FROM whatsapp_keys WHERE company_id = $1", [company]);
    await client.query("DELETE FROM whatsapp_auth WHERE company_id = $1", [company]);
    await client.query(INSERT_CREDS, [company, JSON.stringify(creds)]);
    await client.query(UPSERT_KEYS, [company, rows.map((row) => row.type), rows.map((row) => row.id), values, ages]);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}
