// SPDX-License-Identifier: BSD-2-Clause
// What an operator, the monitor and a failover ask of a running process: over a unix socket that only its user (and root) can
// open, and, by choice, over a loopback port with a token.
import { createHash, timingSafeEqual } from "node:crypto";
import { chmod, lstat, unlink } from "node:fs/promises";
import { createServer } from "node:http";
import { createConnection } from "node:net";

import { Misconfigured, SessionClientError, codeOf } from "./errors.js";
import { exportSession } from "./export.js";
import { describe, formOf, placeOf } from "./handover.js";
import { switchStore } from "./switch.js";

/** Longest name of a unix socket. */
const MAX_SOCKET_PATH = 107;
const SHORTEST_TOKEN = 16;

/** @typedef {import("./service.js").Service} Service */

/** @type {Record<string, (service: Service, query: URLSearchParams) => unknown>} */
const ROUTES = {
  "GET /status": (service) => service.status(),
  "GET /metrics": (service) => service.metrics.registry.metrics(),
  "POST /export": async (service, query) => ({ exported: await inTurn(chosen(service, query), (session) => exportOne(service, session, formOf(query))) }),
  // Not until everything is in the database: until it is durable, there or in the journal.
  "POST /flush": async (service, query) => ({
    flushed: await inTurn(chosen(service, query), async (session) => {
      await session.tail;
      return session.status();
    }),
  }),
  "POST /drain": (service, query) => service.handover.drain(query.get("company"), flag(query, "export") ? formOf(query) : null),
  "POST /store": (service, query) => switchStore(service, query),
  "POST /resume": (service, query) => service.handover.resume(query.get("company")),
};

/** @param {URLSearchParams} query @param {string} name */
function flag(query, name) {
  const given = query.get(name) ?? "false";
  if (given !== "true" && given !== "false") throw new Misconfigured(`${name} is ${given}`, { hint: "true or false" });
  return given === "true";
}

/** @template T @param {import("./session.js").Session[]} sessions @param {(session: import("./session.js").Session) => Promise<T>} work */
async function inTurn(sessions, work) {
  /** @type {Record<string, T>} */
  const found = {};
  for (const session of sessions) found[session.company] = await work(session);
  return found;
}

/** One company or all. @param {Service} service @param {URLSearchParams} query */
function chosen(service, query) {
  const company = query.get("company");
  return company === null ? [...service.sessions.values()] : [service.session(company)];
}

/** Behind what was asked before, so that the copy holds it. @param {Service} service
 * @param {import("./session.js").Session} session @param {import("./export.js").Form} form */
function exportOne(service, session, form) {
  const place = placeOf(service);
  return session.inOrder(() => exportSession(session, place, form));
}

/** Listens; the returned function ends it. @param {Service} service @returns {Promise<() => Promise<void>>} */
export async function listen(service) {
  const { adminPort } = service.settings;
  const onSocket = await listenOnSocket(service);
  try {
    const onPort = adminPort ? await listenOnPort(service) : null;
    return async () => void (await Promise.all([ended(onSocket), onPort && ended(onPort)]));
  } catch (error) {
    await ended(onSocket);
    throw error;
  }
}

/** Who can open the socket may ask. @param {Service} service */
async function listenOnSocket(service) {
  const { adminSocket } = service.settings;
  const server = serverOf(service, () => true);
  await removeUnused(adminSocket);
  await started(server, () => {
    // Made with 0600 from the start: between listen and chmod somebody could get in. Only in this turn, which makes it: what the
    // application makes meanwhile must not have that mode.
    const mask = process.umask(0o177);
    try {
      server.listen(adminSocket);
    } finally {
      process.umask(mask);
    }
  });
  await chmod(adminSocket, 0o600);
  return server;
}

/** @param {Service} service */
async function listenOnPort(service) {
  const { adminPort, adminToken } = service.settings;
  if (adminToken.length < SHORTEST_TOKEN) {
    throw new Misconfigured(`adminPort needs a token of ${SHORTEST_TOKEN} characters or more`, { hint: "set adminToken (WA_SESSION_ADMIN_TOKEN), or leave adminPort out" });
  }
  const digest = (/** @type {string} */ text) => createHash("sha256").update(text).digest();
  const wanted = digest(`Bearer ${adminToken}`);
  const server = serverOf(service, (request) => timingSafeEqual(digest(request.headers.authorization ?? ""), wanted));
  await started(server, () => server.listen(adminPort, "127.0.0.1")).catch((error) => {
    throw new Misconfigured(`port ${adminPort} cannot be listened on: ${codeOf(error)}`, {
      hint: "one process a port: set adminPort (WA_SESSION_ADMIN_PORT) to one that is free, or leave it out",
      cause: error,
    });
  });
  return server;
}

/** @param {Service} service @param {(request: import("node:http").IncomingMessage) => boolean} allowed */
function serverOf(service, allowed) {
  const server = createServer((request, response) => void answer(service, request, response, allowed(request)));
  server.keepAliveTimeout = 1000;
  server.unref();
  return server;
}

/** @param {import("node:http").Server} server @returns {Promise<void>} */
const ended = (server) =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

/** @param {import("node:http").Server} server @param {() => unknown} begin */
const started = (server, begin) =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => resolve(undefined));
    begin();
  });

/** A socket of a process that is gone. @param {string} path */
async function removeUnused(path) {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    throw new Misconfigured(`the path of the admin socket is longer than ${MAX_SOCKET_PATH} bytes: ${path}`, { hint: "set adminSocket (WA_SESSION_SOCKET) to a shorter one" });
  }
  const used = await new Promise((resolve) => {
    const probe = createConnection(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (used) throw new Misconfigured(`another process listens on ${path}`, { hint: "one process a socket: set adminSocket (WA_SESSION_SOCKET)" });
  const found = await lstat(path).catch((error) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (!found) return;
  if (!found.isSocket()) throw new Misconfigured(`${path} is there, and is no socket`, { hint: "set adminSocket (WA_SESSION_SOCKET) to a path of its own" });
  await unlink(path);
}

/** @param {Service} service @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response @param {boolean} allowed */
async function answer(service, request, response, allowed) {
  // Not by URL, which throws for some of what a client may ask: nobody would catch that, and it would end the application.
  const [, path, query] = /** @type {RegExpExecArray} */ (/^([^?]*)\??(.*)$/s.exec(request.url ?? ""));
  const route = ROUTES[`${request.method} ${path}`];
  request.resume();
  try {
    if (!allowed) return send(response, 401, { error: "a token is needed: Authorization: Bearer ..." });
    if (!route) return send(response, 404, { error: `there is ${Object.keys(ROUTES).join(", ")}` });
    const found = await route(service, new URLSearchParams(query));
    if (typeof found === "string") {
      response.writeHead(200, { "content-type": service.metrics.registry.contentType });
      return response.end(found);
    }
    // One company's failure does not hide what was done with the others.
    return send(response, Object.keys(/** @type {any} */ (found).failed ?? {}).length ? 409 : 200, found);
  } catch (error) {
    return send(response, error instanceof SessionClientError ? 409 : 500, describe(error));
  }
}

/** @param {import("node:http").ServerResponse} response @param {number} status @param {unknown} body */
function send(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(body)}\n`);
}
