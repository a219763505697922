// SPDX-License-Identifier: BSD-2-Clause
// How many sessions one process keeps in memory. A session without a socket that nobody has used for longest goes first; a
// connected one never goes.

export class Limits {
  /** @param {import("./service.js").Service} service */
  constructor(service) {
    this.service = service;
    /** When each session was used last: one that is used moves to the end. @type {Map<string, import("./session.js").Session>} */
    this.order = new Map();
    /** @type {string | undefined} */
    this.newest = undefined;
    this.warned = "";
  }

  /** @param {import("./session.js").Session} session */
  used(session) {
    if (this.newest === session.company) return; // the usual case, once per message
    this.order.delete(session.company);
    this.order.set(session.company, session);
    this.newest = session.company;
  }

  /** @param {string} company */
  forget(company) {
    this.order.delete(company);
    if (this.newest === company) this.newest = undefined;
  }

  get characters() {
    let sum = 0;
    for (const session of this.order.values()) sum += session.memory.characters;
    return sum;
  }

  /** Closes idle sessions until what is left is within the limits. */
  async enforce() {
    const { maxCompanies, maxMemoryBytes } = this.service.settings;
    const over = () => this.order.size > maxCompanies || this.characters > maxMemoryBytes;
    for (const session of [...this.order.values()]) {
      if (!over()) return;
      if (!session.isIdle() || session.company === this.newest) continue;
      this.service.settings.logger.info({ company: session.company }, "an idle session is closed, to keep to the limits");
      this.service.metrics.evictions.inc();
      await session.close();
    }
    if (over()) this.warn();
  }

  warn() {
    const text = `${this.order.size} sessions are in use, with ${this.characters} characters of keys: more than the limits`;
    if (this.warned === text) return;
    this.warned = text;
    this.service.settings.logger.warn({ sessions: this.order.size }, `${text} (maxCompanies, maxMemoryBytes); all of them stay`);
    this.service.metrics.tell("warning", "session client above its limits", { sessions: String(this.order.size) });
  }
}
