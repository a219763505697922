// SPDX-License-Identifier: GPL-3.0-or-later
// libsignal prints whole sessions, private keys included, through console. Nothing of that may reach a log.
export function quietLibsignal() {
  for (const method of /** @type {const} */ (["log", "info", "warn", "error", "debug"]))
    console[method] = () => undefined;
}
