// SPDX-License-Identifier: BSD-2-Clause
// A running session on its way to the other store. Its writes are held: Baileys waits for them, and reads go on; nothing is sent
// meanwhile. Whoever moves it makes the new store out of the export, says so in the store of record and in .env, and only then
// commits. So at every moment .env names a store that holds every step of what was ever sent or acknowledged, and a process
// that is killed starts from there: what was held was done for nobody, and the server delivers those messages again.
import { randomUUID } from "node:crypto";

import { Committed, HoldExpired, SwitchRefused } from "./errors.js";
import { exportSession } from "./export.js";
import { nameOf } from "./memory.js";
import { toFiles, toPostgres } from "./moving.js";

/** @typedef {"hold" | "sealed" | "committed" | "aborted" | "expired" | "failed" | "closed"} Phase */

export class Hold {
  /** @param {import("./session.js").Session} session @param {"postgres" | "files"} to @param {number} ms */
  constructor(session, to, ms) {
    this.session = session;
    this.to = to;
    this.ms = ms;
    this.id = randomUUID();
    /** @type {Phase} */
    this.phase = "hold";
    this.since = new Date();
    /** Writes that were asked for meanwhile. */
    this.waiting = 0;
    /** By name, the newest write that is held. @type {Map<string, Promise<unknown>>} */
    this.writes = new Map();
    /** @type {() => void} */
    this.release = () => undefined;
    /** @type {Promise<void>} */
    this.released = new Promise((resolve) => (this.release = resolve));
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    /** @type {Promise<void> | null} */
    this.committing = null;
    /** How often a commit was taken back while it was under way. */
    this.withdrawn = 0;
  }

  /** Holds writes, and copies what is there once all that was asked before is done. @param {string} place
   * @param {import("./export.js").Form} [form] of the copy */
  async begin(place, form) {
    const { session } = this;
    session.hold = this;
    try {
      if (!(await session.shut())) throw new SwitchRefused(`company ${session.company}: its socket is congested`, { company: session.company, hint: "try again in a moment" });
      const copying = session.inOrderUntil(this.released, async () => {
        await session.writeCreds();
        session.refuseStopped();
        return exportSession(session, place, form);
      });
      session.socket?.resume(); // what comes now waits with its step, and is not acknowledged
      const exported = await copying;
      if (this.phase !== "hold") throw this.#over("cannot go on");
      this.timer = setTimeout(() => this.#expire(), this.ms);
      return exported;
    } catch (error) {
      if (this.phase === "hold") this.end("failed");
      throw error;
    }
  }

  /** @param {import("./memory.js").Change[]} changes @param {Promise<unknown>} writing */
  holds(changes, writing) {
    this.waiting++;
    const over = writing.catch(() => undefined);
    for (const { type, id } of changes) this.writes.set(nameOf(type, id), over);
  }

  /** @param {string} type @param {string[]} ids */
  async settled(type, ids) {
    if (this.writes.size) await Promise.all(ids.map((id) => this.writes.get(nameOf(type, id))));
  }

  #expire() {
    const { company, log } = this.session;
    log.warn({ company, to: this.to, waiting: this.waiting }, "a move to another store was not sealed in time: the session goes on where it is");
    this.end("expired");
  }

  /** From now on it does not end by itself: the new store is about to be the one of record. Asked of one that is sealed, it
   * takes back a commit that is under way: whoever asked for that may have stopped to wait for it. */
  seal() {
    this.#refuseCommitted();
    if (this.phase === "sealed") return this.#withdraw();
    if (this.phase !== "hold") throw this.#over("cannot be sealed");
    if (!this.timer) throw new SwitchRefused(`hold ${this.id} is not there yet`, { hint: "wait for the answer to phase=hold: it has the export" });
    clearTimeout(this.timer);
    this.phase = "sealed";
  }

  #withdraw() {
    if (!this.committing) return;
    this.withdrawn++;
    this.committing = null;
  }

  /** The session lives in the new store. When that is refused, it stays as it is, sealed. */
  async commit() {
    if (this.phase === "committed") return;
    if (this.phase === "hold") {
      throw new SwitchRefused(`hold ${this.id} is not sealed`, { hint: "phase=seal first, then write the store of record and .env, then commit" });
    }
    if (this.phase !== "sealed") throw this.#over("cannot be committed");
    await (this.committing ??= this.#begin());
  }

  /** Behind an earlier one that was taken back and is not done yet: of two, one would release what the other has just taken. */
  #begin() {
    const { session, withdrawn } = this;
    const committing = session.committing.then(() => this.#commit(() => this.#refuseTakenBack(withdrawn)));
    session.committing = committing.catch(() => {
      if (this.committing === committing) this.committing = null; // refused: it may be asked for again
    });
    return committing;
  }

  /** @param {() => void} refuseTakenBack throws when this commit must not switch the writer any more. Asked before each step that
   * others see, and at last in the same turn in which the writer is switched */
  async #commit(refuseTakenBack) {
    const { session } = this;
    const { company, service, log } = session;
    refuseTakenBack();
    await (this.to === "files" ? toFiles(session, refuseTakenBack) : toPostgres(session, refuseTakenBack));
    log.warn({ company, to: this.to, waited_ms: Date.now() - this.since.getTime(), waiting: this.waiting }, "the session has moved to its other store");
    this.end("committed");
    if (this.to === "files") await service.lock.release(company);
  }

  /** @param {number} before how often one had been taken back when this one began */
  #refuseTakenBack(before) {
    if (this.phase !== "sealed") throw this.#over("was not committed");
    if (this.withdrawn === before) return;
    throw new SwitchRefused(`hold ${this.id} was not committed: phase=seal has taken the commit back`, {
      company: this.session.company,
      hint: "it is sealed: commit again, or abort",
    });
  }

  /** The writer may be switched while the commit still clears up behind itself. */
  #refuseCommitted() {
    const { company, store } = this.session;
    if (this.phase !== "committed" && !(this.phase === "sealed" && store === this.to)) return;
    throw new Committed(`hold ${this.id} is committed: company ${company} lives in ${this.to} now, and that is not taken back`, {
      company,
      hint: `${this.to} is its store of record; to have it back, move it with a new hold`,
    });
  }

  /** As before: what was held goes to the old store, at once. A commit that is under way does not switch the writer any more. */
  abort() {
    this.#refuseCommitted();
    if (this.phase === "hold" || this.phase === "sealed") this.end("aborted");
  }

  /** The session is to be closed. @returns {Promise<boolean>} whether nobody here knows which store is the one of record */
  async giveWay() {
    await this.committing?.catch(() => undefined);
    if (this.phase === "hold") this.end("aborted");
    return this.phase === "sealed";
  }

  /** @param {Phase} phase */
  end(phase) {
    clearTimeout(this.timer);
    this.phase = phase;
    this.session.lastHold = this;
    if (this.session.hold === this) this.session.hold = null;
    this.release();
    if (!this.session.isStopped()) this.session.open();
  }

  /** @param {string} what */
  #over(what) {
    const message = `hold ${this.id} ${what}: it was ${this.phase}`;
    const { store, company } = this.session;
    const hint = `company ${company} lives in ${store}; begin again with phase=hold`;
    return this.phase === "expired" ? new HoldExpired(`${message} after ${this.ms} ms`, { company, hint }) : new SwitchRefused(message, { company, hint });
  }

  status() {
    return { hold: this.id, to: this.to, phase: this.phase, since: this.since.toISOString(), waiting: this.waiting, unsent: this.session.socket?.kept.length ?? 0 };
  }
}
