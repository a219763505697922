// SPDX-License-Identifier: GPL-3.0-or-later
// An application with real sessions that can move between its stores, and whoever moves them.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import * as lab from "../support/lab.mjs";
import { coordinator } from "./coordinator.mjs";
import * as client from "./support.mjs";
import * as talking from "./talking.mjs";

export const COMPANIES = ["962301", "962302"];

/** Everything that the tests of moves need. `stop` ends all of it. @param {string} dir */
export async function startMoving(dir) {
  const database = await client.startDatabase();
  const standin = await lab.startStandin(dir);
  const companies = lab.pair(standin, database.env, COMPANIES, 300);
  const home = lab.makeApp(dir, "client");
  const sessionsDir = join(home, "baileys_sessions");
  const adminDir = join(home, ".wa-session");
  /** @type {{env: "postgres" | "files"}} What .env says. */
  const flag = { env: "postgres" };
  const moving = coordinator({ dir: adminDir, sessionsDir, admin: database.admin, flag: (store) => (flag.env = store) });
  /** @type {lab.App[]} */
  const apps = [];
  const stopApps = async () => {
    database.proxy.heal();
    for (const app of apps.splice(0)) await app.stop();
  };
  /** What the contact has read. @returns {Promise<string[]>} */
  const inbox = async () => (await lab.call(`${standin.control}/inbox?contact=contact-1`)).messages.map((/** @type {any} */ { text }) => text);
  /** The hold of each company. @returns {Promise<any[]>} */
  async function holds() {
    const { text } = await client.askHttp({ socketPath: join(adminDir, "admin.sock") }, "GET", "/status");
    const { sessions } = JSON.parse(text);
    return COMPANIES.map((id) => sessions.find((/** @type {any} */ { company }) => company === id).hold);
  }
  return {
    database,
    standin,
    companies,
    moving,
    flag,
    stopApps,
    /** On the store that .env says, and on no other. @param {string} [ws] where WhatsApp is */
    async start(ws = standin.ws) {
      const app = await lab.startApp(home, "client", { ws }, talking.throughProxy(database), {
        USE_DATABASE_AUTH_STATE: String(flag.env === "postgres"),
        WA_SESSION_EXPORT_DIR: join(home, ".exports"),
        WA_SESSIONS_DIR: sessionsDir,
      });
      apps.push(app);
      for (const id of COMPANIES) await lab.untilOpen(app, id);
      return app;
    },
    /** @param {lab.App} app @param {string} text */
    talk: (app, text) => talking.talk(standin, companies, app, text),
    /** @param {lab.App} app @param {string} text */
    talkTwice: (app, text) => talking.talkTwice(standin, companies, app, text),
    /** A message of one company: until it is read, or, with `until`, until its hold is so. What was asked is in the answer.
     * @param {lab.App} app @param {string} company @param {string} text @param {((hold: any) => boolean) | null} [until] */
    async sendOne(app, company, text, until = null) {
      const { jid } = await lab.call(`${standin.control}/contact`, { id: "contact-1" });
      const asked = lab.call(`${app.url}/send`, { company, to: jid, text }).catch((error) => ({ status: 0, error: error.message }));
      await lab.until(`"${text}" is read, or held`, async () => {
        if (until) return until((await holds())[COMPANIES.indexOf(company)]);
        return (await inbox()).includes(text);
      });
      return { asked };
    },
    inbox,
    logins: () => talking.loginsOf(standin),
    /** @param {"postgres" | "files"} to @param {Parameters<typeof moving.move>[2]} [until] */
    moveAll: (to, until) => Promise.all(COMPANIES.map((id) => moving.move(id, to, until))),
    holds,
    /** What memory holds, as a copy of it says. @param {string} id */
    async memoryOf(id) {
      const { exported } = await client.post(adminDir, `/export?company=${id}`);
      return filesIn(exported[id].directory);
    },
    async stop() {
      await stopApps();
      await standin.stop();
      await database.stop();
      lab.removeDir(dir);
    },
  };
}

/** @typedef {Awaited<ReturnType<typeof startMoving>>} Moving */

/** Contents by file name, in order. @param {string} directory @returns {[string, string][]} */
export const filesIn = (directory) =>
  readdirSync(directory).filter((name) => name.endsWith(".json")).sort().map((name) => [name, readFileSync(join(directory, name), "utf8")]); // prettier-ignore
