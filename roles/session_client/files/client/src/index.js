// SPDX-License-Identifier: BSD-2-Clause
// Auth state for Baileys in PostgreSQL that rides out minutes without its database.
import { Misconfigured } from "./errors.js";
import { useFiles } from "./resilient.js";
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
        get: async (type, ids) => session.get(type, ids),
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
 * PostgreSQL or files, as the environment says (`USE_DATABASE_AUTH_STATE`), so that one deployed code serves both.
 * @param {string} companyId
 * @param {import("./settings.js").Options & {service?: Service, sessionsDir?: string}} [options]
 * @param {NodeJS.ProcessEnv} [env]
 */
export async function useResilientAuthState(companyId, options = {}, env = process.env) {
  const flag = env.USE_DATABASE_AUTH_STATE;
  if (flag === "true") return usePostgresAuthState(companyId, options);
  if (flag === "false") return useFiles(String(companyId), options, env);
  throw new Misconfigured(`USE_DATABASE_AUTH_STATE is ${flag ?? "not set"}`, {
    hint: "true for PostgreSQL, false for files: where the session lives must not be guessed",
  });
}
