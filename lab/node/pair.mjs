#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// node pair.mjs --ws URL --control URL --companies 962301,962302 [--keys 1333] [--json]
// Pairs companies by real Baileys and stores them in PostgreSQL (PG* environment variables).
import { parseArgs } from "node:util";

import pg from "pg";

import { quietLibsignal } from "./quiet.mjs";
import { converse, groupOf } from "./seed/conversations.mjs";
import { login, register } from "./seed/device.mjs";
import { chooseAppStateKey, fill } from "./seed/filler.mjs";
import { MemoryState, saveCompany } from "./seed/store.mjs";

const CONCURRENCY = 4;

const { values } = parseArgs({
  options: {
    ws: { type: "string" },
    control: { type: "string" },
    companies: { type: "string" },
    keys: { type: "string", default: "1333" },
    json: { type: "boolean", default: false },
  },
});

const stderr = (/** @type {string} */ line) => void process.stderr.write(`${line}\n`);

/**
 * @param {import("pg").Pool} pool
 * @param {string} company
 * @param {{ws: string, control: string, keys: number}} options
 */
async function pairCompany(pool, company, { ws, control, keys }) {
  const started = performance.now();
  const state = new MemoryState();
  await register(ws, control, state);
  const sock = await login(ws, state);
  const jid = /** @type {import("baileys").Contact} */ (state.creds.me).id;
  await oneAtATime(() => converse(sock, control, jid, company));
  await closeQuietly(sock);
  const filler = await fill(state, keys);
  chooseAppStateKey(state);
  // A device that has synced before: without it Baileys holds back messages for 20 seconds after each login.
  state.creds.accountSyncCounter = 1;
  await saveCompany(pool, company, state, filler);
  const counts = Object.fromEntries([...state.rows].map(([type, rows]) => [type, rows.size]));
  const seconds = Math.round(performance.now() - started) / 1000;
  return { company_id: company, jid, group: groupOf(company), keys: state.total(), counts, seconds };
}

let conversations = Promise.resolve();

/**
 * libsignal queues its work per address and process: two clients that write to the same contact at once run in each
 * other's transactions, and save stale ratchets.
 * @param {() => Promise<void>} work
 */
function oneAtATime(work) {
  const result = conversations.then(work);
  conversations = result.catch(() => undefined);
  return result;
}

/** Closing ends what Baileys still does; its last writes are in memory before the close event.
 * @param {Awaited<ReturnType<typeof login>>} sock @returns {Promise<void>} */
function closeQuietly(sock) {
  return new Promise((resolve) => {
    sock.ev.on("connection.update", ({ connection }) => connection === "close" && resolve());
    void sock.end(undefined);
  });
}

/**
 * @template T, R
 * @param {T[]} items
 * @param {number} limit
 * @param {(item: T) => Promise<R>} work
 * @returns {Promise<R[]>}
 */
async function mapLimited(items, limit, work) {
  /** @type {R[]} */
  const results = [];
  const queue = items.map((item, index) => ({ item, index }));
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) results[next.index] = await work(next.item);
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}

async function main() {
  const { ws, control, companies } = values;
  if (!ws || !control || !companies) throw new Error("needs --ws, --control and --companies");
  const names = companies.split(",").filter(Boolean);
  const pool = new pg.Pool({ max: CONCURRENCY });
  const options = { ws, control, keys: Number(values.keys) };
  const paired = await mapLimited(names, CONCURRENCY, async (company) => {
    const result = await pairCompany(pool, company, options);
    stderr(`company ${company} paired as ${result.jid}: ${result.keys} keys in ${result.seconds} s`);
    return result;
  });
  await pool.end();
  if (values.json) process.stdout.write(`${JSON.stringify({ companies: paired })}\n`);
}

quietLibsignal();
main().then(
  () => process.exit(0),
  (error) => {
    stderr(`pair: ${error.stack}`);
    process.exit(1);
  },
);
