// SPDX-License-Identifier: GPL-3.0-or-later
// What a session holds: everything, as small as it can be, and what it hands out is nobody else's.
import assert from "node:assert/strict";
import { test } from "node:test";

import { decode, encode } from "../../../../roles/session_client/files/client/src/codec.js";
import { Memory } from "../../../../roles/session_client/files/client/src/memory.js";
import { reencode } from "../../seed/encodings.mjs";
import * as client from "./support.mjs";

/** @param {number} count */
function filled(count) {
  const memory = new Memory();
  for (let n = 0; n < count; n++) memory.load("session", `${n}.0`, JSON.stringify(client.record(n)));
  return memory;
}
/** @param {Memory} memory */
const values = (memory) => [...(memory.types.get("session")?.values() ?? [])].filter((held) => typeof held !== "string").length;

test("few keys are kept as values, however many are asked for, and each answers as before", () => {
  const memory = filled(2000);
  for (let turn = 0; turn < 2; turn++) {
    for (let n = 0; n < 2000; n++) assert.deepEqual(memory.get("session", `${n}.0`), client.record(n));
  }
  assert.ok(values(memory) > 0 && values(memory) <= 128, `${values(memory)} values`);
  assert.equal(memory.size, 2000);
});

test("a key that is written or removed after it was asked for is not brought back by what was kept of it", () => {
  const memory = filled(1000);
  memory.get("session", "1.0");
  memory.get("session", "2.0");
  memory.apply([{ type: "session", id: "1.0", text: encode("session", client.record(-1)) }, { type: "session", id: "2.0", text: null }]);
  for (let n = 3; n < 1000; n++) memory.get("session", `${n}.0`); // those kept are texts again
  assert.deepEqual(memory.get("session", "1.0"), client.record(-1));
  assert.equal(memory.get("session", "2.0"), undefined);
});

test("of a key that is asked for and written again and again, one value is kept", () => {
  const memory = filled(1);
  for (let n = 0; n < 1000; n++) {
    memory.get("session", "0.0");
    memory.apply([{ type: "session", id: "0.0", text: encode("session", client.record(n)) }]);
  }
  memory.get("session", "0.0");
  assert.equal(memory.decoded.size, 1);
});

test("what it counts of its size goes with what is removed, also after it was asked for", () => {
  const memory = filled(10);
  for (let n = 0; n < 10; n++) memory.get("session", `${n}.0`);
  memory.apply(Array.from({ length: 10 }, (_, n) => ({ type: "session", id: `${n}.0`, text: null })));
  assert.deepEqual([memory.size, memory.characters], [0, 0]);
});

for (const form of [1, 2]) {
  test(`bytes in the ${["", "array", "index"][form]} form take no more room than in base64`, () => {
    const pair = client.preKey();
    const memory = new Memory();
    memory.load("pre-key", "1", JSON.stringify(reencode(JSON.parse(JSON.stringify(pair, client.replacer)), form)));
    assert.equal(memory.characters, encode("pre-key", pair).length + 1);
    assert.deepEqual(memory.get("pre-key", "1"), { private: Buffer.from(pair.private), public: Buffer.from(pair.public) });
  });
}

test("what it hands out are plain objects, of names that are fields and of names that are data", () => {
  const memory = new Memory();
  const jids = { "4917100000000:7@lid": true, "12036300@g.us": true };
  memory.load("sender-key-memory", "g", JSON.stringify(jids));
  memory.load("session", "a.0", JSON.stringify(client.record(1)));
  const found = memory.get("sender-key-memory", "g");
  assert.deepStrictEqual(found, jids);
  assert.equal(Object.getPrototypeOf(found), Object.prototype);
  assert.deepStrictEqual(memory.get("session", "a.0"), client.record(1));
  assert.equal(memory.get("session", "a.0").constructor, Object);
  assert.notEqual(memory.get("session", "a.0")._sessions, memory.get("session", "a.0")._sessions);
});

test("bytes are found in a text with escapes, and texts that only speak of a Buffer stay texts", () => {
  const bytes = '{"type":"\\u0042uffer","data":"AAEC"}';
  assert.deepEqual(decode("identity-key", bytes), Buffer.from([0, 1, 2]));
  assert.deepEqual(decode("device-list", '["\\"Buffer\\"", "0"]'), ['"Buffer"', "0"]);
});
