// SPDX-License-Identifier: GPL-3.0-or-later
// Fifty sessions of one process through outage after outage: what it holds at the end is what it held at the beginning.
// SOAK_SECONDS=240 runs it; `make test-client` does, `make test` does not.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { soak } from "../../bench/soak.mjs";
import { pair, startStandin, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const SECONDS = Number(process.env.SOAK_SECONDS ?? 0);
const COMPANIES = Array.from({ length: 50 }, (_, n) => String(962301 + n));
/** A session's worth in the heap is 0.6 MiB: less than ten of fifty may be left over after dozens of outages. */
const MOST_HEAP_MIB = 5;
/** What is resident goes up and down by more than that. */
const MOST_RESIDENT_MIB = 25;

/** @type {client.Database} */
let database;

before(async () => {
  if (!SECONDS) return;
  database = await client.startDatabase();
  const standin = await startStandin(temporaryDir());
  pair(standin, database.env, COMPANIES);
  await standin.stop();
});
after(() => database?.stop());

test("memory stays flat over outage after outage, and no session is lost", { skip: SECONDS ? false : "SOAK_SECONDS is not set" }, async (t) => {
  const found = await soak({ env: database.env, dir: temporaryDir(), companies: COMPANIES, seconds: SECONDS });
  const { samples: _samples, ...figures } = found;
  t.diagnostic(JSON.stringify(figures));
  assert.equal(found.stopped, 0);
  assert.ok(found.outages > 2 && found.journaled > 0);
  assert.ok(found.heapDrift <= MOST_HEAP_MIB, `in use: ${found.heapDrift.toFixed(1)} MiB more at the end`);
  assert.ok(found.drift <= MOST_RESIDENT_MIB, `resident: ${found.drift.toFixed(1)} MiB more at the end`);
});
