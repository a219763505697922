// SPDX-License-Identifier: BSD-2-Clause
// Names of tables and columns (people have such tables already), and the statements that are made of them.
import { Misconfigured } from "./errors.js";

/**
 * `updated_at` null: there is no such column.
 * @typedef {{table: string, company: string, creds: string, updated_at: string | null}} AuthTable
 * @typedef {{table: string, company: string, type: string, id: string, value: string, updated_at: string | null}} KeysTable
 * @typedef {{auth: AuthTable, keys: KeysTable}} Tables
 * @typedef {(text: string, values?: any[]) => Promise<{rows: any[], rowCount: number | null}>} Query
 */

/** @type {Tables} */
export const DEFAULT_TABLES = {
  auth: { table: "whatsapp_auth", company: "company_id", creds: "creds", updated_at: "updated_at" },
  keys: {
    table: "whatsapp_keys",
    company: "company_id",
    type: "key_type",
    id: "key_id",
    value: "value",
    updated_at: "updated_at",
  },
};

/** @param {{auth?: Partial<AuthTable>, keys?: Partial<KeysTable>}} [given] @returns {Tables} */
export const tablesOf = (given = {}) => ({
  auth: { ...DEFAULT_TABLES.auth, ...given.auth },
  keys: { ...DEFAULT_TABLES.keys, ...given.keys },
});

/** @param {string} name */
const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

/** A table's name may have its schema before it. @param {string} name */
function quotedTable(name) {
  const dot = name.indexOf(".");
  return dot < 0 ? quoted(name) : `${quoted(name.slice(0, dot))}.${quoted(name.slice(dot + 1))}`;
}

// typname, not format_type: varchar(20) as the type of a parameter would cut a company's id off instead of not finding it.
const COLUMNS = `
  SELECT m.part, m.oid IS NOT NULL AS found, a.attname AS name, n.nspname AS schema, t.typname AS type
    FROM (VALUES ('auth', to_regclass($1)::oid), ('keys', to_regclass($2)::oid)) AS m (part, oid)
    LEFT JOIN pg_attribute a ON a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_namespace n ON n.oid = t.typnamespace`;

/**
 * Asks the server for the types of the mapped columns. Throws Misconfigured when a table or column is not there.
 * @param {Query} query @param {Tables} tables
 */
export async function describe(query, tables) {
  /** @type {Record<string, string>} */
  const types = {};
  const { rows } = await query(COLUMNS, [quotedTable(tables.auth.table), quotedTable(tables.keys.table)]);
  for (const [part, table] of Object.entries(tables)) {
    const found = rows.filter((row) => row.part === part && row.found);
    if (!found.length) {
      throw new Misconfigured(`table "${table.table}" does not exist`, {
        hint: `set tables.${part}.table to the table that holds the ${part === "auth" ? "creds" : "keys"}`,
      });
    }
    const present = new Map(found.map((row) => [row.name, `${quoted(row.schema)}.${quoted(row.type)}`]));
    for (const [option, column] of Object.entries(table)) {
      if (option === "table" || column === null) continue;
      const type = present.get(column);
      if (!type) {
        throw new Misconfigured(`column "${column}" missing in ${table.table}`, {
          hint: `set tables.${part}.${option} to the column that holds it (there are: ${[...present.keys()].sort().join(", ")})`,
        });
      }
      types[`${part}.${option}`] = type;
    }
  }
  return types;
}

/**
 * The statements on one pair of tables, with every parameter of the type of its column: a cast of the column instead
 * would pass over its index. `$1` is the company in all of them.
 * @param {Tables} tables @param {Record<string, string>} types of {@link describe}
 */
export function statements({ auth, keys }, types) {
  const [a, k] = [quotedTable(auth.table), quotedTable(keys.table)];
  const [ac, creds] = [quoted(auth.company), quoted(auth.creds)];
  const [kc, type, id, value] = [keys.company, keys.type, keys.id, keys.value].map(quoted);
  const now = (/** @type {string | null} */ column) => (column ? `, ${quoted(column)} = now()` : "");
  const [ofAuth, ofKeys] = [`$1::${types["auth.company"]}`, `$1::${types["keys.company"]}`];
  const [typeOf, idOf, valueOf] = ["keys.type", "keys.id", "keys.value"].map((each) => types[each]);
  return {
    /** Texts that are made of these, by name. @type {Map<string, string>} */
    writes: new Map(),
    names: { auth: auth.table, keys: keys.table },
    readCreds: `SELECT ${creds}::text AS creds FROM ${a} WHERE ${ac} = ${ofAuth}`,
    readKeys: `SELECT ${type}::text AS type, ${id}::text AS id, ${value}::text AS value FROM ${k} WHERE ${kc} = ${ofKeys}`,
    readThese: `SELECT ${type}::text AS type, ${id}::text AS id, ${value}::text AS value FROM ${k}
      JOIN unnest($2::text[], $3::text[]) AS d (t, i) ON ${type} = d.t::${typeOf} AND ${id} = d.i::${idOf} WHERE ${kc} = ${ofKeys}`,
    listCompanies: `SELECT ${ac}::text AS company FROM ${a} ORDER BY 1`,
    updateCreds: `UPDATE ${a} SET ${creds} = $2::${types["auth.creds"]}${now(auth.updated_at)} WHERE ${ac} = ${ofAuth}`,
    insertCreds: `INSERT INTO ${a} (${ac}, ${creds}) VALUES (${ofAuth}, $2::${types["auth.creds"]})`,
    deleteKeys: `DELETE FROM ${k} USING unnest($2::text[], $3::text[]) AS d (t, i)
      WHERE ${kc} = ${ofKeys} AND ${type} = d.t::${typeOf} AND ${id} = d.i::${idOf}`,
    /** @param {string} [condition] */
    upsertKeys: (condition = "true") => `INSERT INTO ${k} (${kc}, ${type}, ${id}, ${value})
      SELECT ${ofKeys}, t::${typeOf}, i::${idOf}, v::${valueOf} FROM unnest($2::text[], $3::text[], $4::text[]) AS w (t, i, v)
       WHERE ${condition} ON CONFLICT (${kc}, ${type}, ${id}) DO UPDATE SET ${value} = excluded.${value}${now(keys.updated_at)}`,
  };
}

/** @typedef {ReturnType<typeof statements>} Statements */
