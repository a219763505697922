// SPDX-License-Identifier: BSD-2-Clause
// Who this process is to the server, so that a second one can be told who has a session.
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";

const PREFIX = "wa-session";
/** PostgreSQL cuts application_name off after 63 bytes. */
const HOST_LENGTH = 30;

export const HOST = hostname().replaceAll(/[^\w.-]/g, "_").slice(0, HOST_LENGTH);

/** `wa-session/<host>/<pid>/<random>`: one for each process that ever was. */
export const newIdentity = () => `${PREFIX}/${HOST}/${process.pid}/${randomBytes(4).toString("hex")}`;

/** @param {string} identity @returns {{host: string, pid: number} | null} */
export function parseIdentity(identity) {
  const [prefix, host, pid, random] = identity.split("/");
  return prefix === PREFIX && random ? { host, pid: Number(pid) } : null;
}

/** A process of this host that is no more: whatever the server still holds for it is held for nobody.
 * @param {string} identity */
export function isDead(identity) {
  const found = parseIdentity(identity);
  if (!found || found.host !== HOST) return false;
  try {
    process.kill(found.pid, 0);
    return false;
  } catch (error) {
    return error.code === "ESRCH";
  }
}
