// SPDX-License-Identifier: BSD-2-Clause
// All of a session as `useMultiFileAuthState` reads it, from memory, with the manifest of docs/formats.md. It goes into one
// configured place only: whoever may ask for it must not be able to say where it goes.
import { createHash } from "node:crypto";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { inBatches, syncDirectory } from "./disk.js";
import { SessionClientError } from "./errors.js";
import { writeDurably } from "./file-store.js";
import { CREDS_FILE, MANIFEST_FILE, fileName } from "./names.js";

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
  const files = [{ type: "creds", id: "", name: CREDS_FILE, content: memory.creds ?? "" }];
  for (const [type, id, content] of memory.entries()) files.push({ type, id, name: fileName(type, id), content });
  refuseCollisions(company, files);
  const place = join(home, `company_${encodeURIComponent(company)}`);
  const staged = `${place}.${process.pid}.new`;
  await rm(staged, { recursive: true, force: true });
  await mkdir(home, { recursive: true, mode: 0o700 });
  await mkdir(staged, { mode: 0o700 });
  try {
    await inBatches(files, ({ name, content }) => writeDurably(join(staged, name), content));
    const manifest = manifestOf(session, files, moment);
    await writeDurably(join(staged, MANIFEST_FILE), manifest.text);
    await syncDirectory(staged);
    await rm(place, { recursive: true, force: true });
    await rename(staged, place);
    await syncDirectory(home);
    return { directory: place, keys: memory.size, counts: memory.counts(), manifest_sha256: manifest.sha256, snapshot_at: moment };
  } catch (error) {
    await rm(staged, { recursive: true, force: true });
    throw error;
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
