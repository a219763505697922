// SPDX-License-Identifier: BSD-2-Clause
// One writer a session: an advisory lock for each company, all on one direct connection of the process. A lock goes with
// its connection, so a process that dies holds nothing.
import { createHash } from "node:crypto";
import pg from "pg";

import { unavailable } from "./database.js";
import { Misconfigured, SessionClientError, Unavailable, WriterBusy } from "./errors.js";
import { isDead } from "./identity.js";
import { classOf } from "./outage.js";

const HOLDER = `
  SELECT a.pid, a.application_name AS name, host(a.client_addr) AS address, a.backend_start AS since,
         a.client_addr IS NOT DISTINCT FROM inet_client_addr() AS same_host
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
   WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND l.classid = ($1::bigint >> 32 & 4294967295)::oid AND l.objid = ($1::bigint & 4294967295)::oid AND l.objsubid = 1`;
const RECOVERY = "SELECT pg_is_in_recovery() AS replica, current_setting('transaction_read_only') = 'on' AS read_only";

/** So long a connection that was ended may take to go. */
const TAKEOVER_MS = 2000;
const POLL_MS = 25;

/** The number that stands for a company's session. @param {string} company */
const keyOf = (company) =>
  createHash("sha256").update(`baileys_resilience/session-writer/${company}`).digest().readBigInt64BE(0).toString();

export class WriterLock {
  /**
   * @param {object} options node-postgres' options of a direct connection, deadlines included
   * @param {string} identity
   * @param {{logger: any, heartbeatMs: number}} settings
   */
  constructor(options, identity, { logger, heartbeatMs }) {
    this.options = options;
    this.identity = identity;
    this.log = logger;
    this.heartbeatMs = heartbeatMs;
    /** @type {pg.Client | null} */
    this.client = null;
    /** @type {Promise<pg.Client> | null} */
    this.connecting = null;
    /** Companies whose lock this connection holds. @type {Set<string>} */
    this.held = new Set();
    this.closed = false;
    this.lostAt = 0;
    /** Called when the connection is lost, and all locks with it. @type {() => void} */
    this.onLost = () => undefined;
    /** @type {Promise<unknown>} */
    this.asked = Promise.resolve();
    /** By company. The server counts how often a connection takes a lock: one that was taken twice at once is still there after
     * its release. @type {Map<string, Promise<void>>} */
    this.taking = new Map();
  }

