// SPDX-License-Identifier: GPL-3.0-or-later
// A throw-away PostgreSQL on a free loopback port, with the lab's tables.
import { execFileSync, spawn } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import * as fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import pg from "pg";

const PROJECT = fileURLToPath(new URL("../../../..", import.meta.url));
const DEBIAN = "/usr/lib/postgresql";
const NOBODY = 65534;
const START_SECONDS = 30;

/** PostgreSQL's programs: those of the project's virtual environment, else Debian's. */
function findPrograms() {
  const lib = join(PROJECT, ".venv/lib");
  const pythons = fs.existsSync(lib) ? fs.readdirSync(lib) : [];
  const embedded = pythons.map((name) => join(lib, name, "site-packages/embedded_postgres/pginstall/bin"));
  const debian = fs.existsSync(DEBIAN) ? fs.readdirSync(DEBIAN).map((name) => join(DEBIAN, name, "bin")) : [];
  const found = [process.env.PG_BIN ?? "", ...embedded, ...debian].find((bin) => fs.existsSync(join(bin, "initdb")));
  if (!found) throw new Error("no PostgreSQL found: run `make venv`, or name its bin folder in PG_BIN");
  return found;
}

/** @returns {Promise<number>} */
export const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });

/** @param {Record<string, string>} env */
async function createTables(env) {
  const deadline = Date.now() + START_SECONDS * 1000;
  for (;;) {
    const client = new pg.Client(connectionOf(env));
    try {
      await client.connect();
      await client.query(readFileSync(join(PROJECT, "lab/schema.sql"), "utf8"));
      return await client.end();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** @param {Record<string, string>} env */
export const connectionOf = (env) => ({
  host: env.PGHOST,
  port: Number(env.PGPORT),
  user: env.PGUSER,
  database: env.PGDATABASE,
  password: env.PGPASSWORD,
});

/** Starts a server; `stop` ends it and removes its folder. */
export async function startPostgres() {
  const bin = findPrograms();
  const dir = mkdtempSync(join(tmpdir(), "lab-pg-"));
  // PostgreSQL refuses to run as root.
  const owner = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if ("uid" in owner) chownSync(dir, NOBODY, NOBODY);
  const data = join(dir, "data");
  const initdb = ["-D", data, "-U", "lab", "-A", "trust", "-E", "UTF8", "--no-sync"];
  execFileSync(join(bin, "initdb"), initdb, { ...owner, stdio: "ignore", cwd: dir });
  const port = await freePort();
  const options = ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", "", "-F"];
  const server = spawn(join(bin, "postgres"), options, { ...owner, stdio: "ignore", cwd: dir });
  const env = { PGHOST: "127.0.0.1", PGPORT: String(port), PGUSER: "lab", PGDATABASE: "postgres", PGPASSWORD: "lab" };
  await createTables(env);
  const stop = async () => {
    const gone = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGQUIT");
    await gone;
    rmSync(dir, { recursive: true, force: true });
  };
  return { env, pid: Number(server.pid), stop };
}
