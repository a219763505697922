// SPDX-License-Identifier: GPL-3.0-or-later
// Sessions in PostgreSQL. A database error is thrown, always: for Baileys an empty answer means "no such key".
import { proto } from "baileys";
import pg from "pg";

import { decode, encode } from "./codec.js";
import { log } from "./log.js";

const CONNECT_MS = 3000;
const QUERY_MS = 5000;
const POOL_SIZE = 10;

const GET = "SELECT key_id, value FROM whatsapp_keys WHERE company_id = $1 AND key_type = $2 AND key_id = ANY($3)";
const KEY_NAMES = "SELECT key_type, array_agg(key_id) AS ids FROM whatsapp_keys WHERE company_id = $1 GROUP BY key_type";
const SET = `
  WITH gone AS (
    DELETE FROM whatsapp_keys k USING unnest($2::text[], $3::text[]) AS d (key_type, key_id)
     WHERE k.company_id = $1 AND k.key_type = d.key_type AND k.key_id = d.key_id
  )
  INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)
  SELECT $1, t, i, v::jsonb FROM unnest($4::text[], $5::text[], $6::text[]) AS w (t, i, v)
  ON CONFLICT (company_id, key_type, key_id) DO UPDATE SET value = excluded.value, updated_at = now()`;
const SAVE_CREDS = "UPDATE whatsapp_auth SET creds = $2::jsonb, updated_at = now() WHERE company_id = $1";

export class PostgresStore {
  /** @param {object} connection */
  constructor(connection) {
    this.name = "postgres";
    /** Of the newest query. @type {string | null} */
    this.lastError = null;
    this.pool = new pg.Pool({
      ...connection,
      max: POOL_SIZE,
      connectionTimeoutMillis: CONNECT_MS,
      query_timeout: QUERY_MS,
      keepAlive: true,
    });
    this.pool.on("error", (error) => log(`database connection lost: ${error.message}`));
  }

  /** @param {string} text @param {any[]} values */
  async query(text, values) {
    try {
      const result = await this.pool.query(text, values);
      this.lastError = null;
      return result;
    } catch (error) {
      this.lastError = `database: ${error.message || error.code}`;
      throw Object.assign(new Error(this.lastError, { cause: error }), { retryable: true });
    }
  }

  async companies() {
    const { rows } = await this.query("SELECT company_id FROM whatsapp_auth ORDER BY company_id", []);
    return rows.map((row) => row.company_id);
  }

  /**
   * A company without usable creds is an error: a new identity would lose the session for good.
   * @param {string} company
   */
  async load(company) {
    const { rows } = await this.query("SELECT creds FROM whatsapp_auth WHERE company_id = $1", [company]);
    if (!rows.length) throw new Error(`company ${company} has no row in whatsapp_auth`);
    const creds = decode(rows[0].creds);
    const whole =
      creds?.me?.id && Buffer.isBuffer(creds.noiseKey?.private) && Buffer.isBuffer(creds.signedIdentityKey?.private);
    if (!whole) throw new Error(`the creds of company ${company} are not a paired session`);
    return { creds, keys: this.keys(company), saveCreds: () => this.saveCreds(company, creds) };
  }

  /** @param {string} company */
  keys(company) {
    return {
      get: (/** @type {string} */ type, /** @type {string[]} */ ids) => this.get(company, type, ids),
      set: (/** @type {Record<string, Record<string, any>>} */ data) => this.set(company, data),
    };
  }

  /** @param {string} company @param {string} type @param {string[]} ids */
  async get(company, type, ids) {
    const { rows } = await this.query(GET, [company, type, ids]);
    const value = (/** @type {any} */ stored) =>
      type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(stored) : decode(stored);
    return Object.fromEntries(rows.map((row) => [row.key_id, value(row.value)]));
  }

  /** @param {string} company @param {Record<string, Record<string, any>>} data */
  async set(company, data) {
    const all = Object.entries(data).flatMap(([type, values]) =>
      Object.entries(values ?? {}).map(([id, value]) => ({ type, id, value })),
    );
    const gone = all.filter(({ value }) => !value);
    const kept = all.filter(({ value }) => value);
    await this.query(SET, [
      company,
      gone.map(({ type }) => type),
      gone.map(({ id }) => id),
      kept.map(({ type }) => type),
      kept.map(({ id }) => id),
      kept.map(({ value }) => encode(value)),
    ]);
  }

  /** @param {string} company @param {object} creds */
  async saveCreds(company, creds) {
    const { rowCount } = await this.query(SAVE_CREDS, [company, encode(creds)]);
    if (rowCount !== 1) throw new Error(`company ${company} has no row in whatsapp_auth any more`);
  }

  /** Ids by type. @param {string} company */
  async keyNames(company) {
    const { rows } = await this.query(KEY_NAMES, [company]);
    return new Map(rows.map((row) => [row.key_type, row.ids]));
  }

  async close() {
    await this.pool.end();
  }
}

/** @param {{postgres: object}} config */
export const openStore = ({ postgres }) => new PostgresStore(postgres);
