// SPDX-License-Identifier: BSD-2-Clause
// Durable files that nobody else may read.
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";

import { Misconfigured, codeOf } from "./errors.js";

const FILE_MODE = 0o600;
const NEW = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Makes the directory of journals and caches, for its owner alone. @param {string} dir */
export async function makePrivateDirectory(dir) {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chmod(dir, 0o700);
  } catch (error) {
    throw new Misconfigured(`the directory for journal and cache cannot be used: ${codeOf(error)}`, {
      hint: `give the user of the application the directory ${dir}, or set dir (WA_SESSION_DIR) to another one`,
      cause: error,
    });
  }
}

/** @param {string} path */
export const createPrivate = (path) => open(path, NEW, FILE_MODE);

/** A rename or removal lasts only once its directory is synced. @param {string} dir */
export async function syncDirectory(dir) {
  const handle = await open(dir, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a file: after a crash there is the old content or the new one. @param {string} path @param {string} content */
export async function replaceFile(path, content) {
  const temporary = `${path}.new`;
  await removeIfThere(temporary);
  const handle = await createPrivate(temporary);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/** @param {string} path @returns {Promise<boolean>} whether it was there */
export async function removeIfThere(path) {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (error.code === "ENOENT" || (await isAbsent(path))) return false; // a read-only file system refuses first, and looks afterwards
    throw error;
  }
}

/** @param {string} path */
const isAbsent = (path) => lstat(path).then(() => false, (error) => error.code === "ENOENT");

/** Puts a copy that must not be used out of the way, for a human to look at. @param {string} path @param {Date} now */
export async function setAside(path, now) {
  const kept = `${path}.refused-${now.toISOString().replaceAll(/[:.]/g, "-")}`;
  await rename(path, kept);
  await syncDirectory(dirname(path));
  return kept;
}

/** Work that is done at the same time: most of it is waiting for the disk. */
const AT_ONCE = 64;

/** When it throws, nothing is under way any more. @template T @param {T[]} items @param {(item: T) => Promise<unknown>} work */
export async function inBatches(items, work) {
  for (let at = 0; at < items.length; at += AT_ONCE) {
    const done = await Promise.allSettled(items.slice(at, at + AT_ONCE).map(work));
    for (const each of done) if (each.status === "rejected") throw each.reason;
  }
}
