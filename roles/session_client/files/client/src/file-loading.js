// SPDX-License-Identifier: BSD-2-Clause
// How a session comes into memory from files. Baileys makes a new identity out of a creds.json that is missing or broken, and
// takes a key file that it cannot read for a key that does not exist; here both stop the start.
import { mkdir, realpath } from "node:fs/promises";
import { join } from "node:path";

import { encode } from "./codec.js";
import { credsOf } from "./creds.js";
import { Directory } from "./directory.js";
import { inBatches } from "./disk.js";
import { FilesFailed, SessionClientError, UnknownCompany, codeOf } from "./errors.js";
import { FileStore, removeTemporary, sessionFilesIn } from "./file-store.js";
import { refuseUndecodable } from "./loading.js";
import { Memory } from "./memory.js";
import { CREDS_FILE, MANIFEST_FILE, parseFileName } from "./names.js";
import { Session } from "./session.js";

/** @typedef {import("./service.js").Service} Service */

/** The caller holds the claim of the company. @param {Service} service @param {string} company */
export async function openFiles(service, company) {
  const { place, isMade } = await placeOf(service, company, service.directoryOf(company));
  try {
    const { creds, isNew } = await readCreds(service, company, place, isMade);
    const memory = new Memory();
    memory.creds = encode("creds", creds);
    const store = new FileStore(company, place.path);
    const epoch = isNew ? 0 : await readKeys(service, store, place, memory);
    refuseUndecodable(service, company, memory);
    const loaded = { memory, creds, epoch, tokens: [], fenced: false, isNew };
    return new Session(company, service, loaded, store);
  } catch (error) {
    throw failure(company, place.path, error);
  } finally {
    await place.close();
  }
}

/** Whoever runs the application may have put its directory elsewhere and a link here. That is followed now, and no link later.
 * @param {Service} service @param {string} company @param {string} directory */
async function placeOf(service, company, directory) {
  try {
    return { place: await Directory.open(await realpath(directory)), isMade: false };
  } catch (error) {
    if (error.code !== "ENOENT") throw failure(company, directory, error);
    if (!service.settings.allowNewCompany) throw unknown(company, directory);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return { place: await Directory.open(directory), isMade: true };
  }
}

/** @param {Service} service @param {string} company @param {Directory} place @param {boolean} isMade */
async function readCreds(service, company, place, isMade) {
  const text = isMade ? null : await place.read(CREDS_FILE).catch(noneIfAbsent);
  if (text !== null) return { creds: credsOf(company, text), isNew: false };
  if (!service.settings.allowNewCompany) throw unknown(company, place.path);
  return { creds: service.baileys.initAuthCreds(), isNew: true };
}

/** @param {any} error */
function noneIfAbsent(error) {
  if (error.code === "ENOENT") return null;
  throw error;
}

/** @param {string} company @param {string} directory */
const unknown = (company, directory) =>
  new UnknownCompany(`company ${company}: there is no ${join(directory, CREDS_FILE)}`, {
    company,
    hint: "check the id and sessionsDir (WA_SESSIONS_DIR); to pair a new device give allowNewCompany: true",
  });

/** @param {string} company @param {string} directory @param {any} error */
function failure(company, directory, error) {
  if (error instanceof SessionClientError) return error;
  return new FilesFailed(`company ${company}: a file of its session cannot be read: ${codeOf(error)}`, {
    company,
    hint: `every file in ${directory} must be a regular one that the application's user can read`,
    cause: error,
  });
}

/** @param {Service} service @param {FileStore} store @param {Directory} place @param {Memory} memory
 * @returns {Promise<number>} the epoch of the copy that the files were made from */
async function readKeys(service, store, place, memory) {
  await removeTemporary(place);
  const { epoch, keys } = await readManifest(service, store.company, place);
  const names = (await sessionFilesIn(place)).filter((name) => name !== CREDS_FILE);
  await inBatches(names, async (name) => {
    const text = (await place.read(name).catch(noneIfAbsent)) ?? "";
    const known = keys.get(name);
    const key = known ?? parseFileName(name);
    if (!known) store.guesses.set(name, key ?? { type: null, id: null, text });
    if (key) memory.load(key.type, key.id, text);
  });
  return epoch;
}

/** What an export said of its files. Without it, or when it cannot be read, names tell. @param {Service} service
 * @param {string} company @param {Directory} place */
async function readManifest(service, company, place) {
  /** @type {Map<string, {type: string, id: string}>} */
  const keys = new Map();
  try {
    const [header, ...entries] = (await place.read(MANIFEST_FILE)).trim().split("\n").map((line) => JSON.parse(line));
    if (header.company !== company) throw new Error(`it is of company ${header.company}`);
    for (const entry of entries) if (Array.isArray(entry) && entry[0] !== "creds") keys.set(entry[2], { type: entry[0], id: entry[1] });
    return { epoch: Number(header.source?.epoch ?? 0), keys };
  } catch (error) {
    // Not in its own words: what JSON.parse says quotes a line, and a line is an id.
    if (error.code !== "ENOENT") service.settings.logger.warn({ company, error: error.code ?? error.name }, "the manifest cannot be read: names tell what the files are");
    return { epoch: 0, keys: new Map() };
  }
}
