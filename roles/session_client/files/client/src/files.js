// SPDX-License-Identifier: BSD-2-Clause
// Journals, caches and the marks of who uses them, in one directory of the application's user.
import { link, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomBytes } from "node:crypto";

import { readCache, writeCache } from "./cache.js";
import { makePrivateDirectory, removeIfThere, setAside, syncDirectory } from "./disk.js";
import { CopyRefused, FilesFailed, Misconfigured, WriterBusy, codeOf } from "./errors.js";
import { isDead, isOfAnotherContainer } from "./identity.js";
import { Journal, readJournal } from "./journal.js";

export class SessionFiles {
  /** @param {string} dir @param {string} identity */
  constructor(dir, identity) {
    this.dir = dir;
    this.identity = identity;
    /** @type {Promise<unknown>} */
    this.writing = Promise.resolve();
    /** Companies that this process has. A mark of its own for another one is of before: it could not be removed.
     * @type {Set<string>} */
    this.claimed = new Set();
  }

  prepare() {
    return makePrivateDirectory(this.dir);
  }

  /** @param {string} company @param {string} kind */
  path(company, kind) {
    const name = encodeURIComponent(company);
    if (!company || name.startsWith(".") || name.length > 200) {
      throw new Misconfigured(`"${company}" is no id of a company`, { hint: "an id is not empty, and no path" });
    }
    return join(this.dir, `${name}.${kind}`);
  }

  /** One process on this host, also while the database cannot tell. @param {string} company */
  async claim(company) {
    const path = this.path(company, "owner");
    if (this.claimed.has(company)) throw busy(company, this.identity);
    this.claimed.add(company);
    try {
      await this.#mark(company, path);
    } catch (error) {
      this.claimed.delete(company);
      if (error instanceof WriterBusy) throw error;
      throw new FilesFailed(`company ${company}: the mark of who has its session cannot be written: ${codeOf(error)}`, {
        company,
        hint: `look at ${this.dir}: is there space, and can the application's user write there?`,
        cause: error,
      });
    }
  }

  /** @param {string} company @param {string} path */
  async #mark(company, path) {
    const mine = `${path}.${randomBytes(4).toString("hex")}`;
    try {
      await writeFile(mine, this.identity, { mode: 0o600, flag: "wx" });
      for (;;) {
        try {
          return await link(mine, path); // atomic: it fails when the name is taken
        } catch (error) {
          if (error.code !== "EEXIST") throw error;
        }
        await this.#removeDead(company, path);
      }
    } finally {
      await removeIfThere(mine);
    }
  }

  /** @param {string} company @param {string} path */
  async #removeDead(company, path) {
    const holder = await readFile(path, "utf8").catch(() => null);
    if (holder === null) return; // gone meanwhile
    // Containers that run beside each other have a directory each.
    if (holder !== this.identity && !isDead(holder) && !isOfAnotherContainer(holder)) throw busy(company, holder);
    // Renamed first, so that of two who see the same dead holder only one removes a mark, and never that of the other.
    const away = `${path}.${randomBytes(4).toString("hex")}.dead`;
    await rename(path, away).catch((error) => {
      if (error.code !== "ENOENT") throw error;
    });
    const removed = await readFile(away, "utf8").catch(() => holder);
    if (removed !== holder) await link(away, path).catch(() => undefined); // that was a living one's: put it back
    await removeIfThere(away);
  }

  /** @param {string} company */
  async release(company) {
    this.claimed.delete(company);
    await removeIfThere(this.path(company, "owner"));
  }

  /** @param {string} company @param {import("./journal.js").Header} header */
  createJournal(company, header) {
    return Journal.create(this.path(company, "journal"), header);
  }

  /** @param {string} company */
  readJournal(company) {
    return readJournal(this.path(company, "journal"), company);
  }

  /** One whose first line a crash cut off: nothing was journaled. @param {string} company */
  async removeEmptyJournal(company) {
    if (await removeIfThere(this.path(company, "journal"))) await syncDirectory(this.dir);
  }

  /** @param {string} company @param {import("./journal.js").JournalContent} content */
  reopenJournal(company, content) {
    return Journal.reopen(this.path(company, "journal"), content);
  }

  /** In the journal on disk, before the database may hold it. @param {string} company
   * @param {import("./journal.js").JournalContent} content @param {string} token */
  async noteToken(company, content, token) {
    const journal = await this.reopenJournal(company, content);
    try {
      await journal.append({ at: new Date().toISOString(), token });
    } finally {
      await journal.close();
    }
    content.header.tokens.push(token);
    content.size = journal.size;
    content.lines = journal.lines;
  }

  /** The same where there is the cache of an orderly end only: a journal is begun on it. @param {string} company
   * @param {string} token @param {number} ttlMs */
  async noteTokenOnCache(company, token, ttlMs) {
    await this.removeEmptyJournal(company);
    const cache = await this.readCache(company, ttlMs).catch((error) => {
      if (!(error instanceof CopyRefused)) throw error; // nobody will start from it
    });
    if (!cache || cache.header.outage !== null) return;
    const { epoch, next, last_contact, tokens } = cache.header;
    const header = { company, epoch, outage: next, began_at: new Date().toISOString(), last_contact, tokens: [...tokens, token] };
    await (await this.createJournal(company, header)).close();
  }

  /** @param {import("./session.js").Session} session @param {string | null} outage */
  async writeCache(session, outage) {
    const { company, epoch, tokens, memory, lastContact } = session;
    const header = { company, epoch, outage, last_contact: new Date(lastContact).toISOString(), tokens: tokens.slice(-8) };
    // An outage is one of all companies: their caches one after the other, or all of them would be in memory twice.
    const written = this.writing.then(() => writeCache(this.path(company, "cache"), header, memory));
    this.writing = written.catch(() => undefined);
    await written;
  }

  /** @param {string} company @param {number} ttlMs */
  readCache(company, ttlMs) {
    return readCache(this.path(company, "cache"), company, { now: Date.now(), ttlMs });
  }

  /** Companies of which there is a cache. */
  async cached() {
    const names = await readdir(this.dir);
    return names.filter((name) => name.endsWith(".cache")).map((name) => decodeURIComponent(name.slice(0, -".cache".length)));
  }

  /** The database holds it all. @param {string} company @param {import("./journal.js").Journal | null} [journal] */
  async removeCopies(company, journal) {
    // The cache first: without its journal it would be a session of before the outage.
    const hadCache = await removeIfThere(this.path(company, "cache"));
    await journal?.close().catch(() => undefined);
    const hadJournal = await removeIfThere(this.path(company, "journal"));
    if (hadCache || hadJournal) await syncDirectory(this.dir);
  }

  /** For a human; never used again. @param {string} company @returns {Promise<string[]>} where they are */
  async setAside(company) {
    const kept = [];
    for (const kind of ["cache", "journal"]) {
      const found = await setAside(this.path(company, kind), new Date()).catch((error) => {
        if (error.code !== "ENOENT") throw error;
      });
      if (found) kept.push(found);
    }
    return kept;
  }
}

/** @param {string} company @param {string} holder */
const busy = (company, holder) =>
  new WriterBusy(`company ${company}: another process of this host has this session: ${holder}`, {
    company,
    hint: "a session with two writers is destroyed: stop the other process, or take the company from this one's list",
  });
