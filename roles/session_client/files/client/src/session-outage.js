// SPDX-License-Identifier: BSD-2-Clause
// A session while its database is away: where its writes go, what is told of it, and the way back.
import { Fenced, SessionStopped, Unavailable, isSomebodyElses, wordsOf } from "./errors.js";
import { newToken } from "./fence.js";
import { digestOf } from "./journal.js";
import { nameOf } from "./memory.js";

const MINUTE_MS = 60_000;

/** @typedef {import("./memory.js").Change} Change */

export class Outage {
  /**
   * @param {import("./session.js").Session} session
   * @param {string} id @param {number} lastContact milliseconds since 1970
   */
  constructor(session, id, lastContact) {
    this.session = session;
    this.service = session.service;
    this.settings = session.settings;
    this.log = session.log;
    this.id = id;
    this.lastContact = lastContact;
    /** The clock of the host may be set; how long it lasts is counted by another one. */
    this.beganAt = performance.now() - Math.max(0, Date.now() - lastContact);
    /** @type {import("./journal.js").Journal | null} */
    this.journal = null;
    this.journalError = "";
    /** Why a cache of before is still on the disk, beside a session that goes on in memory only. */
    this.older = "";
    /** Everything written since the outage began, by name. @type {Map<string, Change>} */
    this.changes = new Map();
    /** @type {string | null} */
    this.creds = null;
    /** @type {import("./replay.js").Touched} */
    this.touched = { base: new Map(), written: new Map() };
    this.writes = 0;
    /** The one under which it ends, however often that is tried. */
    this.token = "";
    this.expired = false;
    /** @type {Promise<unknown>} */
    this.caching = Promise.resolve();
    /** @type {NodeJS.Timeout[]} */
    this.timers = [];
    this.over = false;
    this.reported = "";
  }

  get ageMs() {
    return performance.now() - this.beganAt;
  }

  /** @param {Error} reason */
  async begin(reason) {
    const { company } = this.session;
    this.log.warn({ company, error: wordsOf(reason) }, "the database is away: the session runs from memory");
    this.tell("warning", "session cache in use");
    if (this.settings.onOutage === "journal") {
      await this.openJournal();
      this.caching = this.service.files.writeCache(this.session, this.id).catch((error) => {
        this.log.error({ company, error: wordsOf(error) }, "the cache could not be written: a restart during this outage would find no session");
      });
    }
    if (this.settings.onOutage === "memory") await this.removeOlder();
    this.watch();
  }

  /** What goes on in memory only would leave a cache on disk that is older than the session. Where that cannot be removed, the session
   * goes on all the same: the way back is what it needs most. */
  async removeOlder() {
    const { company } = this.session;
    const before = this.older;
    this.older = await this.service.files.removeCopies(company).then(() => "", wordsOf);
    if (!this.older || this.older === before) return;
    this.log.error({ company, error: this.older }, "a cache of before cannot be removed: a restart during this outage would start from an OLDER session");
    this.tell("error", "session cache of before cannot be removed");
  }

  /** Whether writes are journaled. A journal that an earlier process left is gone on with, whatever the setting is now: it would
   * be older than the session. */
  get journals() {
    return this.settings.onOutage === "journal" || this.journal !== null;
  }

  /** Timers: the minute's warning, the expiry, and the next look at the database. What asks for metrics sees the age at once. */
  watch() {
    this.service.metrics.cached.set(this.session.company, () => this.ageMs / 1000);
    const minute = setInterval(() => this.warn(), MINUTE_MS);
    const expiry = setTimeout(() => this.service.inBackground(this.expire()), Math.max(0, this.settings.cacheTtlMs - this.ageMs));
    this.timers.push(minute, expiry);
    for (const timer of this.timers) timer.unref();
    this.lookAgain();
  }

  lookAgain() {
    if (this.over) return;
    const pause = this.settings.recoveryIntervalMs * (0.75 + Math.random() / 2);
    const timer = setTimeout(() => this.service.inBackground(this.recover()), pause);
    timer.unref();
    this.timers[2] = timer;
  }

  warn() {
    const seconds = Math.round(this.ageMs / 1000);
    this.log.warn({ company: this.session.company, age_seconds: seconds, journal: this.journal?.lines ?? 0 }, "the database is still away");
  }

  async expire() {
    if (this.over) return;
    this.expired = true;
    const seconds = Math.round(this.ageMs / 1000);
    const { company } = this.session;
    this.log.error({ company, age_seconds: seconds }, "the session has run without its database for longer than it should");
    this.tell("error", "session cache expired");
    if (this.settings.onExpiry !== "stop") return;
    const reason = new SessionStopped(`company ${company}: ${seconds} s without the database, and onExpiry is stop`, {
      company,
      hint: "the journal holds what was written; start again when the database serves",
    });
    await this.stopSession(reason);
  }

