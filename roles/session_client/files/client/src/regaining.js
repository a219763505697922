// SPDX-License-Identifier: BSD-2-Clause
// The connection that holds the writer's locks was lost. Where the database is there, the locks are taken again on a new one and
// nothing has happened. Where it is not, that is the beginning of an outage, also for a session that has nothing to write: a
// process that starts next finds its cache.
import { Unavailable, isSomebodyElses, wordsOf } from "./errors.js";
import { refuseOtherToken } from "./fence.js";
import { refuseForeign, storedKeys } from "./replay.js";

/** @typedef {import("./session.js").Session} Session */

/** Not before what was asked earlier is done: that may take the lock itself. @param {Session} session */
export function lookAfterLoss(session) {
  session.service.inBackground(session.inOrder(() => look(session)));
}

/** @param {Session} session */
async function look(session) {
  if (session.state !== "online" || session.fileStore || session.service.lock.holds(session.company)) return;
  try {
    await regain(session);
  } catch (error) {
    if (isSomebodyElses(error)) await session.stop(error);
    else await session.beginOutage(error);
  }
}

/** The lock is held again, and nobody has written while it was not. Throws WriterBusy or Fenced where somebody has the session,
 * and otherwise Unavailable. @param {Session} session */
export async function regain(session) {
  const { company, service } = session;
  try {
    await service.lock.acquire(company);
    if (session.fenced) await refuseOtherToken((text, values) => service.database.query("regain", text, values), company, session.tokens.at(-1) ?? "");
    else await refuseOtherRows(session);
  } catch (error) {
    if (error instanceof Unavailable || isSomebodyElses(error)) throw error;
    throw new Unavailable(`the writer's lock was lost and is not to be had: ${wordsOf(error)}`, { company, cause: error });
  }
}

/** Without tokens, only the rows tell: they are as memory has them. @param {Session} session */
async function refuseOtherRows({ company, service, memory, deleted }) {
  const sql = await service.database.statements();
  const touched = { base: new Map(), written: new Map() };
  await service.database.transaction(
    "regain",
    async (query) => {
      const { rows: auth } = await query(sql.readCreds, [company]);
      const stored = await storedKeys(query, sql, company, service.settings.queryTimeoutMs);
      refuseForeign({ company, memory, touched, deleted }, stored, auth[0]?.creds);
    },
    "ISOLATION LEVEL REPEATABLE READ READ ONLY",
  );
}
