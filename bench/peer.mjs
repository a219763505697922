// SPDX-License-Identifier: GPL-3.0-or-later
// What a user would run instead, in one warm Node.js process: node peer.mjs NODE_MODULES, PG* in the environment.
// Reads one JSON command a line, answers {"seconds": n}: prepare (loads the keys), library (the real Baileys writes
// them), script (rows of a company from `pg` into files with `fs`, as people write it at 3 a.m.).
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

console.log = console.info = console.error;
const modules = process.argv[2];
const require = createRequire(join(modules, "x.js"));
const { Client } = require("pg");
const { useMultiFileAuthState } = await import(pathToFileURL(join(modules, "baileys", "lib", "index.js")).href);

/** @type {Record<string, Record<string, any>>} */
const data = {};

const commands = {
  /** @param {{dir: string, names: [string, string][]}} command */
  async prepare({ dir, names }) {
    const { state } = await useMultiFileAuthState(dir);
    for (const [type, id] of names) (data[type] ??= {})[id] = (await state.keys.get(type, [id]))[id];
  },
  /** @param {{dir: string}} command */
  async library({ dir }) {
    const { state, saveCreds } = await useMultiFileAuthState(dir);
    const started = performance.now();
    await state.keys.set(data);
    await saveCreds();
    return started;
  },
  /** @param {{dir: string, company: string}} command */
  async script({ dir, company }) {
    const started = performance.now();
    const client = new Client();
    await client.connect();
    await mkdir(dir, { recursive: true });
    const creds = await client.query("SELECT creds FROM whatsapp_auth WHERE company_id = $1", [company]);
    await writeFile(join(dir, "creds.json"), JSON.stringify(creds.rows[0].creds));
    const keys = await client.query("SELECT key_type, key_id, value FROM whatsapp_keys WHERE company_id = $1", [company]);
    const name = (/** @type {any} */ row) => `${row.key_type}-${row.key_id}`.replaceAll("/", "__").replaceAll(":", "-");
    await Promise.all(keys.rows.map((row) => writeFile(join(dir, `${name(row)}.json`), JSON.stringify(row.value))));
    await client.end();
    return started;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { run, ...command } = JSON.parse(line);
  const started = (await commands[/** @type {keyof typeof commands} */ (run)](command)) ?? performance.now();
  process.stdout.write(`${JSON.stringify({ seconds: (performance.now() - started) / 1000 })}\n`);
}
process.exit(0);