  /** In its turn; the outage may be over by then. @param {Error} reason */
  async stopSession(reason) {
    await this.session.inOrder(async () => {
      if (!this.over) await this.session.stop(reason);
    });
  }

  /** @param {"warning" | "error"} level @param {string} message */
  tell(level, message) {
    const age = String(Math.round(this.ageMs / 1000));
    this.service.metrics.tell(level, message, { company: this.session.company, age_seconds: age });
  }

  async openJournal() {
    const { company, epoch, tokens } = this.session;
    const header = {
      company,
      epoch,
      outage: this.id,
      began_at: new Date().toISOString(),
      last_contact: new Date(this.lastContact).toISOString(),
      tokens: tokens.slice(-8),
    };
    try {
      this.journal = await this.service.files.createJournal(company, header);
      this.journalError = "";
    } catch (error) {
      this.failed(error);
    }
  }

  /** @param {Error} error */
  failed(error) {
    const { company } = this.session;
    const words = wordsOf(error);
    this.service.metrics.journalFailures.inc({ company });
    if (words !== this.journalError) {
      this.log.error({ company, error: wordsOf(error) }, "the journal takes no more: the session goes on in MEMORY ONLY, and ending this process now loses it");
      this.tell("error", "session journal cannot be written");
    }
    this.journalError = words;
  }

  /** @param {Change[]} changes @param {string | null} creds */
  async write(changes, creds) {
    const { session } = this;
    if (this.settings.onOutage === "read-only") {
      const reason = new SessionStopped(`company ${session.company}: the database is away, and onOutage is read-only`, {
        company: session.company,
        hint: "start again when the database serves; with onOutage journal the session would go on",
      });
      await session.stop(reason);
      throw reason;
    }
    const line = this.lineOf(changes, creds);
    this.writes++;
    if (this.older) await this.removeOlder();
    if (this.journals) await this.record(line);
  }

  /** Notes what was before, and makes the journal's line. @param {Change[]} changes @param {string | null} creds */
  lineOf(changes, creds) {
    const { memory } = this.session;
    /** @type {import("./journal.js").Line} */
    const line = { at: new Date().toISOString() };
    if (changes.length) {
      line.changes = changes.map((change) => {
        const { type, id, text } = change;
        const name = nameOf(type, id);
        const base = this.note(name, () => memory.text(type, id), text);
        this.changes.set(name, change);
        return base === undefined ? [type, id, text] : [type, id, text, base];
      });
    }
    if (creds !== null) {
      const base = this.note(nameOf("creds", ""), () => memory.creds, creds);
      line.creds = this.creds = creds;
      if (base !== undefined) line.creds_base = base;
    }
    return line;
  }

  /** The digest of what was there before, the first time only. @param {string} name @param {() => string | null} before
   * @param {string | null} text */
  note(name, before, text) {
    const first = !this.touched.base.has(name);
    const base = first ? digestOf(before()) : undefined;
    if (base !== undefined) this.touched.base.set(name, base);
    const written = this.touched.written.get(name) ?? new Set();
    this.touched.written.set(name, written.add(digestOf(text)));
    return base;
  }

  /** @param {import("./journal.js").Line} line */
  async record(line) {
    try {
      if (this.journal && !this.journalError) {
        if (this.journal.size > this.settings.journalMaxBytes) await this.journal.compact(this.everything());
        if (this.journal.size > this.settings.journalMaxBytes) throw new Error(`the journal holds ${this.journal.size} bytes, more than journalMaxBytes`);
        await this.journal.append(line);
      } else {
        await this.startOver();
      }
    } catch (error) {
      this.failed(error);
    }
    this.service.metrics.journalLines.set({ company: this.session.company }, this.journal?.lines ?? 0);
    this.service.metrics.journalBytes.set({ company: this.session.company }, this.journal?.size ?? 0);
  }

  /** After a write that the journal did not take, only a journal of everything is whole again. */
  async startOver() {
    if (!this.journal) await this.openJournal();
    if (!this.journal) return;
    await this.journal.compact(this.everything());
    if (this.journalError) this.log.warn({ company: this.session.company }, "the journal is whole again");
    this.journalError = "";
  }

  /** @returns {import("./journal.js").Line} */
  everything() {
    const base = this.touched.base;
    return {
      at: new Date().toISOString(),
      changes: [...this.changes].map(([name, { type, id, text }]) => [type, id, text, base.get(name) ?? ""]),
      ...(this.creds === null ? {} : { creds: this.creds, creds_base: base.get(nameOf("creds", "")) }),
    };
  }

