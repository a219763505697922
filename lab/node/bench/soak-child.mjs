// SPDX-License-Identifier: GPL-3.0-or-later
// node --expose-gc soak-child.mjs OPTIONS COMPANIES: a process with those sessions open, each of which writes all the time.
// Says what is resident, after a collection, before they are open (but one was, and was closed), after it, and every second from
// then on: a line each.
import { SessionService, usePostgresAuthState } from "../../../roles/session_client/files/client/src/index.js";

const EVERY_MS = 1000;
const PAUSE_MS = 200;
const SETTLE_MS = 2000;
const [options, list] = process.argv.slice(2);
const companies = list.split(",");

function resident() {
  const { rss, heapUsed } = process.memoryUsage();
  return { resident: rss / 2 ** 20, heap: heapUsed / 2 ** 20 };
}
/** What was freed goes back to the system within seconds. */
async function settled() {
  for (const ms of [SETTLE_MS, SETTLE_MS]) {
    globalThis.gc?.();
    await pause(ms);
  }
  return resident();
}
/** @param {object} line */
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const service = await SessionService.create(JSON.parse(options));
// Connections, code and the room in which V8 makes new objects are there once, whatever the number of companies.
await (await usePostgresAuthState(companies[0], { service })).close();
const before = await settled();
/** @type {Awaited<ReturnType<typeof usePostgresAuthState>>[]} */
const sessions = [];
for (const company of companies) sessions.push(await usePostgresAuthState(company, { service }));
say({ before, after: await settled() });

let ending = false;
process.stdin.on("end", () => (ending = true)).resume();

/** The steps of an active chat: its record again and again, and mappings that come and go. @param {typeof sessions[number]} auth
 * @param {string} company */
async function write(auth, company) {
  const names = /** @type {any} */ (service).keyNames(company).get("session").slice(0, 5);
  for (let turn = 0; !ending; turn++) {
    const id = names[turn % names.length];
    const { [id]: record } = await auth.state.keys.get("session", [id]);
    await auth.state.keys.set(/** @type {any} */ ({ session: { [id]: { ...record, turn } }, "lid-mapping": { soak: turn % 2 ? "1" : null } }));
    if (turn % 5 === 0) await auth.saveCreds();
    await pause(PAUSE_MS * (0.5 + Math.random()));
  }
}
const writers = sessions.map((auth, index) => write(auth, companies[index]));
let writes = 0;
while (!ending) {
  await pause(EVERY_MS);
  globalThis.gc?.();
  const states = sessions.map((auth) => auth.status());
  writes = states.reduce((sum, { outage }) => sum + (outage?.writes ?? 0), 0);
  say({ ...resident(), away: states.filter(({ state }) => state === "outage").length, writes, stopped: states.filter(({ state }) => state === "stopped").length });
}
await Promise.all(writers);
await service.close();
say({ closed: true });
