// SPDX-License-Identifier: GPL-3.0-or-later
// Sessions through the session client: they go on while the database is away, and move to files and back while they run.
import { SessionService, storeOf, useResilientAuthState } from "../vendor/session-client/src/index.js";
import { log } from "./log.js";

const logger = {
  debug() {},
  info: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
  warn: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
  error: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
};

export class ClientStore {
  constructor() {
    this.flag = storeOf();
    this.creating = SessionService.create({ logger });
    /** @type {SessionService | null} */
    this.service = null;
  }

  async #ready() {
    this.service ??= await this.creating;
    return this.service;
  }

  /** Where the sessions are, which may differ from where they began. */
  get name() {
    const stores = new Set(this.service?.status().sessions.map(({ store }) => store));
    if (stores.size > 1) return "mixed";
    return [...stores][0] ?? this.flag;
  }

  /** Why `/health` is not quite well: the session is, but what it writes waits for the database. */
  get lastError() {
    const away = this.service?.status().sessions.find(({ state }) => state !== "online");
    return away ? `database: away, company ${away.company} runs from memory` : null;
  }

  async companies() {
    return (await this.#ready()).companies(this.flag);
  }

  /** @param {string} company */
  async load(company) {
    const auth = await useResilientAuthState(company, { service: await this.#ready() });
    return { ...auth, creds: auth.state.creds, keys: auth.state.keys };
  }

  /** Ids by type. @param {string} company */
  async keyNames(company) {
    return (await this.#ready()).keyNames(company);
  }

  async close() {
    await (await this.#ready()).close();
  }
}

export const openStore = () => new ClientStore();
