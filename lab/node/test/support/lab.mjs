// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests share: a stand-in, paired companies, the application in each of its forms, and calls to all of them.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { proto, useMultiFileAuthState } from "baileys";
import pg from "pg";

import { connectionOf, freePort } from "./postgres.mjs";

export const NODE_DIR = fileURLToPath(new URL("../..", import.meta.url));
const APP_DIR = join(NODE_DIR, "../app");
const WAIT_MS = 20000;

/** Asks until the answer is truthy. @template T @param {string} what @param {() => T | Promise<T>} ask
 * @param {number} [timeoutMs] @returns {Promise<NonNullable<T>>} */
export async function until(what, ask, timeoutMs = WAIT_MS) {
  const deadline = Date.now() + timeoutMs;
  let last;
  while (Date.now() < deadline) {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}; last: ${last?.message ?? JSON.stringify(last)}`);
}

/** @param {string} url @param {object} [body] @returns {Promise<any>} */
export async function call(url, body) {
  const response = await fetch(url, body && { method: "POST", body: JSON.stringify(body) });
  const answer = /** @type {any} */ (await response.json());
  return Array.isArray(answer) ? answer : { status: response.status, ...answer };
}

/** @type {string[]} */
const temporaryDirs = [];
process.once("exit", () => temporaryDirs.forEach((dir) => rmSync(dir, { recursive: true, force: true })));

/** A new directory, which goes with the process that runs the test. */
export function temporaryDir() {
  const dir = mkdtempSync(join(tmpdir(), "lab-test-"));
  temporaryDirs.push(dir);
  return dir;
}

/** @param {import("node:child_process").ChildProcess} child */
export async function endProcess(child) {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  return gone;
}

/** @param {string} dir */
export async function startStandin(dir) {
  const ready = join(dir, "standin.json");
  const args = [join(NODE_DIR, "standin/server.mjs"), "--ready-file", ready, "--log", join(dir, "standin.log")];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  await until("the stand-in", () => existsSync(ready));
  const { ws_url: ws, control_url: control } = JSON.parse(readFileSync(ready, "utf8"));
  return { ws, control, stop: () => endProcess(child) };
}

/**
 * @param {{ws: string, control: string}} standin
 * @param {Record<string, string>} env
 * @param {string[]} companies
 * @param {number} [keys]
 */
export function pair(standin, env, companies, keys = 1333) {
  const args = [
    "--ws",
    standin.ws,
    "--control",
    standin.control,
    "--companies",
    companies.join(","),
    "--keys",
    String(keys),
    "--json",
  ];
  const out = execFileSync(process.execPath, [join(NODE_DIR, "pair.mjs"), ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "ignore"],
    encoding: "utf8",
  });
  return JSON.parse(out).companies;
}

/** The rows of one company, written by the real library as files.
 * @param {string} home an application at HEAD, for its codec
 * @param {Record<string, string>} env @param {string} company @param {string} dir */
export async function exportToFiles(home, env, company, dir) {
  const { decode } = await import(join(home, "src/codec.js"));
  const client = new pg.Client(connectionOf(env));
  await client.connect();
  const {
    rows: [auth],
  } = await client.query("SELECT creds FROM whatsapp_auth WHERE company_id = $1", [company]);
  const { rows } = await client.query("SELECT key_type, key_id, value FROM whatsapp_keys WHERE company_id = $1", [
    company,
  ]);
  await client.end();
  const { state, saveCreds } = await useMultiFileAuthState(dir);
  Object.assign(state.creds, decode(auth.creds));
  await saveCreds();
  /** @type {any} */
  const data = {};
  for (const { key_type: type, key_id: id, value } of rows) {
    data[type] ??= {};
    data[type][id] =
      type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(value) : decode(value);
  }
  await state.keys.set(data);
  return rows.length;
}

/** @typedef {"postgres" | "archive" | "tag" | "client"} Form */

/**
 * Makes the application's repository and brings it into one of its forms.
 * @param {string} dir
 * @param {Form} form
 */
export function makeApp(dir, form) {
  const home = join(dir, `app-${form}`);
  const args = [join(APP_DIR, "build-repo.mjs"), "--dir", home, "--remote", join(dir, `remote-${form}.git`)];
  if (form === "client") args.push("--client");
  execFileSync(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (form === "archive")
    cpSync(join(home, "archive/baileys-file-sessions-scripts"), join(home, "src"), { recursive: true });
  if (form === "tag") execFileSync("git", ["checkout", "-q", "emergency-file-fallback-v1"], { cwd: home });
  symlinkSync(join(NODE_DIR, "node_modules"), join(home, "node_modules"));
  mkdirSync(join(home, "baileys_sessions"), { mode: 0o700 });
  return home;
}

/**
 * @param {string} home
 * @param {Form} form
 * @param {{ws: string}} standin
 * @param {Record<string, string>} db
 * @param {Record<string, string>} [extra]
 */
export async function startApp(home, form, standin, db, extra = {}) {
  const port = await freePort();
  const postgres = String(form === "postgres" || form === "client");
  const settings = {
    USE_REPOSITORY_PATTERN: postgres,
    USE_DATABASE_AUTH_STATE: postgres,
    USE_LEGACY_SUPABASE: "false",
    POSTGRES_HOST: db.PGHOST,
    POSTGRES_PORT: db.PGPORT,
    POSTGRES_DB: db.PGDATABASE,
    POSTGRES_USER: db.PGUSER,
    POSTGRES_PASSWORD: db.PGPASSWORD,
    POSTGRES_SSL_MODE: "disable",
    WA_WEB_SOCKET_URL: standin.ws,
    PORT: String(port),
    ...extra,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  writeFileSync(join(home, ".env"), `${lines.join("\n")}\n`, { mode: 0o600 });
  const child = spawn(process.execPath, ["src/index.js"], { cwd: home, stdio: ["ignore", "pipe", "pipe"] });
  const output = { text: "" };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output.text += chunk));
  return { url: `http://127.0.0.1:${port}`, output, child, stop: () => endProcess(child) };
}

/** @typedef {Awaited<ReturnType<typeof startApp>>} App */

/**
 * Waits until that company is open: by /health, or by the log where the code has none.
 * @param {App} app
 * @param {string} company
 */
export const untilOpen = (app, company) =>
  until(`company ${company} open; the log says:\n${app.output.text}`, () =>
    new RegExp(`company ${company} connection open`).test(app.output.text),
  );

/** @param {App} app @param {string} company */
export async function healthOf(app, company) {
  const health = await call(`${app.url}/health`);
  return health.companies.find((/** @type {any} */ entry) => entry.company_id === company);
}

/** @param {string} dir */
export const removeDir = (dir) => rmSync(dir, { recursive: true, force: true });
