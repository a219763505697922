// SPDX-License-Identifier: GPL-3.0-or-later
// One company's connection to WhatsApp.
import makeWASocket, { Browsers, DisconnectReason } from "baileys";

import { countLoaded } from "./loaded.js";
import { baileysLogger, log } from "./log.js";

const RECONNECT_MS = 500;
const SAVE_RETRY_MS = 500;
const ACK_TIMEOUT_MS = 10000;
const DRAIN_MS = 1200;
const MAX_MESSAGES = 10000;
// Given here so that nothing is fetched from the net at start.
const WA_VERSION = /** @type {[number, number, number]} */ ([2, 3000, 1035194821]);

/** @typedef {{id: string, from: string, text: string, group?: string}} ReceivedMessage */

export class Company {
  /** @param {string} id @param {any} store @param {string} url @param {string} label what the log says after `open` */
  constructor(id, store, url, label) {
    this.id = id;
    this.store = store;
    this.url = url;
    this.label = label;
    /** @type {"open" | "connecting" | "close" | "logged_out"} */
    this.connection = "connecting";
    /** @type {string | null} */
    this.lastError = null;
    this.keysLoaded = 0;
    /** @type {ReceivedMessage[]} */
    this.messages = [];
    /** @type {any} */
    this.auth = null;
    /** @type {any} */
    this.sock = null;
    this.stopped = false;
    /** Messages that Baileys is at work on. @type {Set<string>} */
    this.inFlight = new Set();
    /** @type {Promise<void> | null} */
    this.saving = null;
    this.saveWanted = false;
  }

  /** Loads the session and connects. A session that cannot be loaded is an error of this company alone. */
  async start() {
    try {
      if (!this.auth) {
        this.auth = await this.store.load(this.id);
        this.connect();
      }
      this.keysLoaded = await countLoaded(this.auth.keys, await this.store.keyNames(this.id));
    } catch (error) {
      if (!this.auth) this.connection = "close";
      this.failed(error);
      // An answer that never came is worth asking again; a session that is not there is not.
      if (error.retryable && !this.stopped) setTimeout(() => void this.start(), RECONNECT_MS);
    }
  }

  connect() {
    if (this.stopped) return;
    this.connection = "connecting";
    this.sock = makeWASocket({
      waWebSocketUrl: this.url,
      auth: { creds: this.auth.creds, keys: this.auth.keys },
      version: WA_VERSION,
      browser: Browsers.ubuntu("Chrome"),
      logger: /** @type {any} */ (baileysLogger),
      markOnlineOnConnect: false,
      emitOwnEvents: false,
      syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
    });
    this.auth.attach?.(this.sock);
    this.inFlight.clear();
    this.sock.ws.on("CB:message", (/** @type {any} */ { attrs }) => this.inFlight.add(attrs.id));
    this.sock.ev.on("creds.update", (/** @type {object} */ update) => this.credsChanged(update));
    this.sock.ev.on("connection.update", (/** @type {any} */ update) => this.connectionChanged(update));
    this.sock.ev.on("messages.upsert", (/** @type {any} */ { messages }) =>
      messages.forEach((/** @type {any} */ m) => this.received(m)),
    );
  }

  /** @param {object} update */
  credsChanged(update) {
    Object.assign(this.auth.creds, update);
    this.saveWanted = true;
    this.saving ??= this.saveCreds().finally(() => (this.saving = null));
  }

  /** Saves until it worked: a failed save must neither be lost nor end the process. */
  async saveCreds() {
    while (this.saveWanted) {
      this.saveWanted = false;
      try {
        await this.auth.saveCreds();
      } catch (error) {
        this.failed(error);
        if (this.stopped) return;
        this.saveWanted = true;
        await new Promise((resolve) => setTimeout(resolve, SAVE_RETRY_MS));
      }
    }
  }

  /** @param {{connection?: string, lastDisconnect?: {error?: any}}} update */
  connectionChanged({ connection, lastDisconnect }) {
    if (connection === "open") {
      this.connection = "open";
      this.lastError = null;
      log(`company ${this.id} connection open${this.label}`);
    }
    if (connection === "close") this.closed(lastDisconnect?.error);
  }

  /** @param {any} error */
  closed(error) {
    const code = error?.output?.statusCode;
    this.connection = "close";
    if (this.stopped) return;
    if (code === DisconnectReason.loggedOut) {
      this.connection = "logged_out";
      this.failed(new Error("logged out by WhatsApp (401): the device must be paired again"));
    } else if (code === DisconnectReason.connectionReplaced) {
      this.failed(new Error("connection replaced"));
    } else {
      this.failed(error ?? new Error("connection closed"));
      setTimeout(() => this.reconnect(), RECONNECT_MS);
    }
  }

  /** With the same state; one that has ended is loaded anew. */
  reconnect() {
    if (this.auth.status?.().state !== "stopped") return this.connect();
    this.auth = null;
    void this.start();
  }

  /** @param {any} error */
  failed(error) {
    const text = error?.message || String(error);
    if (text !== this.lastError) log(`company ${this.id} ${this.connection}: ${text}`);
    this.lastError = text;
  }

  /** @param {any} message */
  received({ key, message }) {
    this.inFlight.delete(key.id);
    const text = message?.conversation || message?.extendedTextMessage?.text;
    if (!text || key.fromMe) return;
    const group = key.remoteJid?.endsWith("@g.us") ? { group: key.remoteJid } : {};
    this.messages.push({ id: key.id, from: key.participant || key.remoteJid, text, ...group });
    if (this.messages.length > MAX_MESSAGES) this.messages.shift();
    log(`company ${this.id} message ${key.id} received`);
  }

  /** Sends one text and waits for the server's ack. @param {string} to @param {string} text */
  async send(to, text) {
    if (this.connection !== "open") throw new Error(`company ${this.id} is not connected: ${this.connection}`);
    const messageId = this.sock.generateMessageTag().replace(/\W/g, "");
    const ack = this.sock.waitForMessage(messageId, ACK_TIMEOUT_MS);
    ack.catch(() => undefined); // when the sending itself fails, that error is the one to show
    await this.sock.sendMessage(to, { text }, { messageId });
    const answer = await ack;
    if (!answer) throw new Error(`the server did not acknowledge ${messageId} in ${ACK_TIMEOUT_MS} ms`);
    if (answer.attrs.error) throw new Error(`the server refused ${messageId}: error ${answer.attrs.error}`);
    return { id: messageId };
  }

  health() {
    return {
      company_id: this.id,
      connection: this.connection,
      user: this.auth?.creds?.me?.id ?? null,
      keys_loaded: this.keysLoaded,
      store: this.auth?.status?.().store ?? this.store.name,
      last_error: this.lastError ?? this.store.lastError,
    };
  }

  /** A message whose ratchet step is saved but whose receipt is not sent would come again, and fail then. So nothing
   * more is read, and what was read is finished first. */
  async drain() {
    this.sock?.ws.socket?.pause();
    const deadline = Date.now() + DRAIN_MS;
    while (this.inFlight.size && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Ends the connection without logging out, after the last creds are saved. */
  async stop() {
    this.stopped = true;
    await this.drain();
    const socket = this.sock?.ws.socket;
    const ended = this.sock?.end(undefined);
    // Baileys has let go of the connection, so nothing that is read now reaches it: only the server's answer to the close.
    socket?.resume();
    await ended;
    await this.saving;
  }
}
