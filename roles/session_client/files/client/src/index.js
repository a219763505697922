// SPDX-License-Identifier: BSD-2-Clause
// Auth state for Baileys in PostgreSQL that rides out minutes without its database.
import { resolve } from "node:path";

import { Misconfigured } from "./errors.js";
import { Service } from "./service.js";

export * from "./errors.js";
export { Service as SessionService } from "./service.js";

/** @type {Promise<Service> | null} */
let shared = null;

/**
 * A drop-in for `useMultiFileAuthState`. All companies of a process share one pool and one connection for their locks, made
 * with the options of the first call; to have them apart, use a {@link SessionService} of your own.
 * @param {string} companyId
 * @param {import("./settings.js").Options & {service?: Service}} [options]
 */
export async function usePostgresAuthState(companyId, options = {}) {
  const service = options.service ?? (await (shared ??= Service.create(options).catch(forget)));
  return authStateOf(await service.open(String(companyId)));
}

/** @param {unknown} error @returns {never} */
function forget(error) {
  shared = null;
  throw error;
}

/** @param {import("./session.js").Session} session */
function authStateOf(session) {
  return {
    state: {
      creds: session.creds,
      keys: {
        /** @param {string} type @param {string[]} ids */
        get: (type, ids) => session.read(type, ids),
        /** @param {Record<string, Record<string, any> | undefined>} data */
        set: (data) => session.set(data),
      },
    },
    saveCreds: () => session.saveCreds(),
    /** Tells the session its socket, so that it can be ended where going on would lose something. @param {any} socket */
    attach: (socket) => session.attach(socket),
    status: () => session.status(),
    close: () => session.close(),
  };
}

/** Ends all sessions that {@link usePostgresAuthState} opened without a service of their own. */
export async function closeAll() {
  const service = await shared;
  shared = null;
  await service?.close();
}

/**
 * PostgreSQL or files, as the environment says (`USE_DATABASE_AUTH_STATE`), so that one deployed code serves both, and a session can
 * move between them while it runs.
 * @param {string} companyId
 * @param {import("./settings.js").Options & {service?: Service}} [options]
 * @param {NodeJS.ProcessEnv} [env]
 */
export async function useResilientAuthState(companyId, options = {}, env = process.env) {
  const store = storeOf(env);
  const service = options.service ?? (await (shared ??= Service.create(options, env).catch(forget)));
  if (options.sessionsDir && resolve(options.sessionsDir) !== service.settings.sessionsDir) {
    throw new Misconfigured(`sessionsDir is ${options.sessionsDir}, and that of the service is ${service.settings.sessionsDir}`, {
      hint: "one place a service: give it to SessionService.create, or in the first call",
    });
  }
  return authStateOf(await service.open(String(companyId), store));
}

/** Where the environment says that sessions live. @param {NodeJS.ProcessEnv} [env] @returns {"postgres" | "files"} */
export function storeOf(env = process.env) {
  const flag = env.USE_DATABASE_AUTH_STATE;
  if (flag === "true") return "postgres";
  if (flag === "false") return "files";
  throw new Misconfigured(`USE_DATABASE_AUTH_STATE is ${flag ?? "not set"}`, {
    hint: "true for PostgreSQL, false for files: where the session lives must not be guessed",
  });
}
