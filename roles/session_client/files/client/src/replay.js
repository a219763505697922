// SPDX-License-Identifier: BSD-2-Clause
// The database is back: it is made equal to memory, key by key, in one transaction, and looked at before that commits.
import { decode, encode } from "./codec.js";
import { SessionClientError, Unavailable } from "./errors.js";
import { fenced, isOfNow, takeOver } from "./fence.js";
import { digestOf } from "./journal.js";
import { nameOf } from "./memory.js";
import { inPieces } from "./pieces.js";

/**
 * @typedef {import("./tables.js").Query} Query
 * @typedef {import("./tables.js").Statements} Statements
 * @typedef {import("./memory.js").Memory} Memory
 * @typedef {import("./memory.js").Change} Change
 */

/**
 * What this outage touched, by `type\0id`: the digest of what the database held before it ("" for nothing), and digests of
 * everything written since.
 * @typedef {{base: Map<string, string>, written: Map<string, Set<string>>}} Touched
 * @typedef {{company: string, token: string, tokens: string[], identity: string, epoch: number, memory: Memory,
 *   touched: Touched, deleted: Set<string>, earlier: Set<number> | null}} Replay `deleted`: names of keys that this process has
 *   deleted; `earlier`: backends that may still do something of before the outage, null for all of this process
 * @typedef {{written: number, removed: number, adopted: number, epoch: number, fenced: boolean}} Replayed
 */

/**
 * @param {Query} query in a transaction that is committed when this returns
 * @param {Statements} sql
 * @param {Replay} replay
 * @param {number} deadlineMs that of a statement
 * @returns {Promise<Replayed>}
 */
export async function replay(query, sql, replay, deadlineMs) {
  const { company, token, tokens, identity, memory } = replay;
  const owner = await takeOver(query, { company, token, identity, mine: tokens, epoch: replay.epoch });
  if (!isOfNow(owner, replay.epoch)) {
    throw fenced(company, `its store of record has moved on (epoch ${owner.epoch}, ours is ${replay.epoch})`);
  }
  if (!owner.fenced) await endEarlier(query, identity, replay.earlier);
  const stored = await storedKeys(query, sql, company, deadlineMs);
  const { rows: auth } = await query(sql.readCreds, [company]);
  if (!owner.fenced) refuseForeign(replay, stored, auth[0]?.creds);
  const { upserts, deletes, adopted } = differences(replay, stored);
  await write(query, sql, company, upserts, deletes);
  await writeCreds(query, sql, replay, auth);
  await check(query, sql, replay, deadlineMs, upserts, deletes);
  // Rows that somebody else added: the session does not know them, and they harm nobody.
  memory.apply(adopted);
  return { written: upserts.length, removed: deletes.length, adopted: adopted.length, epoch: owner.epoch, fenced: owner.fenced };
}

/** What the database holds of a company, in canonical form. @param {Query} query in a transaction @param {Statements} sql
 * @param {string} company @param {number} deadlineMs @returns {Promise<Map<string, Change>>} */
export async function storedKeys(query, sql, company, deadlineMs) {
  /** @type {Map<string, Change>} */
  const stored = new Map();
  await inPieces(query, deadlineMs, { text: sql.readKeys, values: [company] }, ({ type, id, value }) =>
    stored.set(nameOf(type, id), { type, id, text: canonical(type, value) }),
  );
  return stored;
}

/** @param {string} type @param {string | null} text @returns {string | null} null for what is no key */
export function canonical(type, text) {
  try {
    return encode(type, decode(type, text));
  } catch {
    return null;
  }
}

// Where nobody knows which ones they are, locks are on the connection that is kept, and the others may be.
const END_EARLIER = `
  SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS ended FROM pg_stat_activity a
   WHERE application_name = $1 AND pid <> pg_backend_pid() AND ($2::int[] IS NULL OR pid = ANY ($2))
     AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')`;
const ENDING_MS = 2000;

/** Without tokens, a write that a frozen server had not read yet could still be done after ours. So whoever could do it is
 * ended first. @param {Query} query @param {string} identity
 * @param {Set<number> | null} earlier those backends, which are gone from it afterwards; null for all of this process */
