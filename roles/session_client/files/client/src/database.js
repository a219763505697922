// SPDX-License-Identifier: BSD-2-Clause
// The pool, with a deadline on everything, and errors that say whether the database is away or has refused a statement.
import pg from "pg";

import { Refused, SessionClientError, Unavailable, wordsOf } from "./errors.js";
import { classOf, kindOf } from "./outage.js";
import { describe, statements } from "./tables.js";

/** A pooled connection that broke while it lay idle says nothing about the server: so the same again, on a new one. */
const ATTEMPTS = 3;
const BACKOFF_MS = 40;
const SLOW_MS = 500;
const IDLE_MS = 30_000;
/** What the server is told is a little more than what is waited for, so that it ends what nobody waits for any more. */
const SERVER_GRACE_MS = 250;

/** @typedef {import("./tables.js").Query} Query */

export class Database {
  /**
   * @param {import("./settings.js").Settings} settings
   * @param {import("./metrics.js").Metrics} metrics
   * @param {string} applicationName
   */
  constructor(settings, metrics, applicationName) {
    this.settings = settings;
    this.metrics = metrics;
    this.log = settings.logger;
    this.options = {
      keepAlive: true,
      keepAliveInitialDelayMillis: 5000,
      connectionTimeoutMillis: settings.connectTimeoutMs,
      query_timeout: settings.queryTimeoutMs,
      statement_timeout: settings.queryTimeoutMs + SERVER_GRACE_MS,
      idle_in_transaction_session_timeout: 2 * settings.queryTimeoutMs,
      ...settings.connection,
      application_name: applicationName,
    };
    this.pool = new pg.Pool({ ...this.options, max: settings.poolSize, idleTimeoutMillis: IDLE_MS });
    // Without listeners, a server that goes away would end the process: on connections in use, and on idle ones.
    this.pool.on("connect", (client) => client.on("error", () => undefined));
    this.pool.on("error", (error) => this.log.debug({ reason: classOf(error) }, "an idle database connection was lost"));
    /** Backends that may still do something of ours that nobody waits for any more. Null where nobody knows which ones they are:
     * a pooler has others than the client sees. @type {Set<number> | null} */
    this.earlier = settings.directConnection ? null : new Set();
    metrics.watchPool(this.pool, settings.poolSize);
    /** @type {Promise<import("./tables.js").Statements> | null} */
    this.described = null;
  }

  /** Statements for the mapped tables, made of what the server says of them. */
  statements() {
    this.described ??= this.#attempts("describe", (query) => describe(query, this.settings.tables))
      .then((types) => statements(this.settings.tables, types))
      .catch((error) => {
        this.described = null;
        throw error;
      });
    return this.described;
  }

  /** One statement in a transaction of its own. @param {string} operation @param {string} text @param {any[]} [values] */
  query(operation, text, values = []) {
    return this.#attempts(operation, (query) => query(text, values));
  }

  /** The same for a statement that comes again and again: the server plans it once for each connection, which is half of the
   * work of a small write. Through a pooler every transaction may be on another connection, which does not know its name.
   * @param {string} operation @param {{name: string, text: string, values: any[]}} statement */
  prepared(operation, { name, text, values }) {
    if (this.settings.directConnection) return this.query(operation, text, values);
    return this.#attempts(operation, (query) => query(/** @type {any} */ ({ name, text }), values));
  }

