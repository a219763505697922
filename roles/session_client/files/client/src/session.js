// SPDX-License-Identifier: BSD-2-Clause
// One company's session. While the database serves, a write is done when it is committed there; while it does not, when it
// is in the journal. Reads are always from memory, which holds everything.
import { randomUUID } from "node:crypto";

import { encode, hashTable } from "./codec.js";
import { AbsenceUnproven, SessionStopped, Unavailable, isSomebodyElses, wordsOf } from "./errors.js";
import { changesOf, nameOf } from "./memory.js";
import { regain } from "./regaining.js";
import { Outage } from "./session-outage.js";
import { Socket } from "./socket.js";

/**
 * @typedef {import("./memory.js").Change} Change
 * @typedef {import("./loading.js").Loaded} Loaded
 * @typedef {"online" | "outage" | "stopped"} State
 */

export class Session {
  /**
   * @param {string} company
   * @param {import("./service.js").Service} service what the sessions of a process share
   * @param {Loaded} loaded
   * @param {import("./file-store.js").FileStore | null} [files] where it lives, if not in PostgreSQL
   */
  constructor(company, service, loaded, files = null) {
    this.company = company;
    this.service = service;
    this.settings = service.settings;
    this.log = service.settings.logger;
    this.memory = loaded.memory;
    this.creds = loaded.creds;
    this.epoch = loaded.epoch;
    /** Tokens under which rows may have been written by this session; the last one is current. */
    this.tokens = loaded.tokens;
    this.fenced = loaded.fenced;
    this.isNew = loaded.isNew;
    this.fileStore = files;
    /** Writes are held for a move to the other store. @type {import("./hold.js").Hold | null} */
    this.hold = null;
    /** The one before. @type {import("./hold.js").Hold | null} */
    this.lastHold = null;
    /** Moves to the other store, one after the other. @type {Promise<unknown>} */
    this.committing = Promise.resolve();
    /** Names of keys that were deleted and might come back with an older state of the database. @type {Set<string>} */
    this.deleted = new Set();
    /** @type {State} */
    this.state = "online";
    this.lastContact = Date.now();
    /** @type {Outage | null} */
    this.outage = null;
    /** @type {Error | null} */
    this.stoppedBy = null;
    /** @type {Socket | null} */
    this.socket = null;
    /** Nothing may leave on any socket: what it would have to store is held. */
    this.isShut = false;
    /** Everything that writes waits for what was asked before it. @type {Promise<unknown>} */
    this.tail = Promise.resolve();
    /** Creds that were not saved yet. @type {string | null} */
    this.unsaved = null;
    this.touch();
  }

  /** @returns {"postgres" | "files"} */
  get store() {
    return this.fileStore ? "files" : "postgres";
  }

  /** Shows what changed. */
  touch() {
    this.service.metrics.sessionState(this.company, this.state, { keys: this.memory.size, store: this.store });
  }

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  inOrder(work) {
    const result = this.tail.then(work);
    this.tail = result.catch(() => undefined);
    return result;
  }

  /** In order, and nothing after it before `released`. @template T @param {() => Promise<T>} work
   * @param {Promise<unknown>} released @returns {Promise<T>} */
  inOrderUntil(released, work) {
    const result = this.tail.then(work);
    this.tail = result.then(() => released, () => undefined);
    return result;
  }

  /** A key whose write is held is not told as it was: Baileys would go on from there, and store over what is held. Others are
   * told at once. @param {string} type @param {string[]} ids */
  async read(type, ids) {
    if (this.hold) await this.hold.settled(type, ids);
    return this.get(type, ids);
  }

  /** @param {string} type @param {string[]} ids @returns {Record<string, any>} */
  get(type, ids) {
    this.refuseStopped();
    this.service.limits.used(this);
    const found = hashTable();
    let hits = 0;
    for (const id of ids) {
      if (this.fileStore?.guesses.size) this.fileStore.learn(this.memory, type, id);
      if (this.memory.undecodable.size && this.memory.undecodable.has(nameOf(type, id))) {
        throw new AbsenceUnproven(`company ${this.company}: a stored ${type} cannot be decoded, which is not the same as none`, {
          company: this.company,
          hint: "repair that row from a backup or the mirror",
        });
      }
      const value = this.memory.get(type, id);
      if (value === undefined) continue;
      found[id] = type === "app-state-sync-key" ? this.service.baileys.appStateSyncKey(value) : value;
      hits++;
    }
    this.service.metrics.looked(this.company, hits, ids.length - hits);
    return found;
  }

