// SPDX-License-Identifier: BSD-2-Clause
// A session in files, in the names and the form of `useMultiFileAuthState`: each file is its old content or its new one, and
// a write is done when it is on the disk.
import { constants } from "node:fs";
import { access, rename } from "node:fs/promises";

import { within } from "./directory.js";
import { createPrivate, inBatches, removeIfThere } from "./disk.js";
import { FilesFailed, SessionClientError, StoreDiffers, codeOf } from "./errors.js";
import { CREDS_FILE, fileName } from "./names.js";

const TEMPORARY = ".tmp";

/** @typedef {import("./memory.js").Memory} Memory */
/** @typedef {import("./directory.js").Directory} Directory */
/** A file whose type and id are only guessed from its name; `text` where there is not even a guess.
 * @typedef {{type: string, id: string, text?: undefined} | {type: null, id: null, text: string}} Guess */

export class FileStore {
  /** @param {string} company @param {string} directory */
  constructor(company, directory) {
    this.company = company;
    this.directory = directory;
    /** @type {Map<string, Guess>} */
    this.guesses = new Map();
  }

  /** Files of which nobody knows what keys they are. */
  get unnamed() {
    return [...this.guesses.values()].filter(({ type }) => type === null).length;
  }

  /** All of it or, where the disk takes no more, nothing. @param {import("./memory.js").Change[]} changes
   * @param {string | null} creds */
  async write(changes, creds) {
    /** @type {Map<string, string | null>} */
    const files = new Map(changes.map(({ type, id, text }) => [fileName(type, id), text]));
    if (creds !== null) files.set(CREDS_FILE, creds);
    try {
      await within(this.directory, async (place) => {
        await replace(place, [...files].filter(([, text]) => text !== null));
        for (const [name, text] of files) if (text === null) await removeIfThere(place.at(name));
        await place.sync();
      });
    } catch (error) {
      throw new FilesFailed(`company ${this.company}: its files take no writes: ${codeOf(error)}`, {
        company: this.company,
        hint: `look at ${this.directory}: is there space, and does it belong to the application's user?`,
        cause: error,
      });
    }
  }

  /** What Baileys asks for tells what a file is whose name can be read in two ways. @param {Memory} memory
   * @param {string} type @param {string} id */
  learn(memory, type, id) {
    const name = fileName(type, id);
    const guess = this.guesses.get(name);
    if (!guess) return;
    this.guesses.delete(name);
    if (guess.type === type && guess.id === id) return;
    const text = guess.type === null ? guess.text : memory.text(guess.type, guess.id);
    if (guess.type !== null) memory.apply([{ type: guess.type, id: guess.id, text: null }]);
    memory.load(type, id, text);
  }
}

/** @param {Directory} place @param {[string, string | null][]} files */
async function replace(place, files) {
  const temporary = (/** @type {string} */ name) => place.at(`${name}${TEMPORARY}`);
  try {
    await inBatches(files, async ([name, text]) => {
      await removeIfThere(temporary(name));
      await writeDurably(temporary(name), /** @type {string} */ (text));
    });
  } catch (error) {
    for (const [name] of files) await removeIfThere(temporary(name)).catch(() => undefined);
    throw error;
  }
  for (const [name] of files) await rename(temporary(name), place.at(name));
}

/** @param {string} path @param {string} content */
export async function writeDurably(path, content) {
  const handle = await createPrivate(path);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Names of creds and keys in a directory. @param {Directory} place */
export async function sessionFilesIn(place) {
  return (await place.names()).filter((name) => name.endsWith(".json"));
}

/** What a writer that was cut off left. @param {Directory} place */
export async function removeTemporary(place) {
  for (const name of await place.names()) {
    if (name.endsWith(`.json${TEMPORARY}`)) await removeIfThere(place.at(name));
  }
}

/** Throws StoreDiffers unless the directory holds exactly what memory holds, and can be written.
 * @param {string} company @param {string} directory @param {Memory} memory
 * @param {(place: Directory) => Promise<void>} [then] what is done in that very directory once it is so */
export async function compareFiles(company, directory, memory, then) {
  /** @type {Map<string, string>} */
  const expected = new Map([[CREDS_FILE, memory.creds ?? ""]]);
  for (const [type, id, text] of memory.entries()) expected.set(fileName(type, id), text);
  try {
    await within(directory, async (place) => {
      await access(place.at("."), constants.R_OK | constants.W_OK | constants.X_OK);
      await compareEach(company, place, expected);
      await then?.(place);
    });
  } catch (error) {
    if (error instanceof SessionClientError) throw error;
    throw new StoreDiffers(`company ${company}: ${directory} cannot be its store: ${codeOf(error)}`, {
      company,
      hint: "put the export there, a directory and no link, with the application's user as its owner, then commit again; or abort",
      cause: error,
    });
  }
}

/** @param {string} company @param {Directory} place @param {Map<string, string>} expected content by name */
async function compareEach(company, place, expected) {
  const names = await sessionFilesIn(place);
  let differing = 0;
  await inBatches(names, async (name) => {
    const text = expected.get(name);
    if (text !== undefined && (await place.read(name).catch(() => null)) !== text) differing++;
  });
  const extra = names.filter((name) => !expected.has(name)).length;
  const missing = expected.size - (names.length - extra);
  if (!differing && !extra && !missing) return;
  throw new StoreDiffers(`company ${company}: its files are not what memory holds: ${differing} differ, ${missing} are missing, ${extra} are not in memory`, {
    company,
    hint: `put the export of this hold at ${place.path}, whole and unchanged, then commit again; or abort`,
  });
}
