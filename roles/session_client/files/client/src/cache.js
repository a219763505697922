// SPDX-License-Identifier: BSD-2-Clause
// All of a session in one file, so that an application that is started while the database is away finds it. It exists only
// while it is exactly what the session is: during an outage together with the journal, and after an orderly end. The
// format is in docs/formats.md.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

import { replaceFile } from "./disk.js";
import { CopyRefused, codeOf } from "./errors.js";
import { Memory } from "./memory.js";

const FORMAT = "baileys-resilience/client-cache";
const VERSION = 1;
/** Clocks of a host are set by a second or two; more is a clock that was set back. */
const CLOCK_STEP_MS = 5000;
const NAME_LENGTH = 32;

/**
 * `outage` is that of the journal that belongs to it; null after an orderly end. `next`: the name of the outage of whoever
 * starts from this file without a database. A journal of that name goes on from it as well: its process may end before
 * it has replaced the file.
 * @typedef {{company: string, epoch: number, outage: string | null, last_contact: string, tokens: string[]}} Header
 * @typedef {Header & {next: string}} FoundHeader
 */

/** @param {string} body */
const checksum = (body) => createHash("sha256").update(body).digest("hex");

/** @param {string} path @param {Header} header @param {Memory} memory */
export async function writeCache(path, header, memory) {
  if (memory.undecodable.size) {
    // Whoever starts from it would take those keys for keys that do not exist.
    throw new CopyRefused(`cache ${path} is not written: ${memory.undecodable.size} stored keys are no keys`, {
      hint: "repair those rows from the mirror or a backup",
    });
  }
  await replaceFile(path, inOneFile(FORMAT, header, memory).content);
}

/** A whole session: a header with the number of keys and the checksum of the rest, then creds, then a line a key.
 * @param {string} format @param {object} header @param {Memory} memory */
export function inOneFile(format, header, memory) {
  const lines = [JSON.stringify(["creds", "", memory.creds])];
  for (const entry of memory.entries()) lines.push(JSON.stringify(entry));
  const body = `${lines.join("\n")}\n`;
  const sha256 = checksum(body);
  const first = { format, version: VERSION, ...header, keys: memory.size, sha256 };
  return { content: `${JSON.stringify(first)}\n${body}`, sha256 };
}

/**
 * Reads a cache; null when there is none. Throws CopyRefused with the reason when it must not be used.
 * @param {string} path @param {string} company
 * @param {{now: number, ttlMs: number}} limits `now` in milliseconds since 1970; older than `ttlMs` is refused
 * @returns {Promise<{header: FoundHeader, memory: Memory} | null>}
 */
export async function readCache(path, company, { now, ttlMs }) {
  let text;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw refused(path, `cannot be read: ${codeOf(error)}`, error);
  }
  const end = text.indexOf("\n") + 1;
  const header = headerOf(path, text.slice(0, end));
  if (header.company !== company) throw refused(path, `is of company ${header.company}, not of ${company}`);
  const body = text.slice(end);
  if (checksum(body) !== header.sha256) throw refused(path, "was cut off or changed after it was written");
  const age = now - Date.parse(header.last_contact);
  if (age > ttlMs) throw refused(path, `is ${Math.round(age / 1000)} s old, and ${Math.round(ttlMs / 1000)} s is the limit`);
  if (!(age > -CLOCK_STEP_MS)) {
    throw refused(path, `is of ${header.last_contact}, which is still to come: the clock was set back, so its age is unknown`);
  }
  return { header: pick(header), memory: memoryOf(path, body) };
}

/** @param {string} path @param {string} line */
function headerOf(path, line) {
  let header;
  try {
    header = JSON.parse(line);
  } catch {
    throw refused(path, "has no header");
  }
  if (header?.format !== FORMAT || header.version !== VERSION) throw refused(path, `is not a ${FORMAT} of version ${VERSION}`);
  return header;
}

/** @param {any} header @returns {FoundHeader} */
function pick({ company, epoch, outage, last_contact, tokens, sha256 }) {
  const next = checksum(`${last_contact} ${sha256}`).slice(0, NAME_LENGTH);
  return { company, epoch, outage, last_contact, tokens, next };
}

/** @param {string} path @param {string} body */
function memoryOf(path, body) {
  const memory = new Memory();
  for (const line of body.split("\n").slice(0, -1)) {
    const [type, id, text] = parsed(path, line);
    if (type === "creds" && id === "") memory.creds = text;
    else memory.load(type, id, text);
  }
  if (memory.creds === null || memory.undecodable.size) throw refused(path, "holds no whole session");
  return memory;
}

/** What JSON.parse says quotes the line. @param {string} path @param {string} line */
function parsed(path, line) {
  try {
    return JSON.parse(line);
  } catch {
    throw refused(path, "holds a line that is no JSON");
  }
}

/** @param {string} path @param {string} reason @param {unknown} [cause] */
const refused = (path, reason, cause) =>
  new CopyRefused(`cache ${path} ${reason}`, {
    hint: "the session starts as soon as the database answers; to go on without it, fail over to files",
    cause,
  });
