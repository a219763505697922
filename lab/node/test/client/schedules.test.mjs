// SPDX-License-Identifier: GPL-3.0-or-later
// Random schedules of writes, faults, orderly ends and kills, against a model: whatever was acknowledged is there at the
// end, and nothing older is over something newer. SCHEDULES=200 SEED=1 repeats a run; make test-client-schedules runs 200.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
const SCHEDULES = Number(process.env.SCHEDULES ?? 8);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const STEPS = 24;
const MOST_STARTS = 5;
const NAMES = ["alice.0", "bob.0", "carol.0", "dave.0", "erin.0"];

/** @type {client.Database} */
let database;
before(async () => {
  database = await client.startDatabase();
});
after(() => database.stop());

/** mulberry32: the same schedule for the same seed. @param {number} seed */
function random(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    chance: (/** @type {number} */ share) => next() < share,
    pick: /** @template T */ (/** @type {T[]} */ from) => from[Math.floor(next() * from.length)],
  };
}

/** What may be stored of a key: several values only where a write was under way when its process was killed. */
class Model {
  constructor() {
    /** @type {Map<string, (number | null)[]>} */
    this.keys = new Map(NAMES.map((name) => [name, [null]]));
    /** @type {number[]} */
    this.creds = [1];
    this.counter = 1;
  }

  /** @param {any} command @param {boolean} acknowledged */
  note(command, acknowledged) {
    if (command.do === "creds") this.creds = acknowledged ? [command.value] : [...this.creds, command.value];
    for (const [name, value] of Object.entries(command.values ?? {})) {
      const before = this.keys.get(name) ?? [];
      this.keys.set(name, acknowledged ? [value] : [...before, value]);
    }
  }
}

/** @param {ReturnType<typeof random>} dice @param {Model} model */
function nextWrite(dice, model) {
  const value = ++model.counter;
  if (dice.chance(0.2)) return { do: "creds", change: { nextPreKeyId: value }, value };
  /** @type {Record<string, number | null>} */
  const values = {};
  for (const name of NAMES) if (dice.chance(0.4)) values[name] = dice.chance(0.25) ? null : value;
  const data = Object.fromEntries(Object.entries(values).map(([name, each]) => [name, each && client.record(each)]));
  return { do: "set", data: { session: data }, values };
}

class Run {
  /** @param {number} seed */
  constructor(seed) {
    this.seed = seed;
    this.dice = random(seed);
    this.model = new Model();
    this.dir = temporaryDir();
    /** @type {Awaited<ReturnType<typeof client.startProcess>> | null} */
    this.process = null;
    this.away = false;
    /** @type {string[]} */
    this.story = [];
  }

  /** As its last life left it; without a database only where a journal or an orderly end left a cache. On a busy machine
   * a database that serves may be too late as well. */
  async start() {
    const settings = {
      connection: database.connection, dir: this.dir, admin: false, connectTimeoutMs: 250, queryTimeoutMs: 350, recoveryIntervalMs: 40,
    }; // prettier-ignore
    for (let tries = 1; !this.process; tries++) {
      try {
        this.process = await client.startProcess(settings);
      } catch (error) {
        if (error.name !== "Unavailable" || tries > MOST_STARTS) throw error;
        this.heal();
      }
    }
    this.story.push(`start (${this.process.opened.state})`);
  }

  heal() {
    database.proxy.heal();
    this.away = false;
    this.story.push("heal");
  }

  async step() {
    const { dice, model } = this;
    if (!this.process) await this.start();
    const child = /** @type {Awaited<ReturnType<typeof client.startProcess>>} */ (this.process);
    if (dice.chance(0.18)) {
      if (this.away) return this.heal();
      const fault = dice.pick(/** @type {("refuse" | "drop")[]} */ (["refuse", "drop"]));
      this.story.push(fault);
      this.away = true;
      return database.proxy[fault]();
    }
    if (dice.chance(0.08)) {
      this.story.push("close");
      await child.ask({ do: "close" });
      await child.kill();
      this.process = null;
      return undefined;
    }
    const command = nextWrite(dice, model);
    if (dice.chance(0.1)) {
      this.story.push(`killed in ${JSON.stringify(command.values ?? command.value)}`);
      child.ask(command).catch(() => undefined);
      if (dice.chance(0.5)) await new Promise((resolve) => setTimeout(resolve, 5)); // some get further than others
      await child.kill();
      this.process = null;
      return model.note(command, false);
    }
    await child.ask(command);
    this.story.push(JSON.stringify(command.values ?? command.value));
    return model.note(command, true);
  }

  async finish() {
    this.heal();
    if (!this.process) await this.start();
    const child = /** @type {Awaited<ReturnType<typeof client.startProcess>>} */ (this.process);
    await client.until("the session is online", async () => (await child.ask({ do: "status" })).state === "online");
    const memory = await child.ask({ do: "get", type: "session", ids: NAMES });
    const { rows } = await database.admin.query("SELECT creds->'nextPreKeyId' AS counter FROM whatsapp_auth");
    const told = `\nseed ${this.seed}: ${this.story.join(", ")}`;
    assert.ok(this.model.creds.includes(rows[0].counter), `creds ${rows[0].counter}, expected ${this.model.creds}${told}`);
    for (const [name, allowed] of this.model.keys) {
      const row = await client.rowOf(database.admin, "session", name);
      const counter = row?._sessions["BQ=="].currentRatchet.previousCounter ?? null;
      assert.ok(allowed.includes(counter), `${name} is ${counter}, expected ${allowed}${told}`);
      assert.deepEqual(memory[name] ?? null, row, `memory and database differ in ${name}${told}`);
    }
  }

  async end() {
    await this.process?.kill();
    removeDir(this.dir);
  }
}

for (let number = 0; number < SCHEDULES; number++) {
  const seed = SEED + number;
  test(`schedule ${seed} loses nothing`, async () => {
    await client.resetTables(database.admin);
    await client.addCompany(database.admin);
    const run = new Run(seed);
    try {
      for (let step = 0; step < STEPS; step++) await run.step();
      await run.finish();
    } finally {
      database.proxy.heal();
      await run.end();
    }
  });
}
