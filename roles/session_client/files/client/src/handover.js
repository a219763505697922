// SPDX-License-Identifier: BSD-2-Clause
// Companies that this process has given away to a failover. The application's own reconnect loop would start such a session
// again from its cache, and go on writing behind the final copy: so it is not opened until somebody says that it may be.
import { Drained, Misconfigured, NotOpen, SessionClientError, SwitchRefused, wordsOf } from "./errors.js";
import { FORMS, exportSession } from "./export.js";

/**
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./export.js").Form} Form
 * @typedef {Awaited<ReturnType<typeof exportSession>>} Exported
 * @typedef {ReturnType<Session["status"]> & {export: Exported | null}} Answer
 */

export class Handover {
  /** @param {import("./service.js").Service} service */
  constructor(service) {
    this.service = service;
    /** @type {Map<string, {at: string, answer: Promise<Answer>}>} */
    this.given = new Map();
    /** Since when no company at all may be opened, but those. @type {{at: string, except: Set<string>} | null} */
    this.everything = null;
  }

  /** @param {string} company */
  refuse(company) {
    const since = this.given.get(company)?.at ?? (this.everything?.except.has(company) ? null : this.everything?.at);
    if (since) throw drained(company, since);
  }

  /** One company, or all and those that are not open yet. @param {string | null} company
   * @param {Form | null} copied the form of the copies, if any */
  async drain(company, copied) {
    if (copied) placeOf(this.service);
    if (company === null) this.everything = { at: this.everything?.at ?? new Date().toISOString(), except: new Set() };
    const ids = company === null ? new Set([...this.given.keys(), ...this.service.sessions.keys()]) : [company];
    /** @type {Record<string, Answer>} */
    const found = {};
    /** @type {Record<string, ReturnType<typeof describe>>} */
    const failed = {};
    for (const id of ids) {
      try {
        found[id] = await this.#one(id, copied);
      } catch (error) {
        if (company !== null) throw error;
        failed[id] = describe(error);
      }
    }
    return { drained: found, failed };
  }

  /** Asked again, it answers the same: whoever drains may have been cut off before it read the answer.
   * @param {string} company @param {Form | null} copied */
  async #one(company, copied) {
    const given = this.given.get(company) ?? this.#begin(company, copied);
    const answer = await given.answer;
    if (copied && !answer.export) {
      throw new Drained(`company ${company} was drained at ${given.at}, without an export`, {
        company,
        hint: "its journal and cache are in WA_SESSION_DIR; or POST /resume, and drain again with export=true once it is open",
      });
    }
    return answer;
  }

  /** @param {string} company @param {Form | null} copied */
  #begin(company, copied) {
    const session = this.service.session(company);
    if (session.hold) {
      throw new SwitchRefused(`company ${company} is on its way to ${session.hold.to}: hold ${session.hold.id}`, {
        company,
        hint: "commit or abort that one first (POST /store), then drain",
      });
    }
    const at = new Date().toISOString();
    const answer = this.#drain(session, copied, drained(company, at)).catch((error) => {
      this.given.delete(company);
      throw error;
    });
    const given = { at, answer };
    this.given.set(company, given);
    return given;
  }

  /** @param {Session} session @param {Form | null} copied @param {Drained} reason @returns {Promise<Answer>} */
  async #drain(session, copied, reason) {
    const exported = await session.drain(reason, async () => (copied ? exportSession(session, placeOf(this.service), copied) : null));
    this.service.settings.logger.warn({ company: session.company, exported: exported?.keys ?? null }, "the session was drained; it is not opened again here");
    return { ...session.status(), export: exported };
  }

  /** They may be opened again. @param {string | null} company */
  resume(company) {
    if (company === null) {
      const resumed = [...this.given.keys()];
      this.given.clear();
      this.everything = null;
      return { resumed };
    }
    if (!this.given.delete(company) && !this.everything) {
      throw new NotOpen(`company ${company} was not drained by this process`, { company, hint: "GET /status names those that were" });
    }
    this.everything?.except.add(company);
    return { resumed: [company] };
  }

  status() {
    return { all_since: this.everything?.at ?? null, companies: Object.fromEntries([...this.given].map(([id, { at }]) => [id, at])) };
  }
}

/** Where exports go. @param {import("./service.js").Service} service */
export function placeOf({ settings: { exportDir } }) {
  if (!exportDir) throw new Misconfigured("there is no place for exports", { hint: "set exportDir (WA_SESSION_EXPORT_DIR)" });
  return exportDir;
}

/** In which form a copy is asked for. @param {URLSearchParams} query @returns {Form} */
export function formOf(query) {
  const form = query.get("form") ?? "directory";
  if (Object.hasOwn(FORMS, form)) return /** @type {Form} */ (form);
  throw new Misconfigured(`form is ${form}`, { hint: `one of ${Object.keys(FORMS).join(", ")}` });
}

/** @param {any} error */
export const describe = (error) => ({
  error: wordsOf(error),
  name: String(error.name),
  hint: error instanceof SessionClientError ? error.hint : "",
});

/** @param {string} company @param {string} at */
const drained = (company, at) =>
  new Drained(`company ${company} was drained for a failover at ${at}: this process opens it no more`, {
    company,
    hint: "start the application anew on the store that the failover chose; if it was taken back, POST /resume to the admin socket",
  });
