// SPDX-License-Identifier: BSD-2-Clause
// Is the database away, or did it refuse this one statement? Everything else depends on telling the two apart.

/** SQLSTATE classes and codes with which a server says that it cannot serve anybody now. */
const CODES = new Set([
  "25006", // read_only_sql_transaction: a replica, or default_transaction_read_only
  "53100", // disk_full
  "53200", // out_of_memory
  "53300", // too_many_connections
  "55000", // object_not_in_prerequisite_state, e.g. a slot that is being dropped
  "57014", // query_canceled: statement_timeout
  "57P01", // admin_shutdown
  "57P02", // crash_shutdown
  "57P03", // cannot_connect_now
  "57P05", // idle_session_timeout
  "58000", // system_error
  "58030", // io_error
]);
const CLASSES = ["08"]; // connection exceptions
/** What a statement that ran into another one is answered with; the same statement again is right. */
const TRANSIENT = new Set(["40001", "40P01", "55P03"]);
/** A role that may not connect for the moment (NOLOGIN, pg_hba) locks out everybody: nothing was refused for good. */
const LOCKED_OUT = new Set(["28000", "28P01", "3D000"]);

const SOCKET = new Set([
  "ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "ENOTFOUND", "EAI_AGAIN",
  "EHOSTDOWN", "ECONNABORTED", "ENOENT", "EADDRNOTAVAIL",
]); // prettier-ignore
/** node-postgres reports these without a code. */
const MESSAGES = [
  /^Connection terminated/,
  /^timeout expired$/,
  /^timeout exceeded when trying to connect$/,
  /^Query read timeout$/,
  /^Client has encountered a connection error/,
  /^server closed the connection/,
  /^The server does not support SSL connections$/,
  /^Cannot use a pool after calling end/,
];

/** @param {any} error */
const codeOf = (error) => (typeof error?.code === "string" ? error.code : "");

/**
 * The kinds of failure of a statement:
 * `outage`: the database as a whole; memory and journal take over. `transient`: this attempt; the same again may work.
 * `refused`: this statement; the caller has to know.
 * @param {any} error @param {{connected: boolean}} [at] whether a connection was there when it happened
 * @returns {"outage" | "transient" | "refused"}
 */
export function kindOf(error, { connected } = { connected: true }) {
  const code = codeOf(error);
  if (error?.errors instanceof Array && error.errors.length) return kindOf(error.errors[0], { connected }); // AggregateError
  if (TRANSIENT.has(code)) return "transient";
  if (CODES.has(code) || CLASSES.some((each) => code.startsWith(each) && code.length === 5)) return "outage";
  if (SOCKET.has(code)) return "outage";
  if (!connected && LOCKED_OUT.has(code)) return "outage";
  if (!connected && !/^[0-9A-Z]{5}$/.test(code)) return "outage"; // TLS, DNS, sockets: no server answered
  if (!code && MESSAGES.some((each) => each.test(error?.message ?? ""))) return "outage";
  return "refused";
}

/** A word for metrics, never text of the server. @param {any} error */
export function classOf(error) {
  const code = codeOf(error);
  if (code === "25006") return "read_only";
  if (code === "53300") return "too_many_connections";
  if (code === "57014" || /timeout/i.test(error?.message ?? "")) return "timeout";
  if (SOCKET.has(code) || code.startsWith("08") || code.startsWith("57P")) return "connection";
  if (/^[0-9A-Z]{5}$/.test(code)) return `sqlstate_${code.slice(0, 2)}`;
  return "other";
}
