// SPDX-License-Identifier: GPL-3.0-or-later
// Many sessions of one process through outage after outage, and what of it stays in memory.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { NODE_DIR, until } from "../test/support/lab.mjs";
import { startProxy } from "../test/client/support.mjs";
import { connectionOf } from "../test/support/postgres.mjs";

const AWAY_MS = 1500;
const SERVING_MS = 1500;

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** The last quarter over the second one: in the first, code is still being compiled. @param {number[]} samples */
function driftOf(samples) {
  const quarter = samples.length >> 2;
  return median(samples.slice(-quarter)) - median(samples.slice(quarter, 2 * quarter));
}

/**
 * `grown`, `heapGrown`: MiB that the open companies take, resident and in use; `drift`, `heapDrift`: MiB by which the process is larger at the end, resident and
 * in use, both while the database serves and after a collection; `most`: at the worst moment of an outage; `journaled`:
 * writes that outages took
 * @param {{env: Record<string, string>, dir: string, companies: string[], seconds: number}} options
 */
export async function soak({ env, dir, companies, seconds }) {
  const proxy = await startProxy(Number(env.PGPORT));
  const connection = { ...connectionOf(env), port: proxy.port };
  const settings = { connection, dir, admin: false, maxCompanies: companies.length, connectTimeoutMs: 500, queryTimeoutMs: 1000, recoveryIntervalMs: 200 };
  const script = join(NODE_DIR, "bench/soak-child.mjs");
  const child = spawn(process.execPath, ["--expose-gc", script, JSON.stringify(settings), companies.join(",")], { stdio: ["pipe", "pipe", "inherit"] });
  /** @type {any[]} */
  const lines = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const latest = () => lines.at(-1) ?? {};
  try {
    await until("the companies are open", () => lines.length && child.exitCode === null, 120_000);
    const [{ before, after }] = lines;
    let outages = 0;
    for (const end = performance.now() + seconds * 1000; performance.now() < end; outages++) {
      await pause(SERVING_MS);
      proxy.refuse();
      await until("every company is in the outage", () => latest().away === companies.length, 60_000);
      await pause(AWAY_MS);
      proxy.heal();
      await until("every company is back", () => latest().away === 0, 60_000).catch((error) => {
        throw new Error(`${error.message} (${latest().away} of ${companies.length} are not, after ${outages} outages)`, { cause: error });
      });
    }
    const samples = lines.slice(1);
    const serving = samples.filter(({ away }) => away === 0);
    return {
      before: before.resident,
      grown: after.resident - before.resident,
      heapGrown: after.heap - before.heap,
      drift: driftOf(serving.map(({ resident }) => resident)),
      heapDrift: driftOf(serving.map(({ heap }) => heap)),
      most: Math.max(...samples.map(({ resident }) => resident)),
      outages,
      journaled: samples.reduce((sum, { writes }) => sum + writes, 0),
      stopped: latest().stopped,
      samples: serving.map(({ resident, heap }) => [Math.round(resident), Math.round(heap * 10) / 10]),
    };
  } finally {
    proxy.heal();
    child.stdin.end();
    await Promise.race([ended, pause(20_000)]);
    if (child.exitCode === null) child.kill("SIGKILL");
    await proxy.stop();
  }
}
