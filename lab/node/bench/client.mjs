// SPDX-License-Identifier: GPL-3.0-or-later
// The session client and what it is measured beside, in one warm process: node client.mjs DIR, PG* in the environment.
// Reads one JSON command a line, answers each with one ({"seconds": n} of one operation, or figures).
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { Curve, makeCacheableSignalKeyStore } from "baileys";
import pg from "pg";
import pino from "pino";

import { SessionService, usePostgresAuthState } from "../../../roles/session_client/files/client/src/index.js";
import * as lab from "../test/support/lab.mjs";
import { connectionOf } from "../test/support/postgres.mjs";
import { startApps, writeFiles } from "./messages.mjs";
import { overhead, statements } from "./overhead.mjs";
import { soak } from "./soak.mjs";
import { byHand, copyToOthers, folderOf, openFiles, openOneQueryAKey, openPackage } from "./stores.mjs";

/** @typedef {import("./stores.mjs").Keys} Keys @typedef {import("./stores.mjs").Data} Data */

const [dir] = process.argv.slice(2);
const sessions = join(dir, "sessions");
const env = /** @type {Record<string, string>} */ (process.env);
const connection = connectionOf(env);
const pool = new pg.Pool({ ...connection, max: 10 });
pool.on("error", () => undefined); // idle connections go with the server, at the end
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, fatal() {}, child: () => silent, level: "silent" };
/** As a service in production has it: everything from `info` on is written, and `debug` is asked for and dropped. */
const logger = pino({ level: "info" }, pino.destination("/dev/null"));

const open = () => SessionService.create({ connection, dir: join(dir, "client"), logger, admin: false });
/** @type {SessionService | null} */
let service = null;
/** One service a process, as an application has it. */
const shared = async () => (service ??= await open());

/** The names of one company's keys, by type. @param {string} company */
async function namesOf(company) {
  const { rows } = await pool.query("SELECT key_type AS type, array_agg(key_id) AS ids FROM whatsapp_keys WHERE company_id = $1 GROUP BY 1", [company]);
  return new Map(rows.map(({ type, ids }) => [type, ids]));
}
/** @type {Map<string, string[]>} */
let names = new Map();
/** @param {Keys} keys */
async function getAll(keys) {
  let found = 0;
  for (const [type, ids] of names) found += Object.values(await keys.get(type, ids)).filter(Boolean).length;
  const wanted = [...names.values()].reduce((sum, ids) => sum + ids.length, 0);
  if (found !== wanted) throw new Error(`${found} of ${wanted} keys were loaded`);
}

/** Each opens a company, does not share anything with what was open before, and holds or hands out every key at its end.
 * @type {Record<string, (company: string) => Promise<(() => Promise<unknown>) | void>>} */
const LOADS = {
  async client(company) {
    const auth = await usePostgresAuthState(company, { service: await shared() });
    return auth.close;
  },
  async "client, every key asked for"(company) {
    const auth = await usePostgresAuthState(company, { service: await shared() });
    await getAll(/** @type {any} */ (auth.state.keys));
    return auth.close;
  },
  files: async (company) => getAll(await openFiles(folderOf(sessions, company))),
  package: async (company) => getAll(await openPackage(pool, company)),
  async "one query a key"(company) {
    const client = new pg.Client(connection);
    await client.connect();
    await getAll(openOneQueryAKey(client, company));
    return () => client.end();
  },
};

/** Sessions that are open, by the name of their store. @type {Map<string, Keys>} */
const opened = new Map();
/** @type {Record<string, (company: string) => Promise<Keys>>} */
const STORES = {
  client: async (company) => /** @type {any} */ ((await usePostgresAuthState(company, { service: await shared() })).state.keys),
  files: (company) => openFiles(folderOf(sessions, company)),
  "files, cached": async (company) => /** @type {any} */ (makeCacheableSignalKeyStore(/** @type {any} */ (await openFiles(folderOf(sessions, company))), /** @type {any} */ (silent))),
  package: (company) => openPackage(pool, company),
  "one query a key": async (company) => {
    const client = new pg.Client(connection);
    await client.connect();
    return openOneQueryAKey(client, company);
  },
  "by hand": async (company) => ({ get: async () => ({}), set: byHand(pool, company) }),
};
/** @param {string} store @param {string} company */
async function keysOf(store, company) {
  const keys = opened.get(store) ?? (await STORES[store](company));
  opened.set(store, keys);
  return keys;
}

/** 30 keys as a busy minute writes them: two sets that follow each other, each deleting what the other has written.
 * @param {Record<string, any>} records @returns {Data[]} */
