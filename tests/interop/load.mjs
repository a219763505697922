// SPDX-License-Identifier: GPL-3.0-or-later
// node load.mjs PACKAGE_DIR SESSION_DIR < [[type, id], ...]: what a real Baileys makes of an exported directory.
// Prints {"user", "creds", "keys": [[type, id, value], ...]}: values as the library would store them, null where it
// sees no key. The judgement is the caller's.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// libsignal and 6.x talk on the console; stdout is the answer's.
console.log = console.info = console.error;

const [packageDir, sessionDir] = process.argv.slice(2);
const { main } = JSON.parse(readFileSync(join(packageDir, "package.json"), "utf8"));
const { useMultiFileAuthState, BufferJSON } = await import(pathToFileURL(join(packageDir, main)).href);

/** @type {[string, string][]} */
const names = JSON.parse(readFileSync(0, "utf8"));
const { state } = await useMultiFileAuthState(sessionDir);
/** @type {[string, string, any][]} */
const keys = [];
for (const [type, id] of names) {
  const value = (await state.keys.get(type, [id]))[id];
  keys.push([type, id, value ?? null]);
}
const answer = JSON.stringify({ user: state.creds.me?.id ?? null, creds: state.creds, keys }, BufferJSON.replacer);
process.stdout.write(answer, () => process.exit(0));