  /** @param {Record<string, Record<string, any> | undefined>} data */
  async set(data) {
    this.refuseStopped();
    const changes = changesOf(data); // now: what Baileys does to these values later is not meant
    if (!changes.length) return;
    const writing = this.inOrder(() => this.write(changes, null));
    this.hold?.holds(changes, writing);
    await writing;
  }

  /** Never rejects: Baileys calls it from an event, where nobody would catch it. */
  async saveCreds() {
    if (this.state === "stopped") return;
    this.unsaved = encode("creds", this.creds);
    if (this.hold) this.hold.waiting++;
    await this.inOrder(() => this.writeCreds());
  }

  /** In order with all others. Never rejects. */
  async writeCreds() {
    const text = this.unsaved;
    if (text === null || this.isStopped()) return; // a later call has written them already
    try {
      await this.write([], text);
      if (this.unsaved === text) this.unsaved = null;
    } catch (error) {
      if (this.isStopped()) return;
      this.log.error({ company: this.company, error: wordsOf(error) }, "creds could not be saved; they are tried again");
      this.service.later(() => this.inOrder(() => this.writeCreds()));
    }
  }

  /** In order with all others. @param {Change[]} changes @param {string | null} creds */
  async write(changes, creds) {
    this.refuseStopped();
    if (this.fileStore) {
      for (const { type, id } of changes) if (this.fileStore.guesses.size) this.fileStore.learn(this.memory, type, id);
      await this.fileStore.write(changes, creds);
      this.lastContact = Date.now();
      this.#remember(changes, creds);
      return;
    }
    if (this.state === "online") {
      try {
        if (!this.service.lock.holds(this.company)) await regain(this);
        await this.service.writer.write(this, changes, creds);
        this.lastContact = Date.now();
        this.#remember(changes, creds);
        return;
      } catch (error) {
        if (isSomebodyElses(error)) await this.stop(error);
        if (!(error instanceof Unavailable)) throw error;
        await this.beginOutage(error);
      }
    }
    await /** @type {Outage} */ (this.outage).write(changes, creds);
    this.#remember(changes, creds);
  }

