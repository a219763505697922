// SPDX-License-Identifier: BSD-2-Clause
// One code for both stores: the environment says where the sessions live.
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { findBaileys } from "./baileys.js";
import { credsOf } from "./creds.js";
import { Misconfigured, UnknownCompany } from "./errors.js";

/**
 * The file form, without its trap: Baileys makes a new identity out of a creds.json that is missing or broken, so it is
 * looked at first.
 * @param {string} company @param {{sessionsDir?: string, allowNewCompany?: boolean, baileys?: any}} options
 * @param {NodeJS.ProcessEnv} env
 */
export async function useFiles(company, options, env) {
  const home = options.sessionsDir ?? env.WA_SESSIONS_DIR ?? join(process.cwd(), "baileys_sessions");
  if (!/^[^/]+$/.test(company) || company === "." || company === "..") {
    throw new Misconfigured(`"${company}" is no id of a company`, { hint: "an id is not empty, and no path" });
  }
  const folder = join(home, `company_${company}`);
  const path = join(folder, "creds.json");
  const text = await readFile(path, "utf8").catch((error) => {
    if (error.code !== "ENOENT") throw error;
    return null;
  });
  if (text === null && !options.allowNewCompany) {
    throw new UnknownCompany(`company ${company}: there is no ${path}`, {
      company,
      hint: "check the id and sessionsDir (WA_SESSIONS_DIR); to pair a new device give allowNewCompany: true",
    });
  }
  const creds = text === null ? null : credsOf(company, text);
  const { module } = await findBaileys(options.baileys);
  const { state, saveCreds } = await module.useMultiFileAuthState(folder);
  if (creds && state.creds.me?.id !== creds.me?.id) {
    throw new Misconfigured(`company ${company}: ${path} changed while it was read`, { hint: "two processes have this session" });
  }
  return {
    state,
    saveCreds,
    /** @param {any} _socket */
    attach: (_socket) => undefined,
    status: () => ({ company, state: "files", user: state.creds.me?.id ?? null, directory: folder }),
    close: async () => undefined,
  };
}
