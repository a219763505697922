// SPDX-License-Identifier: BSD-2-Clause
// What a session writes to PostgreSQL: one statement for one `set`, so one transaction and one round trip.
import { CredsInvalid } from "./errors.js";
import { MINE, fenced } from "./fence.js";
import { replay } from "./replay.js";

/** @typedef {import("./memory.js").Change} Change */

export class Writer {
  /** @param {import("./database.js").Database} database @param {string} identity */
  constructor(database, identity) {
    this.database = database;
    this.identity = identity;
  }

  /** @param {import("./session.js").Session} session @param {Change[]} changes @param {string | null} creds */
  async write(session, changes, creds) {
    const sql = await this.database.statements();
    const write = statement(sql, session, changes, creds);
    const { rows } = await this.database.prepared(creds === null ? "set" : "save_creds", write);
    if (!rows[0].mine) throw fenced(session.company, "another process has taken this session over");
    if (creds !== null && rows[0].creds !== "1") await this.#withoutRow(session, sql, creds);
  }

  /** @param {import("./session.js").Session} session @param {import("./tables.js").Statements} sql @param {string} creds */
  async #withoutRow(session, sql, creds) {
    const { company } = session;
    if (!session.isNew) {
      throw new CredsInvalid(`company ${company}: its row of creds is gone`, {
        company,
        hint: "somebody deleted it while the session ran: this process still has the session; put the row back, it is filled at once",
      });
    }
    await this.database.query("save_creds", sql.insertCreds, [company, creds]);
    session.isNew = false;
  }

  /** Makes the database equal to memory. @param {import("./session.js").Session} session @param {string} token
   * @param {import("./replay.js").Touched} touched */
  async replay(session, token, touched) {
    const sql = await this.database.statements();
    const { company, tokens, epoch, memory, deleted } = session;
    const { identity, database } = this;
    const { earlier } = database;
    const done = await database.transaction("replay", (query) =>
      replay(query, sql, { company, token, tokens, identity, epoch, memory, touched, deleted, earlier }, database.settings.queryTimeoutMs),
    );
    if (done.fenced) earlier?.clear(); // what they may still do changes nothing
    return done;
  }
}

/** @typedef {{fenced: boolean, gone: boolean, kept: boolean, saved: boolean}} Shape which parts a write has */

/** @param {import("./tables.js").Statements} sql @param {import("./session.js").Session} session @param {Change[]} changes
 * @param {string | null} creds */
function statement(sql, session, changes, creds) {
  const gone = changes.filter(({ text }) => text === null);
  const kept = changes.filter(({ text }) => text !== null);
  const shape = { fenced: session.fenced, gone: gone.length > 0, kept: kept.length > 0, saved: creds !== null };
  const values = [
    session.company,
    ...(shape.fenced ? [session.tokens.at(-1), session.company] : []),
    ...(shape.gone ? columns(gone) : []),
    ...(shape.kept ? [...columns(kept), kept.map(({ text }) => text)] : []),
    ...(shape.saved ? [creds] : []),
  ];
  const name = `write${Object.values(shape).map(Number).join("")}`;
  const text = sql.writes.get(name) ?? textOf(sql, shape);
  sql.writes.set(name, text);
  return { name, text, values };
}

/** One statement of all parts, its parameters in the order of {@link statement}. @param {import("./tables.js").Statements} sql
 * @param {Shape} shape */
function textOf(sql, { fenced, gone, kept, saved }) {
  let bound = 1; // the company is $1 in all of them
  const next = (/** @type {number} */ count, /** @type {string} */ text) => {
    const first = bound + 1;
    bound += count;
    return text.replaceAll(/\$([2-8])/g, (_, number) => `$${first + Number(number) - 2}`);
  };
  const guard = fenced ? "EXISTS (SELECT FROM mine)" : "true";
  const parts = [];
  if (fenced) parts.push(`mine AS MATERIALIZED (${next(2, MINE)})`);
  if (gone) parts.push(`gone AS (${next(2, sql.deleteKeys)} AND ${guard})`);
  if (kept) parts.push(`kept AS (${next(3, sql.upsertKeys(guard))})`);
  if (saved) parts.push(`saved AS (${next(1, sql.updateCreds)} AND ${guard} RETURNING 1)`);
  return `WITH ${parts.join(", ")} SELECT ${guard} AS mine, ${saved ? "(SELECT count(*) FROM saved)" : "0"} AS creds`;
}

/** @param {Change[]} changes */
const columns = (changes) => [changes.map(({ type }) => type), changes.map(({ id }) => id)];