function mixed(records) {
  const pair = Curve.generateKeyPair();
  const some = (/** @type {string} */ prefix, /** @type {number} */ count, /** @type {any} */ value) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`${prefix}${n}`, value]));
  return [0, 1].map((turn) => ({
    session: Object.fromEntries(Object.entries(records).map(([id, value]) => [id, { ...value, turn }])),
    "pre-key": { ...some(`bench-${turn}-`, 4, pair), ...some(`bench-${1 - turn}-`, 4, null) },
    "sender-key-memory": some("bench-", 4, { [`${turn}@lid`]: true }),
    "lid-mapping": some("bench-", 4, String(turn)),
  }));
}

/** @param {number} started @param {number} count */
const each = (started, count) => ({ seconds: (performance.now() - started) / 1000 / count });

/** What runs beside this process. @type {{standin?: any, paired: any[], apps?: Awaited<ReturnType<typeof startApps>>}} */
const beside = { paired: [] };
async function stopAll() {
  await beside.apps?.stop();
  await beside.standin?.stop();
  Object.assign(beside, { apps: undefined, standin: undefined });
}

/** In one process, so that times of one operation are apart from what the machine does meanwhile: the median of batches.
 * @param {number} times @param {(n: number) => Promise<unknown>} work */
async function median(times, work) {
  const batch = Math.max(1, Math.round(times / 20));
  const found = [];
  for (let done = 0; done < times; done += batch) {
    const started = performance.now();
    for (let n = done; n < done + batch; n++) await work(n);
    found.push((performance.now() - started) / 1000 / batch);
  }
  return { seconds: found.sort((a, b) => a - b)[found.length >> 1] };
}

/** Evenly over all of them: most are fresh, a few are old and large. @param {string} company @param {number} count */
async function someSessions(company, count) {
  const ids = ((await namesOf(company)).get("session") ?? []).sort();
  return Array.from({ length: count }, (_, n) => ids[Math.floor((n * ids.length) / count)]);
}

/** @type {Record<string, (command: any) => Promise<object>>} */
const COMMANDS = {
  /** Companies as the lab pairs them, in PostgreSQL. */
  async pair({ companies, keys }) {
    beside.standin = await lab.startStandin(dir);
    beside.paired = lab.pair(beside.standin, env, companies, keys);
    return { keys: beside.paired.map((company) => company.keys) };
  },
  /** Files, and the tables of the others, with what the company has in PostgreSQL. */
  async prepare({ company }) {
    mkdirSync(sessions, { recursive: true });
    const client = new pg.Client(connection);
    await client.connect();
    await writeFiles(client, company, sessions);
    await client.end();
    names = await namesOf(company);
    const auth = await usePostgresAuthState(company, { service: await shared() });
    await copyToOthers(pool, company, auth.state.creds, /** @type {any} */ (auth.state.keys), names);
    await auth.close();
    return { files: readdirSync(folderOf(sessions, company)).length };
  },
  async load({ store, company }) {
    if (!names.size) names = await namesOf(company);
    const started = performance.now();
    const close = await LOADS[store](company);
    const took = each(started, 1);
    await close?.();
    return took;
  },
  async get({ store, company, keys: count, times }) {
    const ids = await someSessions(company, count);
    const keys = await keysOf(store, company);
    if (Object.values(await keys.get("session", ids)).filter(Boolean).length !== count) throw new Error(`${store}: a session is missing`);
    return median(times, () => keys.get("session", ids));
  },
  async set({ store, company, times }) {
    const client = await keysOf("client", company);
    const sets = mixed(await client.get("session", await someSessions(company, 14)));
    const keys = await keysOf(store, company);
    await keys.set(sets[1]);
    return median(times, (n) => keys.set(sets[n % 2]));
  },
  async overhead({ company }) {
    await keysOf("client", company);
    return { ...(await overhead(service, company)), statements: await statements(service, company) };
  },
  async apps({ count }) {
    beside.apps = await startApps(dir, beside.standin, env, beside.paired.slice(0, count));
    return {};
  },
  talk: async ({ store }) => ({ seconds: await beside.apps?.talk(store) }),
  async "stop apps"() {
    await stopAll();
    return {};
  },
  soak: ({ companies, seconds }) => soak({ env, dir: join(dir, "soak"), companies, seconds }),
  async close() {
    await service?.close();
    service = null;
    opened.clear();
    return {};
  },
};

process.once("SIGTERM", () => stopAll().finally(() => process.exit(143)));

for await (const line of createInterface({ input: process.stdin })) {
  const { run, ...command } = JSON.parse(line);
  try {
    process.stdout.write(`${JSON.stringify(await COMMANDS[run](command))}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: error.stack })}\n`);
  }
}
await stopAll();
process.exit(0);
