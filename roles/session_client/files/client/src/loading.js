// SPDX-License-Identifier: BSD-2-Clause
// How a session comes into memory: from the database in one snapshot, with what a journal of before still holds; or from the
// cache, while the database is away.
import { createHash } from "node:crypto";

import { encode } from "./codec.js";
import { credsOf } from "./creds.js";
import { CopyRefused, CredsInvalid, Fenced, KeysUndecodable, Unavailable, UnknownCompany, wordsOf } from "./errors.js";
import { isOfNow, newToken, takeOver } from "./fence.js";
import { Memory, nameOf } from "./memory.js";
import { inPieces } from "./pieces.js";
import { Session } from "./session.js";
import { Outage } from "./session-outage.js";

/**
 * @typedef {{memory: Memory, creds: any, epoch: number, tokens: string[], fenced: boolean, isNew: boolean}} Loaded
 * @typedef {import("./service.js").Service} Service
 * @typedef {import("./journal.js").JournalContent} JournalContent
 */

/** Opens a session, whichever way is there. The caller holds the claim of the company. @param {Service} service
 * @param {string} company @returns {Promise<Session>} */
export async function openSession(service, company) {
  const token = newToken();
  try {
    // The first company of a process: the pool connects while the other connection does.
    const statements = service.database.statements();
    statements.catch(() => undefined); // who waits for it is told
    await service.lock.acquire(company);
    await statements;
    return await fromDatabase(service, company, token);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    return fromCache(service, company, error, token);
  }
}

/** @param {Service} service @param {string} company @param {string} token */
async function fromDatabase(service, company, token) {
  let journal = await leftBehind(service, company);
  // The database may hold the token and then go away, or this process may end: what is left here must be known as its own.
  await noteToken(service, company, journal, token);
  const claim = { company, token, identity: service.identity };
  const take = (/** @type {string[] | null} */ mine) =>
    service.database.transaction("take_over", (query) => takeOver(query, { ...claim, mine }));
  let owner;
  try {
    owner = await take(journal?.header.tokens ?? null);
  } catch (error) {
    if (!(error instanceof Fenced) || error.mayPass || !journal) throw error;
    await refuse(service, company, error.message);
    journal = null;
    owner = await take(null);
  }
  if (journal && !isOfNow(owner, journal.header.epoch)) {
    await refuse(service, company, `the journal is of epoch ${journal.header.epoch}, the store of record of epoch ${owner.epoch}`);
    journal = null;
  }
  const loaded = await snapshot(service, company, token, owner);
  if (journal) {
    try {
      return await replayLeft(service, company, loaded, journal);
    } catch (error) {
      if (!(error instanceof Fenced) || error.mayPass) throw error;
      await refuse(service, company, error.message);
      return fromDatabase(service, company, newToken());
    }
  }
  await service.files.removeCopies(company);
  return new Session(company, service, loaded);
}

/** @param {Service} service @param {string} company @param {string} token @param {{epoch: number, fenced: boolean}} owner
 * @returns {Promise<Loaded>} */
async function snapshot(service, company, token, owner) {
  const { database, settings } = service;
  const sql = await database.statements();
  const { auth, memory } = await database.transaction(
    "load",
    async (query) => {
      const { rows } = await query(sql.readCreds, [company]);
      const found = new Memory(); // in here: the transaction may be tried again
      await inPieces(query, settings.queryTimeoutMs, { text: sql.readKeys, values: [company] }, ({ type, id, value }) =>
        found.load(type, id, value),
      );
      return { auth: rows, memory: found };
    },
    "ISOLATION LEVEL REPEATABLE READ READ ONLY",
  );
  const { creds, isNew } = credsFor(service, company, auth, memory.size + memory.undecodable.size);
  memory.creds = encode("creds", creds);
  refuseUndecodable(service, company, memory);
  return { memory, creds, epoch: owner.epoch, tokens: [token], fenced: owner.fenced, isNew };
}

/** @param {Service} service @param {string} company @param {{creds: string | null}[]} rows @param {number} keys */
function credsFor(service, company, rows, keys) {
  if (rows.length > 1) {
    throw new CredsInvalid(`company ${company}: there are ${rows.length} rows of creds`, {
      company,
      hint: "which of them is the session, only a human can say: delete the others, and give the table a primary key",
    });
  }
  if (rows.length) return { creds: credsOf(company, rows[0].creds), isNew: false };
  if (keys) {
    throw new CredsInvalid(`company ${company}: there are ${keys} keys, and no row of creds`, {
      company,
      hint: "its row was deleted: put it back from the mirror or a backup",
    });
  }
  if (!service.settings.allowNewCompany) {
    throw new UnknownCompany(`company ${company} is not in the table of creds`, {
      company,
      hint: "check the id; to pair a new device give allowNewCompany: true",
    });
  }
  return { creds: service.baileys.initAuthCreds(), isNew: true };
}

/** @param {Service} service @param {string} company @param {Memory} memory */
export function refuseUndecodable(service, company, memory) {
  if (!memory.undecodable.size) return;
  const shown = [...memory.undecodable].slice(0, 3).map(([name, reason]) => `${shortName(name)}: ${reason}`);
  const more = memory.undecodable.size > 3 ? `; and ${memory.undecodable.size - 3} more` : "";
  const error = new KeysUndecodable(
    `company ${company}: ${memory.undecodable.size} stored keys are no keys (${shown.join("; ")}${more})`,
    { company, hint: "put those rows back from the mirror or a backup; to start without them give tolerateBadKeys: true" },
  );
  if (!service.settings.tolerateBadKeys) throw error;
  service.settings.logger.error({ company, keys: memory.undecodable.size }, error.message);
}

