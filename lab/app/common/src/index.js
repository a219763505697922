// SPDX-License-Identifier: GPL-3.0-or-later
import dotenv from "dotenv";

// Does not override what the process manager already holds.
dotenv.config({ quiet: true });

const { log } = await import("./log.js");
const { readConfig } = await import("./config.js");

/** @returns {any} */
function configOrExit() {
  try {
    return readConfig(process.env);
  } catch (error) {
    process.stderr.write(`refusing to start: ${error.message}\n`);
    return process.exit(1);
  }
}

const config = configOrExit();
const { openStore } = await import("./store.js");
const { Service } = await import("./service.js");
const { startHttp } = await import("./http.js");

const STOP_MS = 1500; // below PM2's kill_timeout of 1.6 s

const service = new Service(openStore(config), config);
const server = startHttp(service, config.port);
server.on("error", (error) => {
  process.stderr.write(`cannot listen on port ${config.port}: ${error.message}\n`);
  process.exit(1);
});

// One company's failed write must not end the others.
process.on("unhandledRejection", (error) =>
  log(`unhandled rejection: ${/** @type {Error} */ (error)?.message ?? error}`),
);

let stopping = false;
const stop = async () => {
  if (stopping) return;
  stopping = true;
  server.close();
  setTimeout(() => process.exit(1), STOP_MS).unref();
  await service.stop();
  log("stopped");
  process.exit(0);
};
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, stop);

await service.start();
