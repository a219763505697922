// SPDX-License-Identifier: GPL-3.0-or-later
// What the application calls a loaded key: one that Baileys can use, not one that merely lies there.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";

import { useMultiFileAuthState } from "baileys";

import * as lab from "./support/lab.mjs";

const dir = lab.temporaryDir();
after(() => lab.removeDir(dir));

test("empty, broken and wrongly encoded key files are not counted", async () => {
  const home = lab.makeApp(dir, "archive");
  const { FileStore } = await import(join(home, "src/store.js"));
  const { countLoaded } = await import(join(home, "src/loaded.js"));
  const folder = join(dir, "company_1");
  mkdirSync(folder);
  const { state } = await useMultiFileAuthState(folder);
  const pair = { private: Buffer.from("a"), public: Buffer.from("b") };
  await state.keys.set({
    "pre-key": { 1: pair, 2: pair, 3: /** @type {any} */ ({ ...pair, public: [1, 2] }) },
    "sender-key-memory": { "1@g.us": { "1:2@s.whatsapp.net": true } },
    "lid-mapping": { 7: "8" },
  });
  writeFileSync(join(folder, "session-1.0.json"), "");
  writeFileSync(join(folder, "pre-key-2.json"), "{");
  writeFileSync(join(folder, "creds.json"), "{}");
  const names = await new FileStore(dir).keyNames("1");
  assert.deepEqual(names.get("sender-key-memory"), ["1@g.us"]);
  assert.equal(await countLoaded(state.keys, names), 3);
});
