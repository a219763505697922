// SPDX-License-Identifier: BSD-2-Clause
// Who this process is to the server, so that a second one can be told who has a session.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

const PREFIX = "wa-session";
/** PostgreSQL cuts application_name off after 63 bytes. */
const HOST_LENGTH = 30;

export const HOST = hostname().replaceAll(/[^\w.-]/g, "_").slice(0, HOST_LENGTH);

/** `wa-session/<host>/<pid>/<life>`, of which no other process has ever had the same. */
export const newIdentity = () => `${PREFIX}/${HOST}/${process.pid}/${Object.values(OURS).join("")}${digest(randomBytes(8))}`;

const DIGITS = 3;
/** So many characters of 36 stand for something. @param {string | Buffer} of */
const digest = (of) => (createHash("sha256").update(of).digest().readUInt32BE() % 36 ** DIGITS).toString(36).padStart(DIGITS, "0");

/** Nothing where the kernel does not say it. @param {() => string} ask */
function told(ask) {
  try {
    return ask();
  } catch {
    return "";
  }
}

/** When a process began, in the kernel's ticks since the boot. Its name, which may hold anything, ends with the last bracket.
 * @param {number} pid */
const startOf = (pid) => told(() => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19] ?? "");

/** A host has another process of the same pid after each boot, soon or late also in one, and a container (with processes of its own)
 * the same one after each start. */
const OURS = {
  boot: digest(told(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8"))),
  space: digest(told(() => readlinkSync("/proc/self/ns/pid"))),
  start: digest(startOf(process.pid)),
};

/** `boot`, `space` and `start` are empty in an identity that an older version made. @param {string} identity */
function parseIdentity(identity) {
  const [prefix, host, pid, life] = identity.split("/");
  if (prefix !== PREFIX || !life) return null;
  const [boot, space, start] = life.length === 4 * DIGITS ? [0, 1, 2].map((n) => life.slice(n * DIGITS, (n + 1) * DIGITS)) : ["", "", ""];
  return { host, pid: Number(pid), boot, space, start };
}

/** A process of this host that is no more: whatever is still held for it is held for nobody. Of another container with this host's
 * name nobody here knows. @param {string} identity */
export function isDead(identity) {
  const found = parseIdentity(identity);
  if (!found || found.host !== HOST) return false;
  if (found.boot && found.boot !== OURS.boot) return true;
  if (found.space && found.space !== OURS.space) return false;
  return !exists(found.pid) || isAnother(found);
}

/** Of another container with this host's name: most often this one as it was before it was started again. @param {string} identity */
export function isOfAnotherContainer(identity) {
  const found = parseIdentity(identity);
  return found !== null && found.host === HOST && found.space !== "" && found.space !== OURS.space;
}

/** @param {number} pid */
function exists(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH";
  }
}

/** The pid has gone to another process. @param {{pid: number, start: string}} found */
function isAnother({ pid, start }) {
  const now = startOf(pid);
  return start !== "" && now !== "" && digest(now) !== start;
}
