// SPDX-License-Identifier: GPL-3.0-or-later
// Processes that are killed between any two phases of a move: the next one starts on the store that .env says, whatever was
// under way, and no message is lost.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import * as lab from "../support/lab.mjs";
import { COMPANIES, startMoving } from "./moving.mjs";

const [SENDS] = COMPANIES;
/** @type {import("./moving.mjs").Moving} */
let the;

before(async () => {
  the = await startMoving(lab.temporaryDir());
});
afterEach(() => the.stopApps());
after(() => the?.stop());

/** @type {["postgres" | "files", boolean][]} */
const WAYS = [["files", false], ["postgres", false], ["files", true]]; // prettier-ignore
for (const [to, outage] of WAYS) {
  for (const phase of /** @type {const} */ (["hold", "seal", "put", "record", "commit"])) {
    test(`killed ${outage ? "in an outage " : ""}on the way to ${to}, after ${phase}: it starts where .env says, and nothing is lost`, async () => {
      const from = to === "files" ? "postgres" : "files";
      const app = await the.start();
      if (the.flag.env !== from) await the.moveAll(from);
      await the.talk(app, "before");
      if (outage) {
        the.database.proxy.refuse();
        await the.talk(app, "in the outage");
      }
      await the.moveAll(to, phase);
      // One company wants to send: if that left, the next process would use the same step again. The other one is sent something: read
      // by Baileys, stored nowhere, so never acknowledged. After the commit both go as ever.
      const held = phase !== "commit";
      const { asked } = await the.sendOne(app, SENDS, `${to}, ${outage}, ${phase}: asked for`, held ? ({ unsent }) => unsent > 0 : null);
      const sent = lab.call(`${the.standin.control}/message`, { to: the.companies[1].jid, text: `while ${phase}`, timeout_ms: 20_000 });
      if (held) await lab.until("a write waits", async () => (await the.holds())[1].waiting > 0);
      else await asked; // the contact may have read it before whoever sent it has heard of that
      app.child.kill("SIGKILL");
      await new Promise((resolve) => app.child.once("exit", resolve));
      assert.equal(the.flag.env, phase === "record" || phase === "commit" ? to : from);
      const second = await the.start();
      assert.equal((await asked).status, held ? 0 : 200);
      await the.sendOne(second, SENDS, `${to}, ${outage}, ${phase}: sent first`);
      assert.equal((await sent).outcome, "delivered");
      await the.talkTwice(second, "after the kill");
      the.database.proxy.heal();
      await lab.until("all is written", async () => (await lab.call(`${second.url}/health`)).status === "ok");
      if (the.flag.env === "files") await the.moveAll("postgres");
      await the.talkTwice(second, "in the database");
    });
  }
}