/** Ids hold phone numbers: a hash is enough to find the row. @param {string} name */
function shortName(name) {
  const [type, id] = name.split("\0");
  return `${type} #${createHash("sha256").update(id).digest("hex").slice(0, 10)}`;
}

/** The journal of a process that ended during an outage. A bad one is put aside. @param {Service} service
 * @param {string} company */
async function leftBehind(service, company) {
  try {
    return await service.files.readJournal(company);
  } catch (error) {
    if (!(error instanceof CopyRefused)) throw error;
    await refuse(service, company, error.message);
    return null;
  }
}

/** A disk that takes nothing does not keep the session from its database. @param {Service} service @param {string} company
 * @param {JournalContent | null} journal @param {string} token */
async function noteToken(service, company, journal, token) {
  const { files, settings } = service;
  try {
    if (journal) await files.noteToken(company, journal, token);
    else if (settings.onOutage === "journal") await files.noteTokenOnCache(company, token, settings.cacheTtlMs);
  } catch (error) {
    settings.logger.error({ company, error: wordsOf(error) }, "the token of this start cannot be noted: if it ends before the session is loaded, the next one refuses journal and cache");
  }
}

/** @param {Service} service @param {string} company @param {string} reason */
async function refuse(service, company, reason) {
  const kept = await service.files.setAside(company);
  service.settings.logger.error({ company, reason, kept }, "what an earlier process left is not replayed");
  service.metrics.tell("error", "session journal refused", { company });
}

/** Memory as it was when the process ended, and the database made equal to it. @param {Service} service
 * @param {string} company @param {Loaded} loaded @param {JournalContent} journal */
async function replayLeft(service, company, loaded, journal) {
  const { memory } = loaded;
  const before = new Map([...journal.changes].map(([name, { type, id }]) => [name, memory.text(type, id)]));
  apply(memory, journal);
  loaded.creds = credsOf(company, memory.creds);
  // The token that this process has just put there is the one that the database holds.
  loaded.tokens = [...journal.header.tokens, ...loaded.tokens];
  const session = new Session(company, service, loaded);
  const outage = outageOf(session, journal, await service.files.reopenJournal(company, journal));
  session.state = "outage";
  session.outage = outage;
  service.settings.logger.warn({ company, writes: journal.lines, keys: before.size }, "the journal of an earlier process is replayed");
  try {
    await outage.replay();
  } catch (error) {
    if (!(error instanceof Unavailable)) {
      await outage.settle();
      throw error;
    }
    outage.watch(); // the database went away again: memory holds everything
  }
  return session;
}

/** @param {Memory} memory @param {JournalContent} journal */
function apply(memory, journal) {
  memory.apply([...journal.changes.values()], journal.creds);
}

/** @param {Session} session @param {JournalContent} content @param {import("./journal.js").Journal} journal */
function outageOf(session, content, journal) {
  const outage = new Outage(session, content.header.outage, Date.parse(content.header.last_contact));
  outage.journal = journal;
  outage.changes = new Map(content.changes);
  outage.creds = content.creds;
  outage.touched = { base: new Map(content.base), written: new Map(content.written) };
  if (content.credsBase !== null) outage.touched.base.set(nameOf("creds", ""), content.credsBase);
  outage.writes = content.lines;
  for (const [name, { text }] of content.changes) if (text === null) session.deleted.add(name);
  return outage;
}

/** @param {Service} service @param {string} company @param {Unavailable} reason @param {string} token under which the database may
 * have been taken over, although it did not go on */
async function fromCache(service, company, reason, token) {
  const cache = await service.files.readCache(company, service.settings.cacheTtlMs);
  if (!cache) throw reason;
  const { header, memory } = cache;
  const journal = await service.files.readJournal(company);
  if ((journal?.header.outage ?? null) !== header.outage && (header.outage !== null || journal?.header.outage !== header.next)) {
    throw new CopyRefused(`company ${company}: journal and cache are not of the same outage`, {
      company,
      hint: "the session starts as soon as the database answers; to go on without it, fail over to files",
      cause: reason,
    });
  }
  if (journal) apply(memory, journal);
  const creds = credsOf(company, memory.creds);
  const tokens = [...header.tokens, ...(journal?.header.tokens ?? []), token];
  const session = new Session(company, service, { memory, creds, epoch: header.epoch, tokens, fenced: true, isNew: false });
  session.state = "outage";
  session.lastContact = Date.parse(header.last_contact);
  const outage = journal
    ? outageOf(session, journal, await service.files.reopenJournal(company, journal))
    : new Outage(session, header.next, session.lastContact);
  session.outage = outage;
  session.touch();
  service.settings.logger.warn({ company, age_seconds: Math.round(outage.ageMs / 1000) }, "the database is away: the session starts from its cache");
  if (journal) {
    if (!journal.lines) outage.tell("warning", "session cache in use"); // begun by a start that did not get to its end
    outage.watch();
  } else {
    await service.files.removeEmptyJournal(company);
    await outage.begin(reason);
  }
  return session;
}
