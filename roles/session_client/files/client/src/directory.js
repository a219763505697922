// SPDX-License-Identifier: BSD-2-Clause
// A directory that is held open: what is done in it is done in the one that was opened, whatever lies at its path by now. Neither
// it nor a file in it is reached through a link.
import { constants } from "node:fs";
import { lstat, open, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";

import { removeIfThere } from "./disk.js";

const OPEN = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** A pipe in the place of a file would keep us waiting. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export class Directory {
  /** @param {string} path @param {import("node:fs/promises").FileHandle} handle */
  constructor(path, handle) {
    this.path = path;
    this.handle = handle;
  }

  /** The caller closes it. A link is an error (ENOTDIR). @param {string} path */
  static async open(path) {
    return new Directory(path, await open(path, OPEN));
  }

  /** Where a name in it is. Node.js has no openat(2), but Linux has a path for each descriptor. @param {string} name */
  at(name) {
    return join(process.platform === "linux" ? `/proc/self/fd/${this.handle.fd}` : this.path, name);
  }

  names() {
    return readdir(this.at("/"));
  }

  /** The content of a file in it. @param {string} name */
  async read(name) {
    const handle = await open(this.at(name), READ);
    try {
      if (!(await handle.stat()).isFile()) throw Object.assign(new Error("it is no regular file"), { code: "EFTYPE" });
      return await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  }

  /** Removes a directory of files in it, whose files are ours; none is fine. @param {string} name */
  async removeDirectory(name) {
    const found = await lstat(this.at(name)).catch((error) => {
      if (error.code !== "ENOENT") throw error;
    });
    if (!found) return;
    await within(this.at(name), async (below) => {
      for (const file of await below.names()) await removeIfThere(below.at(file));
    });
    await rmdir(this.at(name));
  }

  /** A rename or removal in it lasts only then. */
  sync() {
    return this.handle.sync();
  }

  close() {
    return this.handle.close();
  }
}

/** @template T @param {string} path @param {(directory: Directory) => Promise<T>} work @returns {Promise<T>} */
export async function within(path, work) {
  const directory = await Directory.open(path);
  try {
    return await work(directory);
  } finally {
    await directory.close();
  }
}
