// SPDX-License-Identifier: GPL-3.0-or-later
import { createServer } from "node:http";

import { routes } from "./routes.js";

const MAX_BODY_BYTES = 1024 * 1024;

/** @param {import("node:http").IncomingMessage} request */
async function readJson(request) {
  /** @type {Buffer[]} */
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw Object.assign(new Error("the body is too large"), { status: 413 });
    chunks.push(chunk);
  }
  if (!size) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw Object.assign(new Error("the body is not JSON"), { status: 400 });
  }
}

/** @param {import("./service.js").Service} service @param {import("node:http").IncomingMessage} request */
async function answer(service, request) {
  const url = new URL(request.url ?? "/", "http://localhost");
  const route = routes[`${request.method} ${url.pathname}`];
  if (!route) return { status: 404, body: { error: "no such page" } };
  try {
    return { status: 200, body: await route(service, url.searchParams, await readJson(request)) };
  } catch (error) {
    return { status: error.status ?? 503, body: { error: error.message } };
  }
}

/** @param {import("./service.js").Service} service @param {number} port */
export function startHttp(service, port) {
  const server = createServer(async (request, response) => {
    const { status, body } = await answer(service, request);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  });
  server.listen(port, "127.0.0.1");
  return server;
}