export async function endEarlier(query, identity, earlier) {
  const backends = earlier && [...earlier];
  const deadline = performance.now() + ENDING_MS;
  for (;;) {
    const { rows } = await query(END_EARLIER, [identity, backends]);
    if (Number(rows[0].ended) === 0) break;
    if (performance.now() > deadline) throw new Unavailable("connections of before the outage do not end");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  for (const each of backends ?? []) earlier?.delete(each);
}

/**
 * Without tokens, only contents tell whether somebody else wrote: each row must be as memory has it, as it was when the
 * outage began, or as we wrote it in between.
 * @param {Pick<Replay, "company" | "memory" | "touched" | "deleted">} replay @param {Map<string, Change>} stored
 * @param {string | null} [creds]
 */
export function refuseForeign({ company, memory, touched, deleted }, stored, creds = null) {
  const rows = [...stored.values(), { type: "creds", id: "", text: creds === null ? null : canonical("creds", creds) }];
  for (const { type, id, text } of rows) {
    const name = nameOf(type, id);
    if (text === null || text === memory.text(type, id)) continue;
    const digest = digestOf(text);
    if (touched.base.get(name) === digest || touched.written.get(name)?.has(digest)) continue;
    if (!touched.base.has(name) && (deleted.has(name) || !memory.has(type, id))) continue;
    throw fenced(company, "a row is neither what this session wrote nor what it found: another writer was at work");
  }
}

/** @param {Replay} replay @param {Map<string, Change>} stored */
function differences({ memory, deleted }, stored) {
  const upserts = [];
  for (const [type, id, text] of memory.entries()) {
    if (stored.get(nameOf(type, id))?.text !== text) upserts.push({ type, id, text });
  }
  const extra = [...stored].filter(([, { type, id }]) => !memory.has(type, id));
  return {
    upserts,
    deletes: extra.filter(([name]) => deleted.has(name)).map(([, change]) => change),
    adopted: extra.filter(([name, { text }]) => text !== null && !deleted.has(name)).map(([, change]) => change),
  };
}

/** As much as one statement writes: a session that was away for long may have everything to write, over any link. */
const PIECE_ROWS = 1000;
const PIECE_CHARACTERS = 256 * 1024;

/** @param {Query} query @param {Statements} sql @param {string} company @param {Change[]} upserts @param {Change[]} deletes */
async function write(query, sql, company, upserts, deletes) {
  for (const piece of piecesOf(deletes)) await query(sql.deleteKeys, [company, ...columns(piece)]);
  for (const piece of piecesOf(upserts)) await query(sql.upsertKeys(), [company, ...columns(piece), piece.map(({ text }) => text)]);
}

/** @param {Change[]} changes @returns {Generator<Change[]>} */
function* piecesOf(changes) {
  /** @type {Change[]} */
  let piece = [];
  let characters = 0;
  for (const change of changes) {
    piece.push(change);
    characters += change.text?.length ?? 0;
    if (piece.length < PIECE_ROWS && characters < PIECE_CHARACTERS) continue;
    yield piece;
    piece = [];
    characters = 0;
  }
  if (piece.length) yield piece;
}

/** @param {Change[]} changes */
const columns = (changes) => [changes.map(({ type }) => type), changes.map(({ id }) => id)];

/** @param {Query} query @param {Statements} sql @param {Replay} replay @param {{creds: string | null}[]} rows */
async function writeCreds(query, sql, { company, memory }, rows) {
  if (rows.length && canonical("creds", rows[0].creds) === memory.creds) return;
  const { rowCount } = rows.length
    ? await query(sql.updateCreds, [company, memory.creds])
    : await query(sql.insertCreds, [company, memory.creds]);
  if (rowCount !== 1) throw new SessionClientError(`company ${company}: creds are in ${rowCount} rows`, { company });
}

/** What was written, asked of the database itself. Of all other rows the reading before has shown that they are as in memory.
 * @param {Query} query @param {Statements} sql @param {Replay} replay @param {number} deadlineMs
 * @param {Change[]} upserts @param {Change[]} deletes */
async function check(query, sql, { company, memory }, deadlineMs, upserts, deletes) {
  const { rows: auth } = await query(sql.readCreds, [company]);
  const same = auth.length === 1 && canonical("creds", auth[0].creds) === memory.creds;
  let [wrong, left] = [0, 0];
  for (const piece of piecesOf(upserts)) {
    const found = await these(query, sql, company, deadlineMs, piece);
    wrong += piece.filter(({ type, id, text }) => found.get(nameOf(type, id)) !== text).length;
  }
  for (const piece of piecesOf(deletes)) left += (await these(query, sql, company, deadlineMs, piece)).size;
  if (same && !wrong && !left) return;
  throw new SessionClientError(
    `company ${company}: the database does not hold what was written to it (${wrong} keys differ, ${left} are still there${same ? "" : ", creds differ"})`,
    { company, hint: "look for triggers, rules and policies on both tables; the journal is kept" },
  );
}

/** These keys as the database holds them, in canonical form by name. @param {Query} query @param {Statements} sql
 * @param {string} company @param {number} deadlineMs @param {Change[]} changes */
async function these(query, sql, company, deadlineMs, changes) {
  /** @type {Map<string, string | null>} */
  const found = new Map();
  await inPieces(query, deadlineMs, { text: sql.readThese, values: [company, ...columns(changes)] }, ({ type, id, value }) =>
    found.set(nameOf(type, id), canonical(type, value)),
  );
  return found;
}
