// SPDX-License-Identifier: GPL-3.0-or-later
// Sessions in files: baileys_sessions/company_<id>/ in the form of Baileys' useMultiFileAuthState.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { useMultiFileAuthState } from "baileys";

const PREFIX = "company_";
/** Longer names first: `sender-key-memory-1` is no `sender-key`. */
const TYPES = [
  "app-state-sync-version",
  "app-state-sync-key",
  "sender-key-memory",
  "identity-key",
  "lid-mapping",
  "device-list",
  "sender-key",
  "session",
  "tctoken",
  "pre-key",
];

export class FileStore {
  /** @param {string} home */
  constructor(home) {
    this.name = "files";
    /** @type {string | null} */
    this.lastError = null;
    this.home = home;
  }

  /** @param {string} company */
  folder(company) {
    return join(this.home, `${PREFIX}${company}`);
  }

  async companies() {
    const entries = await readdir(this.home, { withFileTypes: true });
    const folders = entries.filter((entry) => entry.isDirectory() && entry.name.startsWith(PREFIX));
    return folders.map((entry) => entry.name.slice(PREFIX.length)).sort();
  }

  /** Baileys makes a new identity out of a missing or broken creds.json, silently. So it is read here first.
   * @param {string} company */
  async load(company) {
    const path = join(this.folder(company), "creds.json");
    const creds = await readFile(path, "utf8")
      .then(JSON.parse)
      .catch((error) => {
        throw new Error(`${path}: ${error.message}`);
      });
    if (!creds?.me?.id || !creds.noiseKey || !creds.signedIdentityKey)
      throw new Error(`${path} is not a paired session`);
    const { state, saveCreds } = await useMultiFileAuthState(this.folder(company));
    if (state.creds.me?.id !== creds.me.id) throw new Error(`${path} changed while it was read`);
    return { creds: state.creds, keys: state.keys, saveCreds };
  }

  /** Ids by type. What stands for `/` and `:` in a file's name stays so: Baileys replaces both in what it is asked for.
   * @param {string} company */
  async keyNames(company) {
    /** @type {Map<string, string[]>} */
    const names = new Map();
    for (const file of await readdir(this.folder(company))) {
      const type = TYPES.find((candidate) => file.startsWith(`${candidate}-`) && file.endsWith(".json"));
      if (type) names.set(type, [...(names.get(type) ?? []), file.slice(type.length + 1, -".json".length)]);
    }
    return names;
  }

  async close() {}
}

/** @param {{sessions: string}} config */
export const openStore = ({ sessions }) => new FileStore(sessions);
