// SPDX-License-Identifier: GPL-3.0-or-later
import pino from "pino";

// libsignal prints whole sessions, private keys included, through console.
for (const method of /** @type {const} */ (["log", "info", "warn", "error", "debug"]))
  console[method] = () => undefined;

/** One line per event. @param {string} line */
export const log = (line) => void process.stdout.write(`${new Date().toISOString()} ${line}\n`);

/** Baileys' own log; silent unless asked for. */
export const baileysLogger = pino({ level: process.env.BAILEYS_LOG_LEVEL ?? "silent" });
