// SPDX-License-Identifier: GPL-3.0-or-later
// What the client's tests share: a database that can be broken in each way, a table with one company, and the client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { request } from "node:http";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { BufferJSON, Curve, initAuthCreds, signedKeyPair } from "baileys";
import pg from "pg";

import { SessionService } from "../../../../roles/session_client/files/client/src/index.js";
import { NODE_DIR, removeDir, temporaryDir, until } from "../support/lab.mjs";
import { connectionOf, startPostgres } from "../support/postgres.mjs";

export { until };
export const { replacer } = BufferJSON;
export const COMPANY = "962301";
const SCHEMA = readFileSync(join(NODE_DIR, "../schema.sql"), "utf8");

/** A network that can fail: `mode` "pass", "drop" (nothing arrives any more) or "refuse" (every connection is closed, old and
 * new); and be slow (`slow`: bytes a second from the server, for each connection). Not by a reset: Node.js 20 can spin at its exit, in CleanupHandles, after sockets that were closed so. */
export async function startProxy(/** @type {number} */ target) {
  const sockets = new Set();
  const state = { mode: "pass", rate: Infinity, dropAfter: Infinity, received: 0 };
  const server = createServer((client) => {
    if (state.mode === "refuse") return void client.destroy();
    const upstream = createConnection(target, "127.0.0.1");
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      sockets.add(from);
      from.on("data", (chunk) => {
        if (from === upstream && (state.received += chunk.length) > state.dropAfter) state.mode = "drop";
        if (state.mode !== "pass") return;
        to.write(chunk);
        if (from !== upstream || state.rate === Infinity) return;
        from.pause();
        setTimeout(() => from.resume(), (chunk.length / state.rate) * 1000);
      });
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    port,
    refuse() {
      state.mode = "refuse";
      for (const socket of sockets) socket.destroy();
    },
    drop() {
      state.mode = "drop";
    },
    /** @param {number} rate */
    slow(rate) {
      state.rate = rate;
    },
    /** Bytes that came from the server. */
    get received() {
      return state.received;
    },
    /** Nothing arrives any more once the server has sent so much from now on. @param {number} bytes */
    dropAfter(bytes) {
      state.dropAfter = state.received + bytes;
    },
    /** Streams with a hole in them are closed. */
    heal() {
      if (state.mode === "drop") for (const socket of sockets) socket.destroy();
      Object.assign(state, { mode: "pass", rate: Infinity, dropAfter: Infinity });
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** @param {number} pid */
const childrenOf = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);

/** One question on a connection of its own. @param {object} connection @param {string} text */
export async function ask(connection, text) {
  const asking = new pg.Client(connection);
  await asking.connect();
  try {
    return (await asking.query(text)).rows;
  } finally {
    await asking.end();
  }
}

/** A server with the tables and a proxy before it; `fence` makes the schema of `baileys-resilience init-db`, too. */
export async function startDatabase({ fence = true } = {}) {
  const postgres = await startPostgres();
  const proxy = await startProxy(Number(postgres.env.PGPORT));
  const admin = new pg.Client(connectionOf(postgres.env));
  await admin.connect();
  if (fence) {
    await admin.query(`CREATE SCHEMA baileys_resilience;
      CREATE TABLE baileys_resilience.stores (company text PRIMARY KEY, store text NOT NULL, epoch bigint NOT NULL,
        since timestamptz NOT NULL, host text NOT NULL, run text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now(),
        lineage bigint[]);
      CREATE TABLE baileys_resilience.writers (company text PRIMARY KEY, token text NOT NULL, holder text NOT NULL,
        since timestamptz NOT NULL)`);
  }
  // The application is no superuser: those get in where nobody else does.
  await admin.query("CREATE ROLE app LOGIN; GRANT ALL ON SCHEMA public TO app; GRANT ALL ON ALL TABLES IN SCHEMA public TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app");
  if (fence) await admin.query("GRANT USAGE ON SCHEMA baileys_resilience TO app; GRANT ALL ON ALL TABLES IN SCHEMA baileys_resilience TO app");
  const direct = { ...connectionOf(postgres.env), user: "app" };
  const tree = () => [postgres.pid, ...childrenOf(postgres.pid)];
  return {
    ...postgres,
    proxy,
    admin,
    directConnection: direct,
    connection: { ...direct, port: proxy.port },
    /** The whole tree: connections are accepted by the kernel, and nobody answers. */
    freeze: () => tree().forEach((pid) => process.kill(pid, "SIGSTOP")),
    thaw: () => tree().forEach((pid) => process.kill(pid, "SIGCONT")),
    async stop() {
      await admin.end().catch(() => undefined);
      await proxy.stop();
      await postgres.stop();
    },
  };
}

/** @typedef {Awaited<ReturnType<typeof startDatabase>>} Database */

/** @param {pg.Client} admin */
export async function resetTables(admin) {
  await admin.query("DROP TABLE IF EXISTS whatsapp_auth, whatsapp_keys");
  await admin.query(SCHEMA);
  await admin.query("DO $$ BEGIN IF to_regclass('baileys_resilience.writers') IS NOT NULL THEN TRUNCATE baileys_resilience.writers, baileys_resilience.stores; END IF; END $$");
}

/** As Baileys writes it; what is in a form of its own already stays. @param {any} value */
const textOf = (value) =>
  JSON.stringify(value, (name, each) => (each?.type === "Buffer" && typeof each.data === "string" ? each : BufferJSON.replacer(name, each)));

/** Creds of a paired device, as text. */
export const pairedCreds = () => ({ ...initAuthCreds(), me: { id: "962790000001:1@s.whatsapp.net", name: "one" } });

/** @param {pg.Client} admin @param {object} [creds] @param {string} [company] */
export async function addCompany(admin, creds = pairedCreds(), company = COMPANY) {
  await admin.query("INSERT INTO whatsapp_auth (company_id, creds) VALUES ($1, $2)", [company, textOf(creds)]);
  return creds;
}

/** @param {pg.Client} admin @param {string} type @param {string} id @param {any} value @param {string} [company] */
export const addKey = (admin, type, id, value, company = COMPANY) =>
  admin.query("INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) VALUES ($1, $2, $3, $4)", [
    company,
    type,
    id,
    textOf(value),
  ]);

/** @param {pg.Client} admin @param {string} type @param {string} id @param {string} [company] */
export async function rowOf(admin, type, id, company = COMPANY) {
  const { rows } = await admin.query("SELECT value FROM whatsapp_keys WHERE company_id = $1 AND key_type = $2 AND key_id = $3", [company, type, id]);
  return rows[0]?.value ?? null;
}

export const preKey = () => Curve.generateKeyPair();
/** A session's record, told apart by its counter. @param {number} counter */
export const record = (counter) => ({
  version: "v1",
  _sessions: { "BQ==": { registrationId: 7, currentRatchet: { previousCounter: counter }, indexInfo: { used: counter } } },
});
export { signedKeyPair };

/** What was logged, by level. */
export function recorder() {
  /** @type {Record<string, string[]>} */
  const lines = { debug: [], info: [], warn: [], error: [] };
  const write = (/** @type {string} */ level) => (/** @type {any} */ fields, /** @type {string} */ text) =>
    void lines[level].push(`${text ?? fields} ${JSON.stringify(fields)}`);
  return { lines, debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

/** Beside the socket. @param {string} dir */
export const filesIn = (dir) => readdirSync(dir).filter((name) => name !== "admin.sock").sort();

/** Sentry, as the application would hand it over. */
export function fakeSentry() {
  /** @type {{message: string, level: string, tags: any}[]} */
  const sent = [];
  return { sent, captureMessage: (/** @type {string} */ message, /** @type {any} */ about) => sent.push({ message, ...about }) };
}

/** A process's service with short deadlines. @param {Database} database @param {object} [options] */
export async function startService(database, options = {}) {
  const dir = temporaryDir();
  const logger = recorder();
  const sentry = fakeSentry();
  const settings = {
    connection: database.connection, dir, logger, sentry, connectTimeoutMs: 400, queryTimeoutMs: 600, recoveryIntervalMs: 100, ...options,
  }; // prettier-ignore
  const service = await SessionService.create(settings);
  return { service, dir: settings.dir, logger, sentry, settings, remove: () => removeDir(settings.dir) };
}

/** The same in a process of its own, which can be killed. @param {Record<string, any>} settings @param {string} [company] */
export async function startProcess(settings, company = COMPANY) {
  const { logger: _logger, sentry: _sentry, ...options } = settings;
  const script = join(NODE_DIR, "test/client/process.mjs");
  const child = spawn(process.execPath, [script, JSON.stringify(options), company], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value } = await lines.next();
    const { ok, error, name } = JSON.parse(value, BufferJSON.reviver);
    if (error) throw Object.assign(new Error(error), { name });
    return ok;
  };
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const end = async (/** @type {NodeJS.Signals} */ signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  try {
    const opened = await answer();
    return {
      opened,
      ask: (/** @type {object} */ command) => {
        child.stdin.write(`${JSON.stringify(command, BufferJSON.replacer)}\n`);
        return answer();
      },
      kill: () => end("SIGKILL"),
    };
  } catch (error) {
    await end("SIGKILL");
    throw error;
  }
}

/** @param {object} where @param {string} method @param {string} path @param {Record<string, string>} [headers]
 * @returns {Promise<{status: number, text: string}>} */
export const askHttp = (where, method, path, headers = {}) =>
  new Promise((resolve, reject) => {
    const asking = request({ ...where, method, path, headers }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: Number(response.statusCode), text }));
    });
    asking.on("error", reject);
    asking.end();
  });

/** What the admin socket of a directory answers to a POST. @param {string} dir @param {string} path
 * @returns {Promise<any>} */
export async function post(dir, path) {
  const { status, text } = await askHttp({ socketPath: join(dir, "admin.sock") }, "POST", path);
  return { code: status, ...JSON.parse(text) };
}

/** A promise, and what fulfils it. */
export function deferred() {
  /** @type {() => void} */
  let resolve = () => undefined;
  /** @type {Promise<void>} */
  const promise = new Promise((fulfil) => (resolve = fulfil));
  return { promise, resolve };
}

/** The promise fails with that error, and the message says so. @param {Promise<unknown>} promise @param {string} name
 * @param {RegExp} message @returns {Promise<any>} the error */
export async function refuses(promise, name, message) {
  const outcome = await promise.then(() => null, (error) => error);
  assert.ok(outcome, `${name} expected, and nothing was refused`);
  assert.deepEqual([outcome.name, message.test(outcome.message)], [name, true], outcome.message);
  return outcome;
}
