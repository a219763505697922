// SPDX-License-Identifier: BSD-2-Clause
// What the sessions of one process share: the pool, the connection that holds the locks, metrics, and the list of them.
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { listen } from "./admin.js";
import { Database } from "./database.js";
import { findBaileys } from "./baileys.js";
import { Misconfigured, NotOpen, SessionClientError, Unavailable, wordsOf } from "./errors.js";
import { openFiles } from "./file-loading.js";
import { SessionFiles } from "./files.js";
import { Handover } from "./handover.js";
import { newIdentity } from "./identity.js";
import { Limits } from "./limits.js";
import { openSession } from "./loading.js";
import { Metrics } from "./metrics.js";
import { lookAfterLoss } from "./regaining.js";
import { settingsOf } from "./settings.js";
import { Turns } from "./turns.js";
import { WriterLock } from "./writer-lock.js";
import { Writer } from "./writer.js";

const RETRY_MS = 500;
const COMPANY_PREFIX = "company_";

export class Service {
  /** @param {import("./settings.js").Settings} settings @param {import("./baileys.js").Baileys} baileys */
  constructor(settings, baileys) {
    this.settings = settings;
    this.baileys = baileys;
    this.identity = newIdentity();
    this.metrics = new Metrics(this.settings.sentry);
    this.database = new Database(this.settings, this.metrics, this.identity);
    this.writer = new Writer(this.database, this.identity);
    const direct = { ...this.database.options, ...this.settings.directConnection, application_name: this.identity };
    this.lock = new WriterLock(direct, this.identity, this.settings);
    this.lock.onLost = () => this.#lookAfterLoss();
    this.files = new SessionFiles(this.settings.dir, this.identity);
    // Half of the pool: all sessions come back at once, and those that are back write already.
    this.replays = new Turns(Math.max(1, Math.floor(this.settings.poolSize / 2)));
    /** @type {Map<string, import("./session.js").Session>} */
    this.sessions = new Map();
    /** Those that had to end, and why, until they are opened again. @type {Map<string, {at: string, error: string}>} */
    this.stopped = new Map();
    /** Where a move has put a session: the flag of this process is of before. @type {Map<string, "postgres" | "files">} */
    this.moved = new Map();
    this.limits = new Limits(this);
    this.handover = new Handover(this);
    /** @type {(() => Promise<void>) | null} */
    this.stopListening = null;
    /** @type {Promise<void> | undefined} */
    this.closing = undefined;
  }

  /** @param {import("./settings.js").Options} options @param {NodeJS.ProcessEnv} [env] */
  static async create(options, env) {
    const service = new Service(settingsOf(options, env), await findBaileys(options.baileys));
    try {
      await service.files.prepare();
      if (service.settings.admin) service.stopListening = await listen(service);
    } catch (error) {
      await service.close();
      throw error;
    }
    return service;
  }

  /** Throws where the service was made without a database. */
  requireDatabase() {
    if (this.settings.noDatabase) throw this.settings.noDatabase;
  }

  /** Where a company's files are, in the configured place only. @param {string} company */
  directoryOf(company) {
    if (!/^[^/\0]+$/.test(company) || company === "." || company === "..") {
      throw new Misconfigured(`"${company}" is no id of a company`, { hint: "an id is not empty, and no path" });
    }
    return join(this.settings.sessionsDir, `${COMPANY_PREFIX}${company}`);
  }

  /** @param {string} company @param {"postgres" | "files"} [given] where it lives, unless this process has seen it move */
  async open(company, given = "postgres") {
    const store = this.moved.get(company) ?? given;
    if (store === "postgres") this.requireDatabase();
    if (this.sessions.has(company)) {
      throw new SessionClientError(`company ${company} is open already in this process`, {
        company,
        hint: "one auth state a company: use the one that is there, or close it first",
      });
    }
    this.handover.refuse(company);
    await this.files.claim(company);
    try {
      const session = await (store === "files" ? openFiles : openSession)(this, company);
      await this.#refuseDrained(session);
      this.sessions.set(company, session);
      this.stopped.delete(company);
      lookAfterLoss(session); // of before it was known here
      this.limits.used(session);
      await this.limits.enforce();
      return session;
    } catch (error) {
      await this.lock.release(company);
      await this.#release(company);
      throw error;
    }
  }

