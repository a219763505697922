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
    const { text, values } = statement(sql, session, changes, creds);
    const { rows } = await this.database.query(creds === null ? "set" : "save_creds", text, values);
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
    const { identity } = this;
    const deadlineMs = this.database.settings.queryTimeoutMs;
    return this.database.transaction("replay", (query) =>
      replay(query, sql, { company, token, tokens: tokens.slice(0, -1), identity, epoch, memory, touched, deleted }, deadlineMs),
    );
  }
}

/** @param {import("./tables.js").Statements} sql @param {import("./session.js").Session} session @param {Change[]} changes
 * @param {string | null} creds */
function statement(sql, session, changes, creds) {
  const gone = changes.filter(({ text }) => text === null);
  const kept = changes.filter(({ text }) => text !== null);
  /** @type {any[]} */
  const values = [session.company];
  const parts = [];
  const bind = (/** @type {any[]} */ added) => {
    const first = values.length + 1;
    values.push(...added);
    return (/** @type {string} */ text) => text.replaceAll(/\$([2-8])/g, (_, number) => `$${first + Number(number) - 2}`);
  };
  const guard = session.fenced ? "EXISTS (SELECT FROM mine)" : "true";
  if (session.fenced) {
    const at = bind([session.tokens.at(-1), session.company]);
    parts.push(`mine AS MATERIALIZED (${at(MINE)})`);
  }
  if (gone.length) parts.push(`gone AS (${bind(columns(gone))(sql.deleteKeys)} AND ${guard})`);
  if (kept.length) parts.push(`kept AS (${bind([...columns(kept), kept.map(({ text }) => text)])(sql.upsertKeys(guard))})`);
  if (creds !== null) parts.push(`saved AS (${bind([creds])(sql.updateCreds)} AND ${guard} RETURNING 1)`);
  const mine = session.fenced ? "EXISTS (SELECT FROM mine)" : "true";
  const saved = creds === null ? "0" : "(SELECT count(*) FROM saved)";
  return { text: `WITH ${parts.join(", ")} SELECT ${mine} AS mine, ${saved} AS creds`, values };
}

/** @param {Change[]} changes */
const columns = (changes) => [changes.map(({ type }) => type), changes.map(({ id }) => id)];
