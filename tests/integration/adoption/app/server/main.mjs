// SPDX-License-Identifier: GPL-3.0-or-later
// A gateway as somebody else wrote it: it has no health endpoint, its own tables, flags, folders and lines in the log.
import makeWASocket, { Browsers } from "baileys";
import dotenv from "dotenv";
import pino from "pino";

dotenv.config({ quiet: true });
const { openStore } = await import("./store.mjs");

for (const method of ["info", "warn", "error", "debug"]) console[method] = () => undefined;
const say = (line) => process.stdout.write(`${line}\n`);
const load = openStore();

async function serve(tenant) {
  const { saveCreds, ...auth } = await load(tenant);
  const connect = () => {
    const socket = makeWASocket({
      auth,
      waWebSocketUrl: process.env.GATEWAY_URL,
      version: [2, 3000, 1035194821],
      browser: Browsers.ubuntu("Chrome"),
      logger: pino({ level: "silent" }),
      markOnlineOnConnect: false,
      syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
    });
    socket.ev.on("creds.update", (update) => {
      Object.assign(auth.creds, update);
      void saveCreds();
    });
    socket.ev.on("connection.update", ({ connection }) => {
      if (connection === "open") say(`tenant ${tenant} is online`);
      if (connection === "close") setTimeout(connect, 500);
    });
  };
  connect();
}

process.on("unhandledRejection", (error) => say(`error: ${error?.message ?? error}`));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
await Promise.all(process.env.TENANTS.split(",").map(serve));
