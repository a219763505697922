#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// node interop.mjs --baileys 6|7 --dir DIR [--ws URL]: what the real library makes of an exported session folder.
// Prints {"user", "loaded": {type: n}, "total", "missing": [file], "unknown": n}: every key is asked for. With --ws
// it logs in first and adds "connection": "open"; then come lines {"message": {id, from, text}} until stdin closes. A
// line {"to": jid, "text": ...} on stdin is sent, and answered by {"sent": id}.
// Exit code 1: a key was not loaded, the folder is no paired session, or the login failed.
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import pino from "pino";

import { quietLibsignal } from "./quiet.mjs";
import { WA_VERSION } from "./seed/device.mjs";

const PACKAGES = { 6: "baileys-6", 7: "baileys" };
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
const LOGIN_MS = 4000;
const LOGINS = 4;

const { values } = parseArgs({
  options: { baileys: { type: "string", default: "7" }, dir: { type: "string" }, ws: { type: "string" } },
});

const print = (/** @type {object} */ line) => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** A file's type and its id as the library would ask for it. The file name stands for the id: the library replaces
 * `/` and `:` in what it is asked, and leaves what is replaced already. @param {string} name */
function keyOf(name) {
  const type = TYPES.find((candidate) => name.startsWith(`${candidate}-`));
  return type ? { type, id: name.slice(type.length + 1, -".json".length) } : undefined;
}

/** Asks the library for every key in the folder. @param {any} keys @param {string} dir */
async function countLoaded(keys, dir) {
  const names = readdirSync(dir).filter((file) => file.endsWith(".json") && file !== "creds.json");
  const known = names.flatMap((name) => keyOf(name) ?? []);
  /** @type {Record<string, number>} */
  const loaded = {};
  const missing = [];
  for (const type of TYPES) {
    const ids = known.filter((key) => key.type === type).map(({ id }) => id);
    const values = await keys.get(type, ids);
    const whole = ids.filter((id) => isWhole(type, values[id]));
    if (whole.length) loaded[type] = whole.length;
    missing.push(...ids.filter((id) => !whole.includes(id)).map((id) => `${type}-${id}.json`));
  }
  const total = Object.values(loaded).reduce((sum, n) => sum + n, 0);
  return { loaded, total, missing, unknown: names.length - known.length };
}

/** Present, and bytes are bytes where the library will use them as such. @param {string} type @param {any} value */
function isWhole(type, value) {
  if (value === null || value === undefined) return false;
  const bytes = (/** @type {any} */ item) => item instanceof Uint8Array;
  if (type === "pre-key") return bytes(value.private) && bytes(value.public);
  if (type === "sender-key" || type === "identity-key") return bytes(value);
  if (type === "app-state-sync-version") return bytes(value.hash);
  if (type === "tctoken") return bytes(value.token);
  return true;
}

/** A login that the library leaves without an end is tried again, as an application does. Baileys 6 drops what the
 * server says while it still derives the keys to read it with (noise-handler.js, finishInit), and a server on the same
 * machine is as fast as that.
 * @param {any} library @param {any} state @param {() => Promise<void>} saveCreds @param {string} url */
async function login(library, state, saveCreds, url) {
  for (let tries = 1; ; tries++) {
    const sock = await openSocket(library, state, saveCreds, url);
    if (sock) return sock;
    if (tries === LOGINS) throw new Error(`no connection in ${LOGINS} logins of ${LOGIN_MS} ms`);
  }
}

/** The open socket, or nothing when it was closed because it did not open in time.
 * @param {any} library @param {any} state @param {() => Promise<void>} saveCreds @param {string} url */
function openSocket(library, state, saveCreds, url) {
  const sock = library.default({
    waWebSocketUrl: url,
    auth: state,
    version: WA_VERSION,
    browser: library.Browsers.ubuntu("Chrome"),
    logger: pino({ level: process.env.BAILEYS_LOG ?? "silent" }),
    markOnlineOnConnect: false,
    syncFullHistory: false,
    shouldSyncHistoryMessage: () => false,
  });
  sock.ev.on("creds.update", () => void saveCreds());
  sock.ev.on("messages.upsert", (/** @type {any} */ { messages }) => messages.forEach(printMessage));
  return new Promise((resolve, reject) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      sock.end(undefined);
    }, LOGIN_MS);
    sock.ev.on("connection.update", (/** @type {any} */ { connection, lastDisconnect }) => {
      if (connection === "open" || connection === "close") clearTimeout(timer);
      if (connection === "open") resolve(sock);
      if (connection === "close" && late) return resolve(undefined);
      if (connection !== "close") return;
      print({ connection, error: lastDisconnect?.error?.message });
      reject(lastDisconnect?.error ?? new Error("closed"));
    });
  });
}

/** @param {any} message */
function printMessage({ key, message }) {
  const text = message?.conversation ?? message?.extendedTextMessage?.text;
  if (text) print({ message: { id: key.id, from: key.participant ?? key.remoteJid, text } });
}

async function main() {
  const name = PACKAGES[/** @type {"6" | "7"} */ (values.baileys)];
  if (!name || !values.dir) throw new Error("needs --baileys 6|7 and --dir");
  const library = await import(name);
  const { state, saveCreds } = await library.useMultiFileAuthState(values.dir);
  const user = state.creds.me?.id ?? null;
  const count = await countLoaded(state.keys, values.dir);
  if (!user) throw new Error("creds.json is not a paired session: the library made a new identity");
  if (values.ws) await stayConnected(library, { state, saveCreds }, { user, ...count }, values.ws);
  else print({ user, ...count });
  if (count.missing.length) throw new Error(`${count.missing.length} keys were not loaded`);
}

/**
 * @param {any} library
 * @param {{state: any, saveCreds: () => Promise<void>}} auth
 * @param {object} report
 * @param {string} url
 */
async function stayConnected(library, { state, saveCreds }, report, url) {
  const sock = await login(library, state, saveCreds, url);
  print({ ...report, connection: "open" });
  for await (const line of createInterface({ input: process.stdin })) {
    const { to, text } = JSON.parse(line);
    const sent = await sock.sendMessage(to, { text });
    print({ sent: sent.key.id });
  }
  await sock.end(undefined);
  await saveCreds();
}

quietLibsignal();
main().then(
  () => process.exit(0),
  (error) => {
    print({ error: error.message });
    process.exit(1);
  },
);
