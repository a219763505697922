// SPDX-License-Identifier: BSD-2-Clause
// All of a session, from memory: as the files that `useMultiFileAuthState` reads, with the manifest of docs/formats.md, or in one
// file for a failover, which makes those files itself. It goes into one configured place only: whoever may ask for it must not
// be able to say where it goes.
import { createHash } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";

import { inOneFile } from "./cache.js";
import { within } from "./directory.js";
import { createPrivate, inBatches, removeIfThere } from "./disk.js";
import { FilesFailed, SessionClientError, codeOf } from "./errors.js";
import { CREDS_FILE, MANIFEST_FILE, fileName } from "./names.js";

/** @typedef {import("./directory.js").Directory} Directory */
/** @typedef {"directory" | "file"} Form */
/** @typedef {{keys: number, counts: Record<string, number>, snapshot_at: string}} Held what a copy holds, and of when it is */

const COPY_FORMAT = "baileys-resilience/client-copy";
/** @type {Record<Form, string>} */
export const FORMS = { directory: "", file: ".copy" };

/** @param {string} content */
const sha256 = (content) => createHash("sha256").update(content).digest("hex");

/**
 * Writes the session beside its place and puts it there when it is whole and durable. The other form of it goes.
 * @param {import("./session.js").Session} session @param {string} home @param {Form} [form]
 * @returns {Promise<Held & ({directory: string, manifest_sha256: string} | {file: string, sha256: string})>}
 */
export async function exportSession(session, home, form = "directory") {
  refuseUnwhole(session);
  const name = `company_${encodeURIComponent(session.company)}`;
  // One moment: nothing is awaited while memory is read.
  const held = { keys: session.memory.size, counts: session.memory.counts(), snapshot_at: new Date().toISOString() };
  const { copy, said } = (form === "file" ? asFile : asDirectory)(session, held);
  await writeInto(home, session.company, async (place) => {
    await removeUnfinished(place, name);
    await copy(place, name + FORMS[form]);
    if (form === "file") await place.removeDirectory(name);
    else await removeIfThere(place.at(name + FORMS.file));
    await place.sync();
  });
  return { ...said(join(home, name + FORMS[form])), ...held };
}

/** @param {import("./session.js").Session} session */
function refuseUnwhole({ company, memory, fileStore }) {
  if (memory.undecodable.size) {
    throw new SessionClientError(`company ${company}: ${memory.undecodable.size} stored keys are no keys, so no whole copy can be made`, {
      company,
      hint: "repair those rows from the mirror or a backup",
    });
  }
  if (fileStore?.unnamed) {
    throw new SessionClientError(`company ${company}: ${fileStore.unnamed} files start with no known type of key, so no whole copy can be made`, {
      company,
      hint: `remove what is not Baileys' from ${fileStore.directory}, or use a version that knows the type`,
    });
  }
}

/** @typedef {(place: Directory, name: string) => Promise<void>} Copy writes it */

/** @param {import("./session.js").Session} session @param {Held} held */
function asDirectory(session, held) {
  const { company, memory } = session;
  const files = [{ type: "creds", id: "", name: CREDS_FILE, content: memory.creds ?? "" }];
  for (const [type, id, content] of memory.entries()) files.push({ type, id, name: fileName(type, id), content });
  refuseCollisions(company, files);
  const manifest = manifestOf(session, files, held.snapshot_at);
  /** @type {Copy} */
  const copy = (place, name) => write(place, name, [...files, { name: MANIFEST_FILE, content: manifest.text }]);
  return { copy, said: (/** @type {string} */ directory) => ({ directory, manifest_sha256: manifest.sha256 }) };
}

/** Making a file takes as long as everything else that is done with it, and a session is more than a thousand.
 * @param {import("./session.js").Session} session @param {Held} held */