  /** Several in one. @template T @param {string} operation @param {(query: Query) => Promise<T>} work
   * @param {string} [mode] e.g. "ISOLATION LEVEL REPEATABLE READ READ ONLY" @returns {Promise<T>} */
  transaction(operation, work, mode = "") {
    return this.#attempts(operation, async (query) => {
      await query(`BEGIN ${mode}`);
      const result = await work(query);
      await query("COMMIT");
      return result;
    });
  }

  /** @template T @param {string} operation @param {(query: Query) => Promise<T>} work @returns {Promise<T>} */
  async #attempts(operation, work) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(operation, work);
      } catch (error) {
        const again = attempt < ATTEMPTS && error.again;
        if (!again) throw error.failure ?? error;
        const pause = BACKOFF_MS * 2 ** (attempt - 1) * (0.5 + Math.random());
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** @template T @param {string} operation @param {(query: Query) => Promise<T>} work @returns {Promise<T>} */
  async #once(operation, work) {
    /** @type {pg.PoolClient | undefined} */
    let client;
    const started = performance.now();
    /** @type {any} */
    let failed;
    try {
      client = await this.pool.connect();
      const connected = client;
      return await work((text, values) => connected.query(text, values));
    } catch (error) {
      failed = error;
      if (client && !isAnswer(error)) this.earlier?.add(/** @type {any} */ (client).processID);
      throw this.#failure(operation, error, client !== undefined);
    } finally {
      // After an error nobody knows what is still under way on it, so it is closed: the pool makes a new one.
      client?.release(failed !== undefined);
      this.#record(operation, performance.now() - started, failed);
    }
  }

  /** @param {string} operation @param {any} error @param {boolean} connected */
  #failure(operation, error, connected) {
    if (error instanceof SessionClientError) return { failure: error, again: false };
    const kind = kindOf(error, { connected });
    const timeout = classOf(error) === "timeout";
    const failure = kind === "refused" ? refusal(operation, error) : unavailable(operation, error);
    return { failure, again: kind === "transient" || (kind === "outage" && !timeout && connected) };
  }

  /** @param {string} operation @param {number} ms @param {any} error */
  #record(operation, ms, error) {
    this.metrics.query(operation, ms / 1000, error && classOf(error));
    const entry = { operation, ms: Math.round(ms * 10) / 10, ...(error ? { failed: classOf(error) } : {}) };
    if (ms > SLOW_MS) {
      this.log.warn(entry, "slow database query");
      this.metrics.slow(operation, ms);
    } else {
      this.log.debug(entry, "database query");
    }
  }

  async close() {
    await this.pool.end();
  }
}

/** The server has answered, or was not asked: nothing is under way. @param {unknown} error */
const isAnswer = (error) => error instanceof pg.DatabaseError || error instanceof SessionClientError;

/** @param {string} operation @param {any} error */
export const unavailable = (operation, error) =>
  new Unavailable(`${operation}: the database does not serve: ${wordsOf(error)}`, {
    hint: hintOf(error),
    cause: error,
  });

/** @param {string} operation @param {any} error */
const refusal = (operation, error) =>
  new Refused(`${operation}: the database refused it: ${wordsOf(error)}`, { hint: hintOf(error), cause: error });

/** @type {[RegExp, string][]} */
const HINTS = [
  [/^28P01$|^28000$/, "check POSTGRES_USER and POSTGRES_PASSWORD, and pg_hba.conf"],
  [/^3D000$/, "check POSTGRES_DB"],
  [/^42501$/, "grant SELECT, INSERT, UPDATE and DELETE on both tables to the application's user"],
  [/^42P10$/, "the table of keys needs a primary key or unique index on company, type and id"],
  [/^08P01$/, "PgBouncer needs ignore_startup_parameters = statement_timeout,idle_in_transaction_session_timeout"],
  [/^53300$/, "the server gives no more connections: lower poolSize, or raise max_connections"],
  [/^25006$/, "this server is a replica or read-only: POSTGRES_HOST must be the primary"],
  [/CERT|SIGNATURE|SELF_SIGNED|ALTNAME/, "check POSTGRES_SSL_ROOT_CERT, and that POSTGRES_HOST is the name in the certificate"],
  [/^ENOTFOUND$|^EAI_AGAIN$/, "check POSTGRES_HOST"],
  [/^ECONNREFUSED$/, "check POSTGRES_HOST and POSTGRES_PORT, and whether the server runs"],
];

/** @param {any} error @returns {string} */
function hintOf(error) {
  const code = String(error?.code ?? error?.errors?.[0]?.code ?? "");
  return HINTS.find(([pattern]) => pattern.test(code))?.[1] ?? "";
}
