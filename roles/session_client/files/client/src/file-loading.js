// SPDX-License-Identifier: BSD-2-Clause
// How a session comes into memory from files. Baileys makes a new identity out of a creds.json that is missing or broken, and
// takes a key file that it cannot read for a key that does not exist; here both stop the start.
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";

import { encode } from "./codec.js";
import { credsOf } from "./creds.js";
import { inBatches } from "./disk.js";
import { FilesFailed, UnknownCompany } from "./errors.js";
import { FileStore, readRegular, removeTemporary, sessionFilesIn } from "./file-store.js";
import { refuseUndecodable } from "./loading.js";
import { Memory } from "./memory.js";
import { CREDS_FILE, MANIFEST_FILE, parseFileName } from "./names.js";
import { Session } from "./session.js";

/** @typedef {import("./service.js").Service} Service */

/** The caller holds the claim of the company. @param {Service} service @param {string} company */
export async function openFiles(service, company) {
  const directory = service.directoryOf(company);
  const { creds, isNew } = await readCreds(service, company, directory);
  const memory = new Memory();
  memory.creds = encode("creds", creds);
  const store = new FileStore(company, directory);
  const epoch = isNew ? 0 : await readKeys(service, store, memory);
  refuseUndecodable(service, company, memory);
  const loaded = { memory, creds, epoch, tokens: [], fenced: false, isNew };
  return new Session(company, service, loaded, store);
}

/** @param {Service} service @param {string} company @param {string} directory */
async function readCreds(service, company, directory) {
  const path = join(directory, CREDS_FILE);
  const text = await read(company, path);
  if (text !== null) return { creds: credsOf(company, text), isNew: false };
  if (!service.settings.allowNewCompany) {
    throw new UnknownCompany(`company ${company}: there is no ${path}`, {
      company,
      hint: "check the id and sessionsDir (WA_SESSIONS_DIR); to pair a new device give allowNewCompany: true",
    });
  }
  await mkdir(directory, { recursive: true, mode: 0o700 });
  return { creds: service.baileys.initAuthCreds(), isNew: true };
}

/** Null when there is none. @param {string} company @param {string} path */
async function read(company, path) {
  try {
    return await readRegular(path);
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw new FilesFailed(`company ${company}: a file of its session cannot be read: ${error.code ?? error.message}`, {
      company,
      hint: `every file in ${dirname(path)} must be a regular one that the application's user can read`,
      cause: error,
    });
  }
}

/** @param {Service} service @param {FileStore} store @param {Memory} memory @returns {Promise<number>} the epoch of the copy that
 * the files were made from */
async function readKeys(service, store, memory) {
  const { directory } = store;
  await removeTemporary(directory);
  const { epoch, keys } = await readManifest(service, store);
  const names = (await sessionFilesIn(directory)).filter((name) => name !== CREDS_FILE);
  await inBatches(names, async (name) => {
    const text = (await read(store.company, join(directory, name))) ?? "";
    const known = keys.get(name);
    const key = known ?? parseFileName(name);
    if (!known) store.guesses.set(name, key ?? { type: null, id: null, text });
    if (key) memory.load(key.type, key.id, text);
  });
  return epoch;
}

/** What an export said of its files. Without it, or when it cannot be read, names tell. @param {Service} service
 * @param {FileStore} store */
async function readManifest(service, { company, directory }) {
  /** @type {Map<string, {type: string, id: string}>} */
  const keys = new Map();
  try {
    const [header, ...entries] = (await readRegular(join(directory, MANIFEST_FILE))).trim().split("\n").map((line) => JSON.parse(line));
    if (header.company !== company) throw new Error(`it is of company ${header.company}`);
    for (const entry of entries) if (Array.isArray(entry) && entry[0] !== "creds") keys.set(entry[2], { type: entry[0], id: entry[1] });
    return { epoch: Number(header.source?.epoch ?? 0), keys };
  } catch (error) {
    if (error.code !== "ENOENT") service.settings.logger.warn({ company, error: error.message }, "the manifest cannot be read: names tell what the files are");
    return { epoch: 0, keys: new Map() };
  }
}
