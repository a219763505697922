// SPDX-License-Identifier: BSD-2-Clause
// Who may write a session, as PostgreSQL knows it (schema baileys_resilience, made by `baileys-resilience init-db`). Each
// writer puts a token of its own into `writers` before it loads, and every write names it: what an earlier writer sent and a
// frozen server only now reads then changes nothing.
import { randomUUID } from "node:crypto";

import { Fenced, Unavailable } from "./errors.js";

/** @typedef {import("./tables.js").Query} Query */

const AVAILABLE = `
  SELECT coalesce(bool_or(c.relname = 'writers' AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                          AND has_table_privilege(c.oid, 'UPDATE')), false) AS writers,
         coalesce(bool_or(c.relname = 'stores' AND has_table_privilege(c.oid, 'SELECT')), false) AS stores,
         coalesce(bool_or(c.relname = 'stores' AND EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid
                                                             AND a.attname = 'lineage' AND NOT a.attisdropped)), false) AS lineage
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'baileys_resilience' AND has_schema_privilege(n.oid, 'USAGE')`;
/** A lineage that is not of this epoch was left by somebody who does not write it. @param {boolean} lineage */
const storeOf = (lineage) => `
  SELECT store, epoch::text, ${lineage ? "CASE WHEN lineage[2] = epoch THEN lineage[1] ELSE epoch END" : "epoch"}::text AS lineage, host, since
    FROM baileys_resilience.stores WHERE company = $1`;
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

/** The epoch of the store of record; from which one on the session was here all the time; whether writes can be fenced.
 * @typedef {{epoch: number, lineage: number, fenced: boolean}} Owner */

/**
 * Takes the session over. `mine`: the tokens that the session was last written under; null when whoever wrote it last does
 * not matter, because everything is loaded anew. Throws Fenced when somebody else wrote it since.
 * @param {Query} query in a transaction
 * @param {{company: string, token: string, identity: string, mine: string[] | null, epoch?: number}} claim `epoch`: the one
 *   that this process knows
 * @returns {Promise<Owner>}
 */
export async function takeOver(query, { company, token, identity, mine, epoch = 0 }) {
  const { rows: available } = await query(AVAILABLE);
  const { writers, stores, lineage } = available[0];
  const store = stores ? await storeIn(query, { company, epoch }, lineage) : { epoch: 0, lineage: 0 };
  if (!writers) return { ...store, fenced: false };
  const { rowCount } = await query(TAKE, [company, token, identity, mine]);
  if (rowCount) return { ...store, fenced: true };
  const { rows } = await query(HOLDER, [company]);
  throw writtenBy(company, rows[0]);
}

/** @param {string} company @param {{holder: string, since: Date}} [by] */
const writtenBy = (company, by) =>
  fenced(company, `${by?.holder ?? "somebody else"} has written this session since ${by?.since?.toISOString() ?? "then"}`);

/** Whether what was written in this epoch is of the session still: of a move that was taken back, nothing was left out.
 * @param {Owner} owner @param {number} epoch */
export const isOfNow = (owner, epoch) => owner.lineage <= epoch && epoch <= owner.epoch;

/** @param {Query} query @param {{company: string, epoch: number}} claim @param {boolean} lineage whether the table has it */
async function storeIn(query, { company, epoch }, lineage) {
  const { rows } = await query(storeOf(lineage), [company]);
  const [entry] = rows;
  if (entry?.store === "files") {
    const where = `this session lives in files on ${entry.host} since ${entry.since.toISOString()}, and not in PostgreSQL`;
    if (Number(entry.epoch) < epoch) throw new Unavailable(`company ${company}: ${where}; that move was taken back, which is not told there yet`, { company });
    throw Object.assign(fenced(company, where), { mayPass: true, retryable: true });
  }
  return { epoch: Number(entry?.epoch ?? 0), lineage: Number(entry?.lineage ?? 0) };
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
