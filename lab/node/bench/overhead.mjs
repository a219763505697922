// SPDX-License-Identifier: GPL-3.0-or-later
// What metrics and logging cost: the same operations with and without them, against a database that answers at once.
import pg from "pg";

const TIMES = 400;
const ROUNDS = 25;
const nothing = () => undefined;

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** @param {() => unknown} work @returns {Promise<number>} seconds of one */
async function timed(work) {
  const started = performance.now();
  for (let n = 0; n < TIMES; n++) await work();
  return (performance.now() - started) / 1000 / TIMES;
}

/** Takes the figures and the log away; returns how they come back. @param {any} service */
function silence(service) {
  const { metrics, database } = service;
  const before = { looked: metrics.looked, query: metrics.query, keys: metrics.keys, log: database.log };
  Object.assign(metrics, { looked: nothing, query: nothing, keys: { set: nothing } });
  database.log = { debug: nothing, warn: nothing };
  return () => {
    Object.assign(metrics, { looked: before.looked, query: before.query, keys: before.keys });
    database.log = before.log;
  };
}

/** Seconds that figures and log add to one operation: the median of interleaved rounds. @param {any} service @param {() => unknown} work */
async function added(service, work) {
  const differences = [];
  await timed(work);
  for (let round = 0; round < ROUNDS; round++) {
    const full = await timed(work);
    const back = silence(service);
    const bare = await timed(work);
    back();
    differences.push(full - bare);
  }
  return median(differences);
}

/** @param {any} service @param {string} company */
export async function overhead(service, company) {
  const session = service.sessions.get(company);
  const [id] = [...session.memory.types.get("session").keys()];
  const get = await added(service, () => session.get("session", [id]));
  const { pool } = service.database;
  const connect = pool.connect;
  const client = { query: async () => ({ rows: [{ mine: true, creds: "0" }] }), release: nothing };
  pool.connect = async () => client;
  try {
    const set = await added(service, () => session.set({ "lid-mapping": { bench: "1" } }));
    return { get, set };
  } finally {
    pool.connect = connect;
    await session.set({ "lid-mapping": { bench: null } });
  }
}

/** Statements that PostgreSQL is sent for one `set`, for one `get`, and for a look at the figures. @param {any} service @param {string} company */
export async function statements(service, company) {
  const session = service.sessions.get(company);
  const [id] = [...session.memory.types.get("session").keys()];
  const query = pg.Client.prototype.query;
  let sent = 0;
  const counted = /** @type {any} */ (
    function (/** @type {any} */ ...args) {
      sent++;
      // @ts-ignore - the client's own `this`
      return query.apply(this, args);
    }
  );
  pg.Client.prototype.query = counted;
  const of = async (/** @type {() => unknown} */ work) => {
    sent = 0;
    await work();
    return sent;
  };
  try {
    return {
      set: await of(() => session.set({ "lid-mapping": { bench: "1" } })),
      get: await of(() => session.get("session", [id])),
      look: await of(() => service.metrics.registry.metrics()),
    };
  } finally {
    pg.Client.prototype.query = query;
    await session.set({ "lid-mapping": { bench: null } });
  }
}
