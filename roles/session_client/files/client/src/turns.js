// SPDX-License-Identifier: BSD-2-Clause
// Work of which only so much is done at the same time; the rest waits, in order.

export class Turns {
  /** @param {number} most at the same time */
  constructor(most) {
    this.free = most;
    /** @type {(() => void)[]} */
    this.waiting = [];
  }

  /** @template T @param {() => Promise<T>} work @returns {Promise<T>} what the work returns or throws */
  async take(work) {
    if (this.free > 0) this.free--;
    else await new Promise((/** @type {(value?: unknown) => void} */ resolve) => this.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    }
  }
}
