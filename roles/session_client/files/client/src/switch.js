// SPDX-License-Identifier: BSD-2-Clause
// `POST /store`: moves a running session between PostgreSQL and files in phases, for whoever makes the store of record and
// .env durable in between. The requests are in docs/formats.md.
import { resolve } from "node:path";

import { Misconfigured, SwitchRefused } from "./errors.js";
import { formOf, placeOf } from "./handover.js";
import { Hold } from "./hold.js";

const MAX_HOLD_MS = 120_000;

/** @typedef {import("./service.js").Service} Service */
/** @typedef {import("./session.js").Session} Session */

/** @type {Record<string, (service: Service, session: Session, query: URLSearchParams) => Promise<object>>} */
const PHASES = {
  async hold(service, session, query) {
    const to = storeOf(query);
    const ms = holdMsOf(service, query);
    const place = placeOf(service);
    const form = formOf(query);
    refuseNow(service, session, to);
    const hold = new Hold(session, to, ms);
    const exported = await hold.begin(place, form);
    return { ...answerOf(session, hold), hold_ms: ms, export: exported };
  },
  async seal(_service, session, query) {
    const hold = holdOf(session, query);
    hold.seal();
    return answerOf(session, hold);
  },
  async commit(service, session, query) {
    const hold = holdOf(session, query);
    if (hold.to === "files") refuseElsewhere(service, session, query.get("directory"));
    await hold.commit();
    return answerOf(session, hold);
  },
  async abort(_service, session, query) {
    const hold = holdOf(session, query);
    hold.abort();
    // A move that was told to everybody and taken back has cost epochs; the session is of the last one.
    const epoch = Number(query.get("epoch") ?? session.epoch);
    if (Number.isSafeInteger(epoch) && epoch > session.epoch && session.store !== hold.to) session.epoch = epoch;
    return answerOf(session, hold);
  },
};

/** @param {Service} service @param {URLSearchParams} query */
export function switchStore(service, query) {
  const [company, phase] = [query.get("company"), query.get("phase")];
  if (!company) throw new Misconfigured("company is not given", { hint: "one company a request: a move that fails then holds nobody else" });
  if (!phase || !Object.hasOwn(PHASES, phase)) {
    throw new Misconfigured(`phase is ${phase ?? "not given"}`, { hint: `one of ${Object.keys(PHASES).join(", ")}` });
  }
  return PHASES[phase](service, service.session(company), query);
}

/** @param {Session} session @param {Hold} hold */
const answerOf = (session, hold) => ({ company: session.company, store: session.store, keys: session.memory.size, ...hold.status() });

/** @param {URLSearchParams} query @returns {"postgres" | "files"} */
function storeOf(query) {
  const to = query.get("to");
  if (to !== "postgres" && to !== "files") throw new Misconfigured(`to is ${to ?? "not given"}`, { hint: "postgres or files" });
  return to;
}

/** @param {Service} service @param {URLSearchParams} query */
function holdMsOf(service, query) {
  const given = query.get("holdMs");
  const ms = given === null ? service.settings.holdMs : Number(given);
  if (ms > 0 && ms <= MAX_HOLD_MS) return ms;
  throw new Misconfigured(`holdMs is ${given}`, { hint: `a number from 1 to ${MAX_HOLD_MS}` });
}

/** @param {Service} service @param {Session} session @param {"postgres" | "files"} to */
function refuseNow(service, session, to) {
  const { company, store, hold } = session;
  if (hold) {
    throw new SwitchRefused(`company ${company} is on its way to ${hold.to} already: hold ${hold.id}, ${hold.phase}`, {
      company,
      hint: "commit or abort that one first; one that is not sealed ends by itself",
    });
  }
  if (store === to) throw new SwitchRefused(`company ${company} lives in ${to} already`, { company, hint: "GET /status says where each one lives" });
  if (to === "postgres") service.requireDatabase();
  else service.directoryOf(company);
}

/** @param {Session} session @param {URLSearchParams} query */
function holdOf(session, query) {
  const id = query.get("hold");
  const hold = [session.hold, session.lastHold].find((each) => each?.id === id);
  const to = query.get("to");
  if (hold && (to === null || to === hold.to)) return hold;
  const { company } = session;
  throw new SwitchRefused(hold ? `hold ${id} is a move to ${hold.to}, not to ${to}` : `company ${company} has no hold ${id ?? "(none was given)"}`, {
    company,
    hint: "the id is in the answer to phase=hold; a process that was started anew has none",
  });
}

/** @param {Service} service @param {Session} session @param {string | null} given */
function refuseElsewhere(service, { company }, given) {
  const directory = service.directoryOf(company);
  if (given !== null && resolve(given) === directory) return;
  throw new SwitchRefused(`company ${company}: its files belong in ${directory}, not in ${given ?? "(no directory was given)"}`, {
    company,
    hint: "put the export there; the place is sessionsDir (WA_SESSIONS_DIR), and nobody can name another one",
  });
}
