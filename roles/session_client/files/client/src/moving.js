// SPDX-License-Identifier: BSD-2-Clause
// The moment in which a session's writer becomes that of the other store: only where that store holds exactly what memory
// holds. Writes are held by the caller.
import { StoreDiffers } from "./errors.js";
import { newToken, takeOver } from "./fence.js";
import { FileStore, compareFiles, removeTemporary } from "./file-store.js";
import { nameOf } from "./memory.js";
import { canonical, endEarlier, storedKeys } from "./replay.js";

/** @typedef {import("./session.js").Session} Session */

/** @param {Session} session @param {() => void} refuseTakenBack throws when the move was given up meanwhile */
export async function toFiles(session, refuseTakenBack) {
  const { company, service, memory } = session;
  const directory = service.directoryOf(company);
  await compareFiles(company, directory, memory, async (place) => {
    refuseTakenBack();
    await removeTemporary(place);
  });
  refuseTakenBack(); // the writer is switched in the same turn
  await session.moveToFiles(new FileStore(company, directory));
}

/** @param {Session} session @param {() => void} refuseTakenBack throws when the move was given up meanwhile */
export async function toPostgres(session, refuseTakenBack) {
  const { company, service } = session;
  service.requireDatabase();
  await service.lock.acquire(company);
  try {
    const token = newToken();
    const owner = await take(session, token, refuseTakenBack);
    refuseTakenBack();
    const kept = await service.files.setAside(company);
    if (kept.length) session.log.warn({ company, kept }, "journal or cache of an earlier time were put aside");
    refuseTakenBack(); // the writer is switched in the same turn
    session.moveToPostgres(token, owner);
  } catch (error) {
    await service.lock.release(company);
    throw error;
  }
}

/** In one transaction and one snapshot: nobody else writes these rows any more, and they are what memory holds.
 * @param {Session} session @param {string} token @param {() => void} refuseTakenBack */
async function take({ company, service, memory }, token, refuseTakenBack) {
  const sql = await service.database.statements();
  return service.database.transaction(
    "switch",
    async (query) => {
      const { identity } = service;
      const owner = await takeOver(query, { company, token, identity, mine: null });
      if (!owner.fenced) await endEarlier(query, identity, service.database.earlier);
      const { rows: auth } = await query(sql.readCreds, [company]);
      const stored = await storedKeys(query, sql, company, service.settings.queryTimeoutMs);
      refuseTakenBack(); // of what was done here, nothing stays then
      refuseDifferences(company, memory, auth, stored);
      return owner;
    },
    "ISOLATION LEVEL REPEATABLE READ",
  );
}

/** @param {string} company @param {import("./memory.js").Memory} memory @param {{creds: string | null}[]} auth
 * @param {Awaited<ReturnType<typeof storedKeys>>} stored */
function refuseDifferences(company, memory, auth, stored) {
  let missing = 0;
  let differing = auth.length === 1 && canonical("creds", auth[0].creds) === memory.creds ? 0 : 1;
  for (const [type, id, text] of memory.entries()) {
    const found = stored.get(nameOf(type, id));
    if (found === undefined) missing++;
    else if (found.text !== text) differing++;
  }
  const extra = [...stored.values()].filter(({ type, id }) => !memory.has(type, id)).length;
  if (!differing && !missing && !extra) return;
  throw new StoreDiffers(`company ${company}: the database is not what memory holds: ${differing} differ, ${missing} are missing, ${extra} are not in memory`, {
    company,
    hint: "import the export of this hold, whole, then commit again; or abort",
  });
}
