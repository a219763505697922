// SPDX-License-Identifier: BSD-2-Clause
// Asks a running process how its sessions are. Exit code 0: all online; 1: one runs from memory or is stopped; 2: the process
// does not answer. `--json` prints what it said.
import { request } from "node:http";
import { join } from "node:path";

const DEADLINE_MS = 3000;
const port = Number(process.env.WA_SESSION_ADMIN_PORT ?? 0);
const dir = process.env.WA_SESSION_DIR ?? join(process.cwd(), ".wa-session");
const where = port ? { host: "127.0.0.1", port } : { socketPath: process.env.WA_SESSION_SOCKET ?? join(dir, "admin.sock") };
const headers = process.env.WA_SESSION_ADMIN_TOKEN ? { authorization: `Bearer ${process.env.WA_SESSION_ADMIN_TOKEN}` } : {};

/** @returns {Promise<any>} */
const ask = () =>
  new Promise((resolve, reject) => {
    const asking = request({ ...where, path: "/status", headers, timeout: DEADLINE_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => (response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(text.trim()))));
    });
    asking.on("timeout", () => asking.destroy(new Error(`no answer in ${DEADLINE_MS} ms`)));
    asking.on("error", reject);
    asking.end();
  });

try {
  const found = { stopped: {}, ...(await ask()) }; // a process of before an update does not say it
  if (process.argv.includes("--json")) {
    process.stdout.write(`${JSON.stringify(found)}\n`);
  } else {
    for (const [company, since] of Object.entries(found.drained.companies)) {
      process.stdout.write(`company ${company}: drained for a failover at ${since}\n`);
    }
    for (const [company, { at, error }] of Object.entries(found.stopped)) {
      process.stdout.write(`company ${company}: stopped at ${at}: ${error}\n`);
    }
    for (const { company, state, store, keys, outage } of found.sessions) {
      const more = outage ? `, from memory for ${outage.age_seconds} s, ${outage.journal_lines} writes in the journal` : "";
      process.stdout.write(`company ${company}: ${state}${store === "files" ? " on files" : ""}, ${keys} keys${more}\n`);
    }
  }
  const ended = found.drained.all_since || Object.keys({ ...found.drained.companies, ...found.stopped }).length;
  process.exitCode = !ended && found.sessions.every((/** @type {{state: string}} */ { state }) => state === "online") ? 0 : 1;
} catch (error) {
  process.stderr.write(`the session client does not answer: ${error.message}\n`);
  process.exitCode = 2;
}
