// SPDX-License-Identifier: BSD-2-Clause
// Options, and the environment variables that they come from where they are not given.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

import { Misconfigured, codeOf } from "./errors.js";
import { tablesOf } from "./tables.js";

const ON_OUTAGE = ["journal", "memory", "read-only"];
const ON_EXPIRY = ["continue", "stop"];

/**
 * @typedef {object} Options
 * @property {object} [connection] node-postgres' connection options; POSTGRES_* otherwise
 * @property {object} [directConnection] the same for the one connection that holds the locks, where `connection` leads
 *   through PgBouncer in transaction mode
 * @property {Parameters<typeof tablesOf>[0]} [tables] names of tables and columns
 * @property {string} [dir] directory of journals and caches (WA_SESSION_DIR)
 * @property {"journal" | "memory" | "read-only"} [onOutage] where writes go while the database is away
 * @property {"continue" | "stop"} [onExpiry] what becomes of a session that has run without its database for cacheTtlMs
 * @property {number} [cacheTtlMs] five minutes
 * @property {boolean} [allowNewCompany] the only way in which creds are ever made
 * @property {boolean} [tolerateBadKeys] start although some stored keys are no keys; to ask for one of those is an error
 * @property {number} [poolSize] connections at most
 * @property {number} [connectTimeoutMs]
 * @property {number} [queryTimeoutMs]
 * @property {number} [recoveryIntervalMs] how often the database is asked again while it is away
 * @property {number} [heartbeatMs] how often the connection with the locks is asked whether the database is there
 * @property {number} [journalMaxBytes]
 * @property {number} [maxCompanies] sessions in memory at most, connected ones not counted out; 50
 * @property {number} [maxMemoryBytes] about what their keys may take; 256 MiB
 * @property {boolean} [admin] false: no socket
 * @property {string} [adminSocket] WA_SESSION_SOCKET; `admin.sock` in dir otherwise
 * @property {number} [adminPort] a loopback port beside the socket (WA_SESSION_ADMIN_PORT), with a token
 * @property {string} [adminToken] WA_SESSION_ADMIN_TOKEN
 * @property {string} [sessionsDir] where sessions that live in files are (WA_SESSIONS_DIR); `baileys_sessions` otherwise
 * @property {number} [holdMs] how long writes are held for a move to the other store that is not sealed; 15 s
 * @property {string} [exportDir] where an export goes (WA_SESSION_EXPORT_DIR); without it there is none
 * @property {any} [logger] pino or anything with debug, info, warn and error
 * @property {any} [sentry] the application's own `@sentry/node`
 * @property {any} [baileys] the module, where it is neither `baileys` nor `@whiskeysockets/baileys`
 */

/** @param {Options} options @param {NodeJS.ProcessEnv} env */
export function settingsOf(options = {}, env = process.env) {
  // Where sessions live in files there may be no database.
  const files = env.USE_DATABASE_AUTH_STATE === "false";
  const dir = options.dir ?? env.WA_SESSION_DIR ?? join(process.cwd(), ".wa-session");
  const settings = {
    ...(files && !options.connection ? connectionIfAny(env) : { connection: options.connection ?? connectionOf(env), noDatabase: null }),
    directConnection: options.directConnection ?? directOf(env),
    tables: tablesOf(options.tables),
    dir,
    onOutage: options.onOutage ?? env.WA_SESSION_ON_OUTAGE ?? "journal",
    onExpiry: options.onExpiry ?? env.WA_SESSION_ON_EXPIRY ?? "continue",
    cacheTtlMs: number("cacheTtlMs", options.cacheTtlMs ?? env.WA_SESSION_CACHE_TTL_MS, 300_000),
    allowNewCompany: options.allowNewCompany === true,
    tolerateBadKeys: options.tolerateBadKeys === true,
    poolSize: number("poolSize", options.poolSize ?? env.WA_SESSION_POOL_SIZE, 10),
    connectTimeoutMs: number("connectTimeoutMs", options.connectTimeoutMs, 2000),
    queryTimeoutMs: number("queryTimeoutMs", options.queryTimeoutMs, 2500),
    recoveryIntervalMs: number("recoveryIntervalMs", options.recoveryIntervalMs, 1000),
    heartbeatMs: number("heartbeatMs", options.heartbeatMs, 5000),
    journalMaxBytes: number("journalMaxBytes", options.journalMaxBytes ?? env.WA_SESSION_JOURNAL_MAX_BYTES, 64 * 1024 * 1024),
    maxCompanies: number("maxCompanies", options.maxCompanies ?? env.WA_SESSION_MAX_COMPANIES, 50),
    maxMemoryBytes: number("maxMemoryBytes", options.maxMemoryBytes ?? env.WA_SESSION_MAX_MEMORY_BYTES, 256 * 1024 * 1024),
    admin: options.admin !== false,
    adminSocket: options.adminSocket ?? env.WA_SESSION_SOCKET ?? join(dir, "admin.sock"),
    adminPort: options.adminPort || env.WA_SESSION_ADMIN_PORT ? number("adminPort", options.adminPort ?? env.WA_SESSION_ADMIN_PORT, 0) : 0,
    adminToken: options.adminToken ?? env.WA_SESSION_ADMIN_TOKEN ?? "",
    sessionsDir: resolve(options.sessionsDir ?? env.WA_SESSIONS_DIR ?? "baileys_sessions"),
    holdMs: number("holdMs", options.holdMs, 15_000),
    exportDir: options.exportDir ?? env.WA_SESSION_EXPORT_DIR ?? "",
    logger: options.logger ?? quiet,
    sentry: options.sentry,
  };
  oneOf("onOutage", settings.onOutage, ON_OUTAGE);
  oneOf("onExpiry", settings.onExpiry, ON_EXPIRY);
  return settings;
}