  /** One question after the other, for all companies: the deadline of one begins when it is asked, not when it is put in a
   * queue behind those of many. @param {pg.Client} client @param {string} text @param {any[]} [values]
   * @returns {Promise<pg.QueryResult>} */
  #ask(client, text, values) {
    const answer = this.asked.then(() => client.query(text, values));
    this.asked = answer.catch(() => undefined);
    return answer;
  }

  /** @param {string} company */
  holds(company) {
    return this.held.has(company);
  }

  /** Until when this process had its database: while the connection stands nobody else can have written, however long nothing
   * was asked. Milliseconds since 1970. */
  get lastContact() {
    return this.client ? Date.now() : this.lostAt;
  }

  /** Holds the lock when it returns. Throws WriterBusy with the holder's name, or Unavailable. @param {string} company */
  async acquire(company) {
    const taking = this.taking.get(company) ?? this.#take(company).finally(() => this.taking.delete(company));
    this.taking.set(company, taking);
    await taking;
  }

  /** @param {string} company */
  async #take(company) {
    const client = await this.#connected();
    if (this.held.has(company)) return;
    try {
      const key = keyOf(company);
      const deadline = performance.now() + TAKEOVER_MS;
      while (!(await this.#tryLock(client, key))) {
        if (performance.now() > deadline || !(await this.#endUnused(client, key))) throw await this.#busy(client, company, key);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
      if (client === this.client) this.held.add(company);
      else throw new Error("Connection terminated");
    } catch (error) {
      if (error instanceof SessionClientError) throw error; // the connection has answered
      this.#lost(client, error);
      throw unavailable("take the writer's lock", error);
    }
  }

  /** Where it is not answered that the lock is free, it goes with its connection, as do all others: they are taken again.
   * @param {string} company */
  async release(company) {
    const { client } = this;
    if (!this.held.delete(company) || !client) return;
    await this.#ask(client, "SELECT pg_advisory_unlock($1)", [keyOf(company)]).catch((error) => this.#lost(client, error));
  }

  async close() {
    this.closed = true;
    await this.connecting?.catch(() => undefined); // one that is on its way would keep the process alive
    const client = this.client;
    this.client = null;
    this.held.clear();
    await client?.end().catch(() => undefined);
  }

  /** A connection that has just answered, on a server that takes writes. */
  async #connected() {
    if (this.client) {
      const client = this.client;
      try {
        await this.#check(client);
        return client;
      } catch (error) {
        this.#lost(client, error);
      }
    }
    this.connecting ??= this.#connect().finally(() => (this.connecting = null));
    return this.connecting;
  }

  async #connect() {
    if (this.closed) throw new Unavailable("take the writer's lock: it is closed");
    const client = new pg.Client(this.options);
    client.on("error", (error) => this.#lost(client, error));
    client.on("end", () => this.#lost(client, new Error("Connection terminated")));
    try {
      await client.connect();
      await this.#check(client);
      await this.#refusePooler(client);
    } catch (error) {
      void client.end().catch(() => undefined);
      if (error instanceof Misconfigured) throw error;
      throw unavailable("take the writer's lock", error);
    }
    this.held.clear();
    this.client = client;
    this.#watch(client);
    return client;
  }

  /** A server that stands still ends no connection, and neither does a network that loses everything: so it is asked, also while
   * no session has anything to write. @param {pg.Client} client */
  #watch(client) {
    const timer = setTimeout(async () => {
      if (client !== this.client) return;
      await this.#check(client).catch((error) => this.#lost(client, error));
      if (client === this.client) this.#watch(client);
    }, this.heartbeatMs);
    timer.unref();
  }

  /** @param {pg.Client} client */
  async #check(client) {
    const { rows } = await this.#ask(client, RECOVERY);
    if (rows[0].replica || rows[0].read_only) {
      throw Object.assign(new Error("the server takes no writes"), { code: "25006" });
    }
  }

  /** A pooler hands out a server's connection a transaction: a lock would stay on it for whoever is next.
   * @param {any} client */
  async #refusePooler(client) {
    const { rows } = await this.#ask(client, "SELECT pg_backend_pid() AS pid");
    if (rows[0].pid === client.processID) return;
    throw new Misconfigured("the connection leads through a pooler, where locks of a session mean nothing", {
      hint: "set directConnection (WA_SESSION_DIRECT_HOST, WA_SESSION_DIRECT_PORT) to PostgreSQL itself; one connection a process is enough",
    });
  }

  /** @param {pg.Client} client @param {any} error */
  #lost(client, error) {
    if (client !== this.client) return;
    this.client = null;
    this.lostAt = Date.now();
    this.held.clear();
    this.log.warn({ reason: classOf(error) }, "the connection that holds the writer's locks was lost");
    void client.end().catch(() => undefined);
    this.onLost();
  }

  /** @param {pg.Client} client @param {string} key */
  async #tryLock(client, key) {
    const { rows } = await this.#ask(client, "SELECT pg_try_advisory_lock($1) AS got", [key]);
    return rows[0].got;
  }

  /** Ends what the server still keeps of this process's lost connection, or of a dead process of this host; false when a
   * living one holds the lock. @param {pg.Client} client @param {string} key */
  async #endUnused(client, key) {
    const { rows } = await this.#ask(client, HOLDER, [key]);
    const [holder] = rows;
    if (!holder) return true; // gone between the two questions
    if (!this.#isUnused(holder)) return false;
    this.log.warn({ holder: holder.name }, "ending a connection that nobody uses any more and that holds a session's lock");
    await this.#ask(client, "SELECT pg_terminate_backend($1)", [holder.pid]);
    return true;
  }

  /** @param {{name: string, same_host: boolean}} holder */
  #isUnused(holder) {
    return holder.name === this.identity || (holder.same_host && isDead(holder.name));
  }

  /** Why the lock is not to be had. @param {pg.Client} client @param {string} company @param {string} key */
  async #busy(client, company, key) {
    const { rows } = await this.#ask(client, HOLDER, [key]);
    const [holder] = rows;
    if (holder && this.#isUnused(holder)) {
      // Nobody else has the session: it would be wrong to end it for that.
      return new Unavailable(`company ${company}: the server still holds the writer's lock for a connection that nobody uses any more`, {
        company,
        hint: `it was told to end it: backend ${holder.pid} does not, look at it on the server`,
      });
    }
    const who = holder ? `${holder.name || "an unnamed client"} (${holder.address ?? "this host"}, since ${holder.since.toISOString()})` : "somebody";
    return new WriterBusy(`company ${company}: another process has this session: ${who}`, {
      company,
      hint: "a session with two writers is destroyed: stop the other process, or take the company from this one's list",
    });
  }
}
