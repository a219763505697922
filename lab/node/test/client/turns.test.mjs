// SPDX-License-Identifier: GPL-3.0-or-later
// Only so much at the same time: what brings sessions back leaves connections for those that are back.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Turns } from "../../../../roles/session_client/files/client/src/turns.js";

test("no more than allowed at the same time, in order, and a failure gives its turn back", async () => {
  const turns = new Turns(2);
  /** @type {string[]} */
  const story = [];
  /** @type {Map<string, (fails?: Error) => void>} */
  const end = new Map();
  const work = (/** @type {string} */ name) =>
    turns.take(() => {
      story.push(name);
      return new Promise((resolve, reject) => end.set(name, (error) => (error ? reject(error) : resolve(name))));
    });
  const all = ["a", "b", "c", "d", "e"].map(work);
  const settled = Promise.allSettled(all);
  assert.deepEqual(story, ["a", "b"]);
  end.get("b")?.(new Error("no database"));
  await assert.rejects(all[1], /no database/);
  await new Promise(setImmediate);
  assert.deepEqual(story, ["a", "b", "c"]);
  end.get("a")?.();
  end.get("c")?.();
  await Promise.all([all[0], all[2]]);
  await new Promise(setImmediate);
  assert.deepEqual(story, ["a", "b", "c", "d", "e"]);
  for (const name of ["d", "e"]) end.get(name)?.();
  assert.deepEqual((await settled).map(({ status }) => status), ["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"]);
  assert.equal(turns.free, 2);
});
