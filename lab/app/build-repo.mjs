#!/usr/bin/env node
// SPDX-License-Identifier: GPL-3.0-or-later
// node build-repo.mjs --dir DIR --remote BARE [--client]: makes the sample application's git repository and its bare remote.
// Same sources, same commits: names, dates and messages are fixed.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const CLIENT = join(HERE, "../../roles/session_client/files/client");
const ARCHIVE = "archive/baileys-file-sessions-scripts";
const TAG = "emergency-file-fallback-v1";
const TAG_MESSAGE = `The last release that keeps sessions in files

To run from files again: check out this tag, npm ci --omit=dev, set USE_REPOSITORY_PATTERN, USE_DATABASE_AUTH_STATE and
USE_LEGACY_SUPABASE to false in .env, put the sessions into baileys_sessions/company_<id>/, and restart the service with
its new environment. This release has no /health; its log says "company <id> connection open (files)".`;
const AUTHOR = { name: "Sample Application", email: "app@example.com" };

/** @param {string} dir @param {string | null} date */
const gitIn =
  (dir, date) =>
  (/** @type {string[]} */ ...args) =>
    execFileSync("git", args, {
      cwd: dir,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        PATH: process.env.PATH,
        GIT_CONFIG_GLOBAL: "/dev/null",
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_AUTHOR_NAME: AUTHOR.name,
        GIT_AUTHOR_EMAIL: AUTHOR.email,
        GIT_COMMITTER_NAME: AUTHOR.name,
        GIT_COMMITTER_EMAIL: AUTHOR.email,
        ...(date ? { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date } : {}),
      },
    }).trim();

/** Lays parts of this folder over the work tree. Dot files are stored without their dot.
 * @param {string} dir @param {...string} parts */
function lay(dir, ...parts) {
  for (const part of parts) {
    cpSync(join(HERE, part), dir, {
      recursive: true,
      filter: (path) => !path.endsWith("/README.md") && !path.endsWith("node_modules"),
    });
  }
  for (const [plain, dotted] of [
    ["gitignore", ".gitignore"],
    ["env.example", ".env.example"],
  ]) {
    if (existsSync(join(dir, plain))) renameSync(join(dir, plain), join(dir, dotted));
  }
}

/** @param {string} dir @param {string} date @param {string} message */
function commit(dir, date, message) {
  const git = gitIn(dir, date);
  git("add", "-A");
  git("commit", "-q", "-m", message);
}

/** File based, as it once was. @param {string} dir */
function commitFileBased(dir) {
  lay(dir, "common", "files", "tag");
  commit(dir, "2025-03-03T09:00:00Z", "Run WhatsApp sessions from files");
  gitIn(dir, "2025-03-03T10:00:00Z")("tag", "-a", TAG, "-m", TAG_MESSAGE);
}

/** @param {string} dir */
function commitHealth(dir) {
  lay(dir, "common", "files");
  commit(dir, "2025-06-02T09:00:00Z", "Answer GET /health");
}

/** A copy of the session client, as its role installs it. @param {string} dir */
function commitClient(dir) {
  lay(dir, "client");
  const vendor = join(dir, "vendor/session-client");
  for (const name of ["src", "bin", "package.json"]) cpSync(join(CLIENT, name), join(vendor, name), { recursive: true });
  commit(dir, "2025-11-03T09:00:00Z", "Let sessions go on while PostgreSQL is away");
}

/** PostgreSQL only; the file code moves into the archive. @param {string} dir */
function commitPostgres(dir) {
  for (const name of readdirSync(join(HERE, "files/src"))) rmSync(join(dir, "src", name));
  lay(dir, "common", "postgres");
  mkdirSync(join(dir, ARCHIVE), { recursive: true });
  cpSync(join(HERE, "files/src"), join(dir, ARCHIVE), { recursive: true });
  cpSync(join(HERE, "files/README.md"), join(dir, ARCHIVE, "README.md"));
  commit(dir, "2025-09-01T09:00:00Z", "Keep sessions in PostgreSQL; archive the file-based code");
}

/** @param {string} dir @param {string} remote */
function publish(dir, remote) {
  mkdirSync(dirname(remote), { recursive: true });
  gitIn(dirname(remote), null)("init", "-q", "--bare", "-b", "main", remote);
  const git = gitIn(dir, null);
  git("remote", "add", "origin", remote);
  git("push", "-q", "-u", "origin", "main", TAG);
}

const { values } = parseArgs({ options: { dir: { type: "string" }, remote: { type: "string" }, client: { type: "boolean" } } });
if (!values.dir || !values.remote) {
  process.stderr.write("build-repo: needs --dir and --remote\n");
  process.exit(2);
}
const [dir, remote] = [resolve(values.dir), resolve(values.remote)];
for (const path of [join(dir, ".git"), remote]) {
  if (!existsSync(path)) continue;
  process.stderr.write(`build-repo: ${path} exists already\n`);
  process.exit(1);
}
mkdirSync(dir, { recursive: true });
gitIn(dir, null)("init", "-q", "-b", "main");
commitFileBased(dir);
commitHealth(dir);
commitPostgres(dir);
if (values.client) commitClient(dir);
publish(dir, remote);
const git = gitIn(dir, null);
const result = {
  dir,
  remote,
  head: git("rev-parse", "HEAD"),
  tag: TAG,
  tag_commit: git("rev-parse", `${TAG}^{commit}`),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
