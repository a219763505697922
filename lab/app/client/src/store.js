// SPDX-License-Identifier: GPL-3.0-or-later
// Sessions in PostgreSQL through the session client: a session goes on while its database is away.
import { SessionService, usePostgresAuthState } from "../vendor/session-client/src/index.js";
import { log } from "./log.js";

const logger = {
  debug() {},
  info: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
  warn: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
  error: (/** @type {object} */ fields, /** @type {string} */ text) => log(`${text} ${JSON.stringify(fields)}`),
};

export class ClientStore {
  constructor() {
    this.name = "postgres";
    this.creating = SessionService.create({ logger });
    /** @type {SessionService | null} */
    this.service = null;
  }

  async #ready() {
    this.service ??= await this.creating;
    return this.service;
  }

  /** Why `/health` is not quite well: the session is, but what it writes waits for the database. */
  get lastError() {
    const away = this.service?.status().sessions.find(({ state }) => state !== "online");
    return away ? `database: away, company ${away.company} runs from memory` : null;
  }

  async companies() {
    return (await this.#ready()).companies();
  }

  /** @param {string} company */
  async load(company) {
    const auth = await usePostgresAuthState(company, { service: await this.#ready() });
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
