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
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * @param {{env: Record<string, string>, dir: string, companies: string[], seconds: number}} options
 * `grown`: MiB that the open companies take; `drift`: MiB of the last quarter over the second one (in the first, code is
 * still being compiled); `journaled`: writes that outages took
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
      await until("every company is back", () => latest().away === 0, 60_000);
    }
    const samples = lines.slice(1).map(({ resident }) => resident);
    const quarter = samples.length >> 2;
    const journaled = lines.slice(1).reduce((sum, { writes }) => sum + writes, 0);
    const drift = mean(samples.slice(-quarter)) - mean(samples.slice(quarter, 2 * quarter));
    return { grown: after - before, before, drift, most: Math.max(...samples), outages, journaled, stopped: latest().stopped, samples: samples.map(Math.round) };
  } finally {
    proxy.heal();
    child.stdin.end();
    await Promise.race([ended, pause(20_000)]);
    if (child.exitCode === null) child.kill("SIGKILL");
    await proxy.stop();
  }
}