function asFile({ company, epoch, memory }, { snapshot_at }) {
  const { content, sha256 } = inOneFile(COPY_FORMAT, { company, epoch, snapshot_at }, memory);
  /** @type {Copy} */
  const copy = async (place, name) => {
    const staged = `${name}.${process.pid}.new`;
    await removeIfThere(place.at(staged));
    try {
      await writeChecked(place.at(staged), content);
      await rename(place.at(staged), place.at(name));
    } catch (error) {
      await removeIfThere(place.at(staged)).catch(() => undefined); // it is the first error that tells
      throw error;
    }
  };
  return { copy, said: (/** @type {string} */ file) => ({ file, sha256 }) };
}

/** @param {string} home @param {string} company @param {(place: Directory) => Promise<void>} work */
async function writeInto(home, company, work) {
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await within(home, work);
  } catch (error) {
    throw new FilesFailed(`company ${company}: its export failed (${codeOf(error)})`, {
      company,
      hint: `look at ${home}: is there space, does it belong to the application's user, and is neither it nor what is in it of this company a link?`,
      cause: error,
    });
  }
}

/** What a process left that was killed while it wrote: nobody else would remove it. @param {Directory} place @param {string} name */
async function removeUnfinished(place, name) {
  for (const form of Object.values(FORMS)) {
    const [begin, end] = [`${name}${form}.`, ".new"];
    for (const found of await place.names()) {
      if (!found.startsWith(begin) || !found.endsWith(end) || !/^\d+$/.test(found.slice(begin.length, -end.length))) continue;
      if (form) await removeIfThere(place.at(found));
      else await place.removeDirectory(found);
    }
  }
}

/** @param {Directory} home @param {string} name @param {{name: string, content: string}[]} files */
async function write(home, name, files) {
  const staged = `${name}.${process.pid}.new`;
  await home.removeDirectory(staged);
  await mkdir(home.at(staged), { mode: 0o700 });
  try {
    await within(home.at(staged), async (place) => {
      await inBatches(files, (file) => writeChecked(place.at(file.name), file.content));
      await place.sync();
    });
    await home.removeDirectory(name);
    await rename(home.at(staged), home.at(name));
  } catch (error) {
    await home.removeDirectory(staged).catch(() => undefined); // it is the first error that tells
    throw error;
  }
}

/** Durable, and read back through the descriptor that wrote it. @param {string} path @param {string} content */
async function writeChecked(path, content) {
  const handle = await createPrivate(path);
  try {
    await handle.writeFile(content);
    await handle.sync();
    const expected = Buffer.from(content);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(expected.length + 1), 0, expected.length + 1, 0);
    if (!buffer.subarray(0, bytesRead).equals(expected)) throw Object.assign(new Error("a file is not what was written to it"), { code: "EIO" });
  } finally {
    await handle.close();
  }
}

/** @param {string} company @param {{name: string, type: string}[]} files */
function refuseCollisions(company, files) {
  const seen = new Set();
  for (const { name, type } of files) {
    if (seen.has(name)) {
      throw new SessionClientError(`company ${company}: two keys of type ${type} have one file name`, {
        company,
        hint: "one of the two rows is not a key of Baileys: delete it",
      });
    }
    seen.add(name);
  }
}

/** @param {import("./session.js").Session} session @param {{type: string, id: string, name: string, content: string}[]} files
 * @param {string} moment */
function manifestOf(session, files, moment) {
  const { company, epoch, memory } = session;
  const source = { kind: "client", detail: session.service.identity, snapshot_at: moment, lsn: null, epoch };
  const lines = [JSON.stringify({ format: "baileys-resilience/manifest", version: 1, company, exported_at: moment, source })];
  let bytes = 0;
  for (const { type, id, name, content } of files) {
    const size = Buffer.byteLength(content);
    bytes += size;
    lines.push(ascii(JSON.stringify([type, id, name, sha256(content), size, null])));
  }
  const body = `${lines.join("\n")}\n`;
  const digest = sha256(body);
  const end = { end: true, counts: memory.counts(), keys: memory.size, bytes, sha256: digest };
  return { text: `${body}${JSON.stringify(end)}\n`, sha256: digest };
}

/** @param {string} text */
const ascii = (text) => text.replaceAll(/[^\x00-\x7f]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