  /** @param {Change[]} changes @param {string | null} creds */
  #remember(changes, creds) {
    for (const { type, id, text } of changes) {
      if (text === null) this.deleted.add(nameOf(type, id));
      else this.deleted.delete(nameOf(type, id));
    }
    this.memory.apply(changes, creds);
    this.service.metrics.keys.set({ company: this.company }, this.memory.size);
  }

  /** A session that wrote nothing for hours was not without its database for hours. */
  #idleSince() {
    this.lastContact = Math.max(this.lastContact, this.service.lock.lastContact);
  }

  /** @param {Error} reason */
  async beginOutage(reason) {
    this.#idleSince();
    this.state = "outage";
    this.outage = new Outage(this, randomUUID(), this.lastContact);
    this.touch();
    await this.outage.begin(reason);
  }

  /** The database is equal to memory. */
  endOutage() {
    this.outage = null;
    this.state = "online";
    this.lastContact = Date.now();
    this.touch();
    if (this.unsaved !== null) void this.inOrder(() => this.writeCreds());
  }

  /** What was held goes to the files, which hold what memory holds. @param {import("./file-store.js").FileStore} files */
  async moveToFiles(files) {
    const { outage, company } = this;
    this.fileStore = files;
    this.service.moved.set(company, "files");
    this.isNew = false;
    this.outage = null;
    this.state = "online";
    this.lastContact = Date.now();
    this.touch();
    outage?.end();
    await outage?.caching;
    this.service.metrics.clean(company);
    await this.service.files.removeCopies(company, outage?.journal).catch((error) => {
      // Their epoch is over, so nobody replays them.
      this.log.error({ company, error: wordsOf(error) }, "journal and cache of before the move to files could not be removed");
    });
  }

  /** What was held goes to PostgreSQL, which holds what memory holds. @param {string} token
   * @param {{epoch: number, fenced: boolean}} owner */
  moveToPostgres(token, owner) {
    this.fileStore = null;
    this.service.moved.set(this.company, "postgres");
    this.tokens = [token];
    this.epoch = owner.epoch;
    this.fenced = owner.fenced;
    this.deleted.clear();
    this.lastContact = Date.now();
    this.touch();
  }

  /** Nothing is written from now on; the socket is ended, never logged out. @param {Error} reason */
  async stop(reason) {
    if (this.state === "stopped") return;
    this.state = "stopped";
    this.stoppedBy = reason;
    this.touch();
    this.log.error({ company: this.company, error: wordsOf(reason) }, "the session is stopped");
    this.service.metrics.tell("error", `session stopped: ${reason.name}`, { company: this.company });
    await this.outage?.abandon(reason);
    this.outage = null;
    await this.service.lock.release(this.company);
    await this.service.forgetStopped(this, reason);
    void this.socket?.end(reason);
  }

  /** An application that connects with the state of a session that has ended would read messages it cannot keep the steps of.
   * @param {import("./socket.js").BaileysSocket} socket */
  attach(socket) {
    this.socket = new Socket(socket);
    this.socket.isShut = this.isShut;
    if (this.isStopped()) void this.socket.end(this.stoppedBy ?? undefined);
  }

  /** What is under way on the socket is finished, and nothing leaves from now on. @returns {Promise<boolean>} false when
   * something would still leave later */
  async shut() {
    this.isShut = true;
    const { socket } = this;
    await socket?.quiet();
    return (await socket?.shut()) ?? true;
  }

  /** The contrary of {@link shut}. */
  open() {
    this.isShut = false;
    this.socket?.open();
    this.socket?.resume();
  }

  /** Its socket is closed, and it is not on its way to another store. */
  isIdle() {
    return this.socket?.isClosed() === true && !this.hold;
  }

  /**
   * What was asked is written; from now on nothing more is taken, and the socket is ended. When `copy` fails, the session goes
   * on as before.
   * @template T @param {Error} reason @param {() => Promise<T>} copy of memory as it will stay @returns {Promise<T>}
   */
  async drain(reason, copy) {
    await this.shut();
    try {
      return await this.inOrder(async () => {
        this.refuseStopped();
        await this.writeCreds();
        if (this.unsaved !== null) this.memory.creds = this.unsaved; // refused there; the copy is what goes on
        const copied = await copy();
        this.stoppedBy = reason;
        // First: a write that is refused while Baileys can still answer loses the message that it belongs to.
        const ended = this.socket?.end();
        await this.#finish();
        await ended;
        return copied;
      });
    } catch (error) {
      if (!this.isStopped()) this.open();
      throw error;
    }
  }

  isStopped() {
    return this.state === "stopped";
  }

  refuseStopped() {
    if (!this.isStopped()) return;
    throw new SessionStopped(`company ${this.company}: the session is stopped: ${this.stoppedBy ? wordsOf(this.stoppedBy) : "it was closed"}`, {
      company: this.company,
      cause: this.stoppedBy ?? undefined,
    });
  }

  /** The orderly end: what was asked is written, and the cache holds what the next start needs while the database is away. */
  async close() {
    if (this.state === "stopped") return;
    const { hold } = this;
    if (hold && (await hold.giveWay())) return this.#closeSealed(hold);
    await this.inOrder(async () => {
      await this.writeCreds(); // those that were saved since
      await this.#finish(); // what is asked for meanwhile would be in no copy: it is refused
    });
  }

  /** Which of the two stores is the one of record, nobody here knows: so what is held goes to neither. Nothing can be sent by
   * then, and the server delivers those messages again. @param {import("./hold.js").Hold} hold */
  async #closeSealed(hold) {
    await this.socket?.end();
    await this.#finish();
    hold.end("closed");
  }

  async #finish() {
    if (this.state === "stopped") return;
    await this.outage?.settle();
    if (this.state === "online" && !this.fileStore) {
      this.#idleSince();
      await this.service.files.writeCache(this, null).catch((error) => {
        this.log.warn({ company: this.company, error: wordsOf(error) }, "no cache is left for a start without the database");
      });
    }
    this.state = "stopped";
    await this.service.lock.release(this.company);
    await this.service.forget(this);
  }

  /** What is, without any secret. */
  status() {
    return {
      company: this.company,
      state: this.state,
      store: this.store,
      directory: this.fileStore?.directory ?? null,
      hold: this.hold?.status() ?? null,
      user: this.creds?.me?.id ?? null,
      keys: this.memory.size,
      counts: this.memory.counts(),
      undecodable: this.memory.undecodable.size,
      epoch: this.epoch,
      fenced: this.fenced,
      last_contact: new Date(this.lastContact).toISOString(),
      outage: this.outage?.status() ?? null,
      error: this.stoppedBy ? wordsOf(this.stoppedBy) : null,
    };
  }
}
