#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// node server.mjs --ready-file F [--log F] [--host ADDRESS]: the stand-in for the WhatsApp server, on loopback unless told.
import { createWriteStream, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { WebSocketServer } from "ws";

import { quietLibsignal } from "../quiet.mjs";
import { makeControlServer } from "./control.mjs";
import { Hub } from "./hub.mjs";

quietLibsignal();

const { values } = parseArgs({
  options: {
    "ready-file": { type: "string" },
    log: { type: "string" },
    host: { type: "string", default: "127.0.0.1" },
  },
});

/** @param {import("node:http").Server} server @returns {Promise<number>} */
const listen = (server) =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, values.host, () => resolve(/** @type {import("node:net").AddressInfo} */ (server.address()).port));
  });

/** A reader sees the whole file or none. @param {string} path @param {object} content */
const writeReady = (path, content) => {
  writeFileSync(`${path}.tmp`, JSON.stringify(content), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
};

const out = values.log ? createWriteStream(values.log, { flags: "a", mode: 0o600 }) : process.stderr;
const hub = new Hub((line) => void out.write(`${new Date().toISOString()} ${line}\n`));
const web = createServer((_request, response) => response.writeHead(426).end());
const sockets = new WebSocketServer({ server: web, path: "/ws/chat", perMessageDeflate: false });
sockets.on("connection", (socket) => hub.accept(socket));
const control = makeControlServer(hub);
const [webPort, controlPort] = [await listen(web), await listen(control)];
const ready = {
  ws_url: `ws://${values.host}:${webPort}/ws/chat`,
  control_url: `http://${values.host}:${controlPort}`,
  pid: process.pid,
};
if (values["ready-file"]) writeReady(values["ready-file"], ready);
else process.stdout.write(`${JSON.stringify(ready)}\n`);
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
