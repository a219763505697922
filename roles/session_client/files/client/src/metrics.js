// SPDX-License-Identifier: BSD-2-Clause
// Figures for Prometheus. Labels are companies and operations; never a JID, an id of a key or SQL.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
/** One warning a minute for each operation: the database is slow, not each of its queries is news. */
const SLOW_WARNING_EVERY_MS = 60_000;

/** Words of a session's state, each a value of the label `state`. */
export const STATES = ["online", "outage", "recovering", "stopped"];
const STORES = ["postgres", "files"];

export class Metrics {
  /** @param {any} [sentry] the application's own */
  constructor(sentry) {
    this.sentry = sentry;
    this.registry = new Registry();
    const registers = [this.registry];
    const gauge = (/** @type {string} */ name, /** @type {string} */ help, labels = ["company"]) =>
      new Gauge({ name: `wa_session_${name}`, help, labelNames: labels, registers });
    const counter = (/** @type {string} */ name, /** @type {string} */ help, labels = ["company"]) =>
      new Counter({ name: `wa_session_${name}`, help, labelNames: labels, registers });
    this.duration = new Histogram({
      name: "wa_session_query_duration_seconds",
      help: "Time of a database operation, waiting for a connection included",
      labelNames: ["operation"],
      buckets: BUCKETS,
      registers,
    });
    this.errors = counter("query_errors_total", "Database operations that failed", ["operation", "class"]);
    this.slowQueries = counter("slow_queries_total", "Database operations of more than 500 ms", ["operation"]);
    this.storageUp = gauge("storage_up", "1 while writes of the company reach its store");
    this.state = gauge("state", "1 for the state that the session is in", ["company", "state"]);
    this.store = gauge("store", "1 for the store that the session lives in", ["company", "store"]);
    this.keys = gauge("cache_keys", "Keys held in memory");
    /** Of each company whose cache is in use, the seconds since its last good contact. @type {Map<string, () => number>} */
    this.cached = new Map();
    const { cached } = this;
    this.cacheAge = new Gauge({
      name: "wa_session_cache_age_seconds",
      help: "Time since the last good contact while the cache is in use, else 0",
      labelNames: ["company"],
      registers,
      collect() {
        for (const [company, seconds] of cached) this.set({ company }, seconds());
      },
    });
    this.hits = counter("cache_hits_total", "Keys that were asked for and answered from memory");
    this.misses = counter("cache_misses_total", "Keys that were asked for and do not exist");
    this.evictions = counter("cache_evictions_total", "Idle sessions closed to keep to the limits", []);
    this.journalLines = gauge("journal_lines", "Writes in the journal");
    this.journalBytes = gauge("journal_bytes", "Size of the journal");
    this.journalFailures = counter("journal_failures_total", "Writes that the journal could not take");
    this.replays = counter("replays_total", "Returns of the database, by what came of them", ["company", "result"]);
    this.replayed = counter("replayed_keys_total", "Keys written when the database came back");
    /** @type {Map<string, number>} */
    this.warned = new Map();
  }

  /** @param {{totalCount: number, idleCount: number, waitingCount: number}} pool @param {number} max */
  watchPool(pool, max) {
    const registers = [this.registry];
    new Gauge({
      name: "wa_session_pool_connections",
      help: "Connections of the pool by state",
      labelNames: ["state"],
      registers,
      collect() {
        this.set({ state: "idle" }, pool.idleCount);
        this.set({ state: "active" }, pool.totalCount - pool.idleCount);
      },
    });
    new Gauge({ name: "wa_session_pool_max_connections", help: "Connections at most", registers }).set(max);
    new Gauge({
      name: "wa_session_pool_pending_requests",
      help: "Operations that wait for a connection",
      registers,
      collect() {
        this.set(pool.waitingCount);
      },
    });
  }

  /** @param {string} operation @param {number} seconds @param {string} [failed] its class */
  query(operation, seconds, failed) {
    this.duration.observe({ operation }, seconds);
    if (failed) this.errors.inc({ operation, class: failed });
  }

  /** @param {string} operation @param {number} ms */
  slow(operation, ms) {
    this.slowQueries.inc({ operation });
    const last = this.warned.get(operation);
    const now = performance.now();
    if (last !== undefined && now - last < SLOW_WARNING_EVERY_MS) return;
    this.warned.set(operation, now);
    this.tell("warning", `slow database query: ${operation} took ${Math.round(ms)} ms`, { operation });
  }

  /** To the application's Sentry, where it has one. @param {"warning" | "error"} level @param {string} message
   * @param {Record<string, string>} tags */
  tell(level, message, tags) {
    this.sentry?.captureMessage?.(message, { level, tags: { component: "session-client", ...tags } });
  }

  /** @param {string} company @param {string} state @param {{keys: number, store: string}} [memory] */
  sessionState(company, state, memory) {
    if (memory) for (const each of STORES) this.store.set({ company, store: each }, Number(each === memory.store));
    for (const each of STATES) this.state.set({ company, state: each }, Number(each === state));
    this.storageUp.set({ company }, Number(state === "online"));
    if (memory) this.keys.set({ company }, memory.keys);
  }

  /** @param {string} company @param {number} hits @param {number} misses */
  looked(company, hits, misses) {
    if (hits) this.hits.inc({ company }, hits);
    if (misses) this.misses.inc({ company }, misses);
  }

  /** The outage is over. @param {string} company */
  clean(company) {
    for (const each of [this.cacheAge, this.journalLines, this.journalBytes]) each.set({ company }, 0);
  }

  /** @param {string} company */
  forget(company) {
    for (const state of STATES) this.state.remove({ company, state });
    for (const store of STORES) this.store.remove({ company, store });
    for (const each of [this.storageUp, this.keys, this.cacheAge, this.journalLines, this.journalBytes]) each.remove({ company });
  }
}