  /** One look at the database; when it serves, the way back. */
  async recover() {
    if (this.over) return;
    if (this.session.hold) return this.lookAgain();
    try {
      await this.service.lock.acquire(this.session.company);
      if (this.over) return void (await this.#letGo());
      await this.service.replays.take(() => this.#replayInOrder());
    } catch (error) {
      await this.notYet(error);
    }
    if (!this.over) this.lookAgain();
  }

  /** Not in a hold, which may have begun while the turn was waited for: it would wait for the end of that, and keep all others
   * from their turns. */
  async #replayInOrder() {
    if (!this.session.hold) await this.session.inOrder(() => this.replay());
  }

  /** The session was closed, or moved, while the lock was on its way. Whoever opens it again needs that lock, and so does a move
   * back. */
  async #letGo() {
    const { session, service } = this;
    const { company } = session;
    while (session.hold) await session.hold.released;
    const livesInFiles = service.sessions.get(company) === session && session.fileStore;
    if (livesInFiles || !service.files.claimed.has(company)) await service.lock.release(company);
  }

  /** @param {any} error */
  async notYet(error) {
    const { company } = this.session;
    if (this.over) return;
    if (isSomebodyElses(error)) {
      this.service.metrics.replays.inc({ company, result: "refused" });
      await this.stopSession(error);
      return;
    }
    if (error instanceof Unavailable) return;
    this.service.metrics.replays.inc({ company, result: "failed" });
    if (this.reported === error.message) return;
    this.reported = error.message;
    this.log.error({ company, error: wordsOf(error) }, "the database is back but does not take what the session wrote");
    this.tell("error", "session replay failed");
  }

  /** In the journal before the database may hold it. A full disk must not keep the session from its database: without this a
   * journal that is left is only put aside. @param {string} token */
  async noteToken(token) {
    if (!this.journal || this.journal.names(token)) return;
    this.journal.header.tokens.push(token); // for a shorter one, too
    if (!this.journalError) await this.journal.append({ at: new Date().toISOString(), token }).catch((error) => this.failed(error));
  }

  async replay() {
    if (this.over || this.session.state !== "outage") return;
    const { session } = this;
    if (!this.token) {
      // Whether the transaction below commits may stay unknown: so its token counts as ours from here on.
      this.token = newToken();
      session.tokens.push(this.token);
    }
    await this.noteToken(this.token);
    const done = await this.service.writer.replay(session, this.token, this.touched);
    session.fenced = done.fenced;
    session.epoch = done.epoch;
    await this.caching;
    // Before anything else: beside a session that goes on they would be a session of before. If they stay, the outage does.
    await this.service.files.removeCopies(session.company, this.journal);
    this.end();
    session.endOutage();
    const { company } = session;
    const seconds = Math.round(this.ageMs / 1000);
    this.service.metrics.replays.inc({ company, result: "ok" });
    this.service.metrics.replayed.inc({ company }, done.written + done.removed);
    this.service.metrics.clean(company);
    if (done.adopted) this.log.warn({ company, keys: done.adopted }, "rows that this session did not know were taken in");
    this.log.info({ company, outage_seconds: seconds, written: done.written, removed: done.removed }, "the database is back and equal to memory");
  }

  end() {
    this.over = true;
    this.service.metrics.cached.delete(this.session.company);
    for (const timer of this.timers) {
      clearInterval(timer);
      clearTimeout(timer);
    }
  }

  /** At an orderly end: journal and cache stay, for the next start. */
  async settle() {
    this.end();
    await this.caching;
    if (this.older) await this.removeOlder();
    // What is in memory only ends with this process: the disk may have room again.
    if (this.journals && (!this.journal || this.journalError)) {
      await this.startOver().catch((error) => this.failed(error));
    }
    await this.journal?.close().catch(() => undefined);
  }

  /** The session may not go on. After an orderly reason the copies are for the next start, after any other for a human.
   * @param {Error} reason */
  async abandon(reason) {
    this.end();
    await this.caching;
    await this.journal?.close().catch(() => undefined);
    if (reason instanceof SessionStopped || (reason instanceof Fenced && reason.mayPass)) return;
    const { company } = this.session;
    await this.service.files.setAside(company).catch((error) => {
      // The next start looks at them, and does so itself.
      this.log.error({ company, error: wordsOf(error) }, "journal and cache could not be put aside");
    });
  }

  status() {
    return {
      since: new Date(this.lastContact).toISOString(),
      age_seconds: Math.round(this.ageMs / 1000),
      writes: this.writes,
      journal_lines: this.journal?.lines ?? 0,
      journal_bytes: this.journal?.size ?? 0,
      journal_error: this.journalError || null,
      expired: this.expired,
    };
  }
}
