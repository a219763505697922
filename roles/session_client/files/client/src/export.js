// SPDX-License-Identifier: BSD-2-Clause
// All of a session as `useMultiFileAuthState` reads it, from memory, with the manifest of docs/formats.md. It goes into one
// configured place only: whoever may ask for it must not be able to say where it goes.
import { createHash } from "node:crypto";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";

import { within } from "./directory.js";
import { createPrivate, inBatches } from "./disk.js";
import { FilesFailed, SessionClientError, codeOf } from "./errors.js";
import { CREDS_FILE, MANIFEST_FILE, fileName } from "./names.js";

/** @typedef {import("./directory.js").Directory} Directory */

/** @param {string} content */
const sha256 = (content) => createHash("sha256").update(content).digest("hex");

/**
 * Writes the session beside its place and puts it there when it is whole and durable.
 * @param {import("./session.js").Session} session @param {string} home
 * @returns {Promise<{directory: string, keys: number, counts: Record<string, number>, manifest_sha256: string, snapshot_at: string}>}
 */
export async function exportSession(session, home) {
  const { company, memory } = session;
  if (memory.undecodable.size) {
    throw new SessionClientError(`company ${company}: ${memory.undecodable.size} stored keys are no keys, so no whole copy can be made`, {
      company,
      hint: "repair those rows from the mirror or a backup",
    });
  }
  if (session.fileStore?.unnamed) {
    throw new SessionClientError(`company ${company}: ${session.fileStore.unnamed} files start with no known type of key, so no whole copy can be made`, {
      company,
      hint: `remove what is not Baileys' from ${session.fileStore.directory}, or use a version that knows the type`,
    });
  }
  // One moment: nothing is awaited while memory is read.
  const moment = new Date().toISOString();
  const counts = memory.counts();
  const keys = memory.size;
  const files = [{ type: "creds", id: "", name: CREDS_FILE, content: memory.creds ?? "" }];
  for (const [type, id, content] of memory.entries()) files.push({ type, id, name: fileName(type, id), content });
  refuseCollisions(company, files);
  const name = `company_${encodeURIComponent(company)}`;
  const manifest = manifestOf(session, files, moment);
  try {
    await mkdir(home, { recursive: true, mode: 0o700 });
    await within(home, (place) => write(place, name, [...files, { name: MANIFEST_FILE, content: manifest.text }]));
  } catch (error) {
    throw new FilesFailed(`company ${company}: its export failed (${codeOf(error)})`, {
      company,
      hint: `look at ${home}: is there space, does it belong to the application's user, and is neither it nor ${name} in it a link?`,
      cause: error,
    });
  }
  return { directory: join(home, name), keys, counts, manifest_sha256: manifest.sha256, snapshot_at: moment };
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
    await home.sync();
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
