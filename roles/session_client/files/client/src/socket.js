// SPDX-License-Identifier: BSD-2-Clause
// The socket that a session was told of: what is under way on it, and its end, which is never a logout.

/** Longest wait for messages that Baileys is at work on, and for the server's answer to a close. */
const QUIET_MS = 1200;
const END_MS = 2000;
const POLL_MS = 10;
/** Baileys says nothing about some messages that it has answered: after this one is not at work any more. */
const AT_WORK_MS = 10_000;

/** @typedef {{end: (error?: Error) => unknown, ws?: any, ev?: any}} BaileysSocket */

export class Socket {
  /** @param {BaileysSocket} socket */
  constructor(socket) {
    this.socket = socket;
    /** Messages that came and are not done, with the time at which they came. @type {Map<string, number>} */
    this.atWork = new Map();
    socket.ws?.on?.("CB:message", (/** @type {any} */ { attrs }) => this.atWork.set(attrs.id, performance.now()));
    socket.ev?.on?.("messages.upsert", (/** @type {any} */ { messages }) => {
      for (const { key } of messages) this.atWork.delete(key.id);
    });
  }

  /** One that was never attached may be open: nobody knows. */
  isClosed() {
    return this.socket.ws?.isClosed === true;
  }

  /** Nothing more is read, and what was read is finished: a message whose step is stored and whose receipt is not sent comes
   * again, and cannot be decrypted then. */
  async quiet() {
    this.socket.ws?.socket?.pause?.();
    const deadline = performance.now() + QUIET_MS;
    while (this.#busy() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }

  #busy() {
    const since = performance.now() - AT_WORK_MS;
    for (const [id, came] of this.atWork) if (came < since) this.atWork.delete(id);
    return this.atWork.size > 0;
  }

  resume() {
    this.socket.ws?.socket?.resume?.();
  }

  /** From its first moment on nothing is sent. @param {Error} [reason] */
  async end(reason) {
    const raw = this.socket.ws?.socket;
    const ended = Promise.resolve(this.socket.end(reason)).catch(() => undefined);
    raw?.resume?.(); // Baileys has let go of it: only the answer to the close is read
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, END_MS)));
    await Promise.race([ended, late]);
    clearTimeout(timer);
  }
}
