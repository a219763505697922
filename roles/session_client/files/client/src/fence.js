// SPDX-License-Identifier: BSD-2-Clause
// Who may write a session, as PostgreSQL knows it (schema baileys_resilience, made by `baileys-resilience init-db`). Each
// writer puts a token of its own into `writers` before it loads, and every write names it: what an earlier writer sent and a
// frozen server only now reads then changes nothing.
import { randomUUID } from "node:crypto";

import { Fenced } from "./errors.js";

/** @typedef {import("./tables.js").Query} Query */

const AVAILABLE = `
  SELECT coalesce(bool_or(c.relname = 'writers' AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                          AND has_table_privilege(c.oid, 'UPDATE')), false) AS writers,
         coalesce(bool_or(c.relname = 'stores' AND has_table_privilege(c.oid, 'SELECT')), false) AS stores
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'baileys_resilience' AND has_schema_privilege(n.oid, 'USAGE')`;
const STORE = "SELECT store, epoch::text, host, since FROM baileys_resilience.stores WHERE company = $1";
const TAKE = `
  INSERT INTO baileys_resilience.writers AS w (company, token, holder, since) VALUES ($1, $2, $3, now())
  ON CONFLICT (company) DO UPDATE SET token = excluded.token, holder = excluded.holder, since = excluded.since
  WHERE $4::text[] IS NULL OR w.token = ANY ($4)
  RETURNING 1`;
const HOLDER = "SELECT token, holder, since FROM baileys_resilience.writers WHERE company = $1";

/** With `$2` the token and `$3` the company: the row is locked until the write is committed, so that nobody can take the
 * session over between this look and the commit. */
export const MINE = "SELECT 1 FROM baileys_resilience.writers WHERE company = $3::text AND token = $2::text FOR SHARE";

export const newToken = () => randomUUID();

/**
 * Takes the session over. `mine`: the tokens that the session was last written under; null when whoever wrote it last does
 * not matter, because everything is loaded anew. Throws Fenced when somebody else wrote it since.
 * @param {Query} query in a transaction
 * @param {{company: string, token: string, identity: string, mine: string[] | null}} claim
 * @returns {Promise<{epoch: number, fenced: boolean}>} the epoch of the store of record; whether writes can be fenced
 */
export async function takeOver(query, { company, token, identity, mine }) {
  const { rows: available } = await query(AVAILABLE);
  const { writers, stores } = available[0];
  const epoch = stores ? await epochOf(query, company) : 0;
  if (!writers) return { epoch, fenced: false };
  const { rowCount } = await query(TAKE, [company, token, identity, mine]);
  if (rowCount) return { epoch, fenced: true };
  const { rows } = await query(HOLDER, [company]);
  throw writtenBy(company, rows[0]);
}

/** @param {string} company @param {{holder: string, since: Date}} [by] */
const writtenBy = (company, by) =>
  fenced(company, `${by?.holder ?? "somebody else"} has written this session since ${by?.since?.toISOString() ?? "then"}`);

/** @param {Query} query @param {string} company */
async function epochOf(query, company) {
  const { rows } = await query(STORE, [company]);
  const [entry] = rows;
  if (entry?.store === "files") {
    throw fenced(company, `this session lives in files on ${entry.host} since ${entry.since.toISOString()}, and not in PostgreSQL`);
  }
  return Number(entry?.epoch ?? 0);
}

/** Throws Fenced unless the session was last taken over under this token. @param {Query} query @param {string} company
 * @param {string} token */
export async function refuseOtherToken(query, company, token) {
  const { rows } = await query(HOLDER, [company]);
  if (rows[0]?.token !== token) throw writtenBy(company, rows[0]);
}

/** @param {string} company @param {string} reason */
export const fenced = (company, reason) =>
  new Fenced(`company ${company}: ${reason}`, {
    company,
    hint: "nothing of this process is written any more; look with `baileys-resilience failover status` where the session lives",
  });
