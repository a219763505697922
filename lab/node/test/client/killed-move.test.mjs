// SPDX-License-Identifier: GPL-3.0-or-later
// Processes that are killed between any two phases of a move: the next one starts on the store that .env says, whatever was
// under way, and no message is lost.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import * as lab from "../support/lab.mjs";
import { startMoving } from "./moving.mjs";

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
      // Held: read by Baileys, stored nowhere, so never acknowledged. After the commit they are taken as ever.
      const sent = the.companies.map((/** @type {any} */ { jid }) => lab.call(`${the.standin.control}/message`, { to: jid, text: `held after ${phase}`, timeout_ms: 20_000 }));
      await lab.until("they wait", async () => phase === "commit" || (await the.holds()).every((hold) => hold.waiting > 0));
      app.child.kill("SIGKILL");
      await new Promise((resolve) => app.child.once("exit", resolve));
      assert.equal(the.flag.env, phase === "record" || phase === "commit" ? to : from);
      const second = await the.start();
      for (const { outcome } of await Promise.all(sent)) assert.equal(outcome, "delivered");
      await the.talkTwice(second, "after the kill");
      the.database.proxy.heal();
      await lab.until("all is written", async () => (await lab.call(`${second.url}/health`)).status === "ok");
      if (the.flag.env === "files") await the.moveAll("postgres");
      await the.talkTwice(second, "in the database");
    });
  }
}