/** @typedef {ReturnType<typeof settingsOf>} Settings */

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** @param {string} name @param {unknown} given @param {number} otherwise */
function number(name, given, otherwise) {
  if (given === undefined || given === "") return otherwise;
  const value = Number(given);
  if (!Number.isFinite(value) || value <= 0) {
    throw new Misconfigured(`${name} is ${given}`, { hint: "give a number above 0" });
  }
  return value;
}

/** @param {string} name @param {string} value @param {string[]} allowed */
function oneOf(name, value, allowed) {
  if (!allowed.includes(value)) throw new Misconfigured(`${name} is ${value}`, { hint: `one of ${allowed.join(", ")}` });
}

/** Without a database: why. @param {NodeJS.ProcessEnv} env @returns {{connection: object, noDatabase: Misconfigured | null}} */
function connectionIfAny(env) {
  try {
    return { connection: connectionOf(env), noDatabase: null };
  } catch (error) {
    return { connection: {}, noDatabase: error };
  }
}

/** As the application has them in `.env`: each a field of its own, so that a password may hold anything.
 * @param {NodeJS.ProcessEnv} env */
export function connectionOf(env) {
  for (const name of ["POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER"]) {
    if (!env[name]) throw new Misconfigured(`${name} is not set`, { hint: "set it in .env, or give options.connection" });
  }
  return {
    host: env.POSTGRES_HOST,
    port: number("POSTGRES_PORT", env.POSTGRES_PORT, 5432),
    database: env.POSTGRES_DB,
    user: env.POSTGRES_USER,
    password: env.POSTGRES_PASSWORD ?? "",
    ssl: tlsOf(env),
  };
}

/** @param {NodeJS.ProcessEnv} env */
function directOf(env) {
  if (!env.WA_SESSION_DIRECT_HOST && !env.WA_SESSION_DIRECT_PORT) return undefined;
  return {
    ...(env.WA_SESSION_DIRECT_HOST ? { host: env.WA_SESSION_DIRECT_HOST } : {}),
    ...(env.WA_SESSION_DIRECT_PORT ? { port: number("WA_SESSION_DIRECT_PORT", env.WA_SESSION_DIRECT_PORT, 5432) } : {}),
  };
}

/** The modes of libpq that do not fall back to an unencrypted connection. @param {NodeJS.ProcessEnv} env */
function tlsOf(env) {
  const mode = env.POSTGRES_SSL_MODE ?? "disable";
  oneOf("POSTGRES_SSL_MODE", mode, ["disable", "require", "verify-ca", "verify-full"]);
  if (mode === "disable") return undefined;
  if (mode === "require") return { rejectUnauthorized: false };
  const ca = env.POSTGRES_SSL_ROOT_CERT ? readCertificate(env.POSTGRES_SSL_ROOT_CERT) : undefined;
  return mode === "verify-ca" ? { ca, checkServerIdentity: () => undefined } : { ca };
}

/** @param {string} path */
function readCertificate(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new Misconfigured(`the root certificate cannot be read: ${codeOf(error)}`, {
      hint: "POSTGRES_SSL_ROOT_CERT is the file that the server's certificate is checked against",
      cause: error,
    });
  }
}