  /** It was drained while it was on its way here. @param {import("./session.js").Session} session */
  async #refuseDrained(session) {
    try {
      this.handover.refuse(session.company);
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** @param {string} company */
  session(company) {
    const session = this.sessions.get(company);
    if (session) return session;
    throw new NotOpen(`company ${company} is not open in this process`, {
      company,
      hint: `it has: ${[...this.sessions.keys()].join(", ") || "none"}`,
    });
  }

  /** Companies that have creds; while the database is away, those that could start from a cache.
   * @param {"postgres" | "files"} [store] */
  async companies(store = "postgres") {
    if (store === "files") return this.#companiesInFiles();
    this.requireDatabase();
    try {
      const sql = await this.database.statements();
      const { rows } = await this.database.query("list", sql.listCompanies);
      return rows.map((row) => String(row.company));
    } catch (error) {
      const cached = error instanceof Unavailable ? await this.files.cached() : [];
      if (!cached.length) throw error;
      return cached;
    }
  }

  async #companiesInFiles() {
    const entries = await readdir(this.settings.sessionsDir, { withFileTypes: true });
    const places = entries.filter((entry) => entry.isDirectory() && entry.name.startsWith(COMPANY_PREFIX));
    return places.map(({ name }) => name.slice(COMPANY_PREFIX.length)).sort();
  }

  /** Ids of the keys in memory by type. @param {string} company @returns {Map<string, string[]>} */
  keyNames(company) {
    const types = this.sessions.get(company)?.memory.types ?? new Map();
    return new Map([...types].map(([type, keys]) => [type, [...keys.keys()]]));
  }

  /** Not when all of them are about to end anyway. */
  #lookAfterLoss() {
    if (!this.closing) [...this.sessions.values()].forEach(lookAfterLoss);
  }

  /** @param {import("./session.js").Session} session */
  async forget(session) {
    if (this.sessions.get(session.company) === session) this.sessions.delete(session.company);
    this.limits.forget(session.company);
    this.metrics.forget(session.company);
    await this.#release(session.company);
  }

  /** It had to end, which nobody may take for one that is not there. @param {import("./session.js").Session} session
   * @param {Error} reason */
  async forgetStopped(session, reason) {
    await this.forget(session);
    this.stopped.set(session.company, { at: new Date().toISOString(), error: wordsOf(reason) });
    this.metrics.sessionState(session.company, "stopped");
  }

  /** The mark of a process that has ended keeps nobody out. @param {string} company */
  async #release(company) {
    await this.files.release(company).catch((error) => {
      this.settings.logger.warn({ company, error: wordsOf(error) }, "the mark of who has the session could not be removed");
    });
  }

  /** Once more, soon. @param {() => Promise<unknown>} work */
  later(work) {
    setTimeout(() => this.inBackground(work()), RETRY_MS * (0.75 + Math.random() / 2)).unref();
  }

  /** Nobody waits for it, so nobody would see it fail. @param {Promise<unknown>} work */
  inBackground(work) {
    work.catch((error) => {
      this.settings.logger.error({ error: wordsOf(error) }, "the session client failed in the background");
      this.metrics.tell("error", "session client failed", {});
    });
  }

  status() {
    const sessions = [...this.sessions.values()].map((session) => session.status());
    const { sessionsDir, exportDir } = this.settings;
    const stopped = Object.fromEntries(this.stopped);
    return { identity: this.identity, sessions_dir: sessionsDir, export_dir: exportDir, sessions, stopped, drained: this.handover.status() };
  }

  /** Every session to its orderly end. */
  close() {
    return (this.closing ??= this.#close());
  }

  async #close() {
    for (const session of [...this.sessions.values()]) {
      await session.close().catch((error) => {
        this.settings.logger.error({ company: session.company, error: wordsOf(error) }, "the session could not be closed in order");
      });
    }
    await this.stopListening?.();
    await this.lock.close();
    await this.database.close();
  }
}
