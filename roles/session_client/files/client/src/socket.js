// SPDX-License-Identifier: BSD-2-Clause
// The socket that a session was told of: what is under way on it, and its end, which is never a logout.

/** Longest wait for messages that Baileys is at work on, and for the server's answer to a close. */
const QUIET_MS = 1200;
const END_MS = 2000;
const POLL_MS = 10;
/** Baileys says nothing about some messages that it has answered: after this one is not at work any more. */
const AT_WORK_MS = 10_000;

/** After this a frame that is kept counts as under way. Baileys itself gives up after 20 s, and forgets the step of a message
 * that leaves all the same afterwards: it would be used again. */
export const KEPT_MS = 5000;

/** Turns of the event loop in which Baileys stores the step of what it has just sent. */
const TURNS = 3;

/** @typedef {{end: (error?: Error) => unknown, ws?: any, ev?: any}} BaileysSocket */

/** A frame that waits to be sent: what was given to `send`, the last of it what wants to know when it is done. */
class Kept {
  /** @param {any[]} args */
  constructor(args) {
    this.args = args;
    const done = args.at(-1);
    if (typeof done !== "function") return;
    this.timer = setTimeout(() => {
      this.args = [...args.slice(0, -1), () => undefined];
      done();
    }, KEPT_MS);
    this.timer.unref();
  }

  taken() {
    clearTimeout(this.timer);
    return this.args;
  }
}

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
    this.isShut = false;
    /** What Baileys wanted to send while it was shut. @type {Kept[]} */
    this.kept = [];
    /** Frames that were handed over and have not left. */
    this.leaving = 0;
    /** @type {(...args: any[]) => unknown} */
    this.send = () => undefined;
    this.#tap(socket.ws?.socket);
  }

  /** @param {any} raw the connection below Baileys', if it has one */
  #tap(raw) {
    if (typeof raw?.send !== "function") return;
    this.send = raw.send.bind(raw);
    raw.send = (/** @type {any[]} */ ...args) => (this.isShut ? void this.kept.push(new Kept(args)) : this.#leave(args));
  }

  /** @param {any[]} args */
  #leave(args) {
    const done = args.at(-1);
    if (typeof done !== "function") return this.send(...args);
    this.leaving++;
    return this.send(...args.slice(0, -1), (/** @type {any[]} */ ...result) => {
      this.leaving--;
      done(...result);
    });
  }

  /**
   * Nothing leaves from now on, and the step of everything that left is asked to be stored when this returns. Baileys sends a
   * message first and stores its step afterwards: a process that ends between the two would use that step again, and what it
   * sends then cannot be decrypted.
   * @returns {Promise<boolean>} false when something is still on its way out
   */
  async shut() {
    this.isShut = true;
    const deadline = performance.now() + QUIET_MS;
    while (this.leaving && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
    return this.leaving === 0;
  }

  /** What was kept leaves, in order. */
  open() {
    this.isShut = false;
    for (const frame of this.kept.splice(0)) this.#leave(frame.taken());
  }

  /** What was kept never leaves, and Baileys is told so. */
  #drop() {
    for (const frame of this.kept.splice(0)) {
      const done = frame.taken().at(-1);
      if (typeof done === "function") done(new Error("the socket was ended before this was sent"));
    }
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
    this.#drop();
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, END_MS)));
    await Promise.race([ended, late]);
    clearTimeout(timer);
  }
}
