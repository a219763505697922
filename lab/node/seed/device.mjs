// SPDX-License-Identifier: GPL-3.0-or-later
// A real Baileys client for pairing and for the first conversations.
import makeWASocket, { Browsers } from "baileys";
import pino from "pino";

export const WA_VERSION = /** @type {[number, number, number]} */ ([2, 3000, 1035194821]);
const RESTART_REQUIRED = 515;

/** @param {string} control @param {string} path @param {object} body */
export async function post(control, path, body) {
  const response = await fetch(`${control}${path}`, { method: "POST", body: JSON.stringify(body) });
  const answer = /** @type {any} */ (await response.json());
  if (!response.ok) throw new Error(`${path}: ${answer.error}`);
  return answer;
}

/** @param {string} ws @param {import("./store.mjs").MemoryState} state */
export function openSocket(ws, state) {
  const sock = makeWASocket({
    waWebSocketUrl: ws,
    auth: { creds: state.creds, keys: /** @type {any} */ (state.keys) },
    version: WA_VERSION,
    browser: Browsers.ubuntu("Chrome"),
    logger: /** @type {any} */ (pino({ level: process.env.BAILEYS_LOG ?? "silent" })),
    markOnlineOnConnect: false,
    syncFullHistory: false,
    shouldSyncHistoryMessage: () => false,
  });
  sock.ev.on("creds.update", (update) => Object.assign(state.creds, update));
  return sock;
}

/** Registers a new device; returns when the server asks it to connect again, which means that it is paired.
 * @param {string} ws
 * @param {string} control
 * @param {import("./store.mjs").MemoryState} state
 * @returns {Promise<void>}
 */
export function register(ws, control, state) {
  return new Promise((resolve, reject) => {
    const sock = openSocket(ws, state);
    sock.ev.on("connection.update", ({ qr, connection, lastDisconnect }) => {
      if (qr) post(control, "/scan", { qr }).catch(reject);
      if (connection !== "close") return;
      const code = /** @type {any} */ (lastDisconnect?.error)?.output?.statusCode;
      if (code === RESTART_REQUIRED) resolve();
      else reject(lastDisconnect?.error ?? new Error(`pairing closed with ${code}`));
    });
  });
}

/** Logs in; returns the open socket. @param {string} ws @param {import("./store.mjs").MemoryState} state
 * @returns {Promise<ReturnType<typeof openSocket>>} */
export function login(ws, state) {
  return new Promise((resolve, reject) => {
    const sock = openSocket(ws, state);
    sock.ev.on("connection.update", ({ connection, lastDisconnect }) => {
      if (connection === "open") resolve(sock);
      if (connection === "close") reject(lastDisconnect?.error ?? new Error("login closed"));
    });
  });
}

/**
 * Sends a text and waits for the server's ack.
 * @param {ReturnType<typeof openSocket>} sock
 * @param {string} to
 * @param {string} text
 */
export async function sendText(sock, to, text) {
  const messageId = sock.generateMessageTag().replace(/\W/g, "");
  const ack = sock.waitForMessage(messageId, 10000);
  await sock.sendMessage(to, { text }, { messageId });
  if (!(await ack)) throw new Error(`no ack for a message to ${to}`);
}
