// SPDX-License-Identifier: BSD-2-Clause
// What a session wrote while the database was away, one line a write, synced before the write counts as done. The format
// is in docs/formats.md.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";

import { createPrivate, removeIfThere, syncDirectory } from "./disk.js";
import { CopyRefused, codeOf } from "./errors.js";

const FORMAT = "baileys-resilience/client-journal";
const VERSION = 1;

/**
 * `tokens`: the writer's tokens under which this outage began and was to end; `outage` names the outage, so that cache and
 * journal of one are never mixed with those of another.
 * @typedef {{company: string, epoch: number, outage: string, began_at: string, last_contact: string, tokens: string[]}} Header
 * @typedef {import("./memory.js").Change} Change
 * @typedef {{at: string, changes?: [string, string, string | null, string?][], creds?: string, creds_base?: string, token?: string}} Line
 * `changes`: type, id, text or null, and where it is touched for the first time the digest of what was there before
 */

/** @param {string} text */
const checksum = (text) => createHash("sha256").update(text).digest("hex").slice(0, 16);

/** @param {object} content */
function lineOf(content) {
  const text = JSON.stringify(content);
  return `${checksum(text)} ${text}\n`;
}

export class Journal {
  /** @param {string} path @param {Header} header @param {import("node:fs/promises").FileHandle} handle @param {number} size */
  constructor(path, header, handle, size) {
    this.path = path;
    this.header = header;
    this.handle = handle;
    /** Bytes on disk that count. */
    this.size = size;
    this.lines = 0;
  }

  /** Begins a journal. One that is there already is an error: it holds what nobody has replayed.
   * @param {string} path @param {Header} header */
  static async create(path, header) {
    const handle = await createPrivate(path);
    const first = lineOf({ format: FORMAT, version: VERSION, ...header });
    try {
      await handle.writeFile(first);
      await handle.sync();
      await syncDirectory(dirname(path));
    } catch (error) {
      await handle.close();
      await removeIfThere(path).catch(() => undefined);
      throw error;
    }
    return new Journal(path, header, handle, Buffer.byteLength(first));
  }

  /** Goes on with a journal that was read. @param {string} path @param {JournalContent} content */
  static async reopen(path, content) {
    const handle = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    await handle.truncate(content.size); // a line that a crash cut off would spoil the next one
    const journal = new Journal(path, content.header, handle, content.size);
    journal.lines = content.lines;
    return journal;
  }

  /** @param {string} token */
  names(token) {
    return this.header.tokens.includes(token);
  }

  /** On disk when it returns. After an error the journal is as it was. @param {Line} line */
  async append(line) {
    const bytes = Buffer.from(lineOf(line));
    try {
      let written = 0;
      while (written < bytes.length) {
        const { bytesWritten } = await this.handle.write(bytes, written, bytes.length - written, this.size + written);
        written += bytesWritten;
      }
      await this.handle.datasync();
    } catch (error) {
      await this.handle.truncate(this.size).catch(() => undefined);
      throw error;
    }
    this.size += bytes.length;
    this.lines++;
  }

  /** Replaces all lines by one that leaves the same. @param {Line} line */
  async compact(line) {
    const path = `${this.path}.new`;
    await removeIfThere(path);
    const shorter = await Journal.create(path, this.header);
    try {
      await shorter.append(line);
      await rename(path, this.path);
    } catch (error) {
      await shorter.close();
      await removeIfThere(path).catch(() => undefined);
      throw error;
    }
    await syncDirectory(dirname(this.path));
    await this.handle.close();
    this.handle = shorter.handle;
    this.size = shorter.size;
    this.lines = 1;
  }

  async close() {
    await this.handle.close();
  }

  async remove() {
    await this.close().catch(() => undefined);
    await removeIfThere(this.path);
    await syncDirectory(dirname(this.path));
  }
}

/**
 * `base`: digests of what the database held before, by `type\0id`; "" stands for "nothing".
 * @typedef {{header: Header, changes: Map<string, Change>, written: Map<string, Set<string>>, base: Map<string, string>,
 *   creds: string | null, credsBase: string | null, size: number, lines: number, newest: string}} JournalContent
 */

/**
 * Reads a journal; null when there is none. A last line that a crash cut off counts as not written. Throws CopyRefused for
 * anything else that is wrong.
 * @param {string} path @param {string} company
 * @returns {Promise<JournalContent | null>}
 */
export async function readJournal(path, company) {
  let text;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw refused(path, `cannot be read: ${codeOf(error)}`, error);
  }
  const lines = text.split("\n").slice(0, -1);
  const parsed = lines.map(parse);
  const damaged = parsed.indexOf(null);
  if (damaged >= 0 && damaged < parsed.length - 1) throw refused(path, `was damaged or changed in line ${damaged + 1}`);
  const whole = damaged < 0 ? lines.length : damaged;
  // Cut off before its first line was whole: nothing was journaled.
  if (!whole) return null;
  const [header, ...entries] = parsed.slice(0, whole);
  if (header.format !== FORMAT || header.version !== VERSION) {
    throw refused(path, `is not a ${FORMAT} of version ${VERSION}`);
  }
  if (header.company !== company) throw refused(path, `is of company ${header.company}, not of ${company}`);
  const size = Buffer.byteLength(lines.slice(0, whole).join("\n")) + 1;
  return content(header, entries, size);
}

/** The content of a line; null for one that does not fit its checksum. @param {string} line @returns {any} */
function parse(line) {
  const text = line.slice(17);
  return line[16] === " " && checksum(text) === line.slice(0, 16) ? JSON.parse(text) : null;
}

/** @param {any} header @param {Line[]} entries @param {number} size @returns {JournalContent} */
function content(header, entries, size) {
  const { company, epoch, outage, began_at, last_contact, tokens } = header;
  /** @type {JournalContent} */
  const found = {
    header: { company, epoch, outage, began_at, last_contact, tokens: [...tokens] },
    changes: new Map(),
    written: new Map(),
    base: new Map(),
    creds: null,
    credsBase: null,
    size,
    lines: entries.length,
    newest: entries.at(-1)?.at ?? began_at,
  };
  for (const line of entries) {
    if (line.token) found.header.tokens.push(line.token);
    if (line.creds !== undefined) found.creds = line.creds;
    if (line.creds_base !== undefined) found.credsBase ??= line.creds_base;
    for (const [type, id, text, base] of line.changes ?? []) {
      const name = `${type}\0${id}`;
      found.changes.set(name, { type, id, text });
      if (base !== undefined && !found.base.has(name)) found.base.set(name, base);
      const digests = found.written.get(name) ?? new Set();
      found.written.set(name, digests.add(digestOf(text)));
    }
  }
  return found;
}

/** Stands for a canonical text in a journal; "" for "nothing". @param {string | null} text */
export const digestOf = (text) => (text === null ? "" : checksum(text));

/** @param {string} path @param {string} reason @param {unknown} [cause] */
const refused = (path, reason, cause) =>
  new CopyRefused(`journal ${path} ${reason}`, {
    hint: "it is not replayed; keep it for whoever finds out what happened, and look whether the session decrypts",
    cause,
  });
