// SPDX-License-Identifier: GPL-3.0-or-later
// What can be wrong between a session and its database beside an outage of all of it: the last slot, one connection, TLS, a
// clock that is set.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createConnection, createServer } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TLSSocket, createSecureContext } from "node:tls";
import { after, afterEach, before, beforeEach, mock, test } from "node:test";

import pg from "pg";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import { connectionOf } from "../../../../roles/session_client/files/client/src/settings.js";
import { removeDir, temporaryDir } from "../support/lab.mjs";
import * as client from "./support.mjs";

const { COMPANY } = client;
/** @type {client.Database} */
let database;
/** @type {Awaited<ReturnType<typeof client.startService>>[]} */
const services = [];

before(async () => {
  database = await client.startDatabase();
});
beforeEach(async () => {
  await client.resetTables(database.admin);
  await client.addCompany(database.admin);
  await client.addKey(database.admin, "session", "alice.0", client.record(1));
});
afterEach(async () => {
  mock.restoreAll();
  database.proxy.heal();
  for (const { service, remove } of services.splice(0)) {
    await service.close();
    remove();
  }
});
after(() => database.stop());

/** @param {object} [options] */
async function open(options) {
  const started = await client.startService(database, options);
  services.push(started);
  const auth = await usePostgresAuthState(COMPANY, { service: started.service });
  return { ...started, ...auth, keys: auth.state.keys };
}
/** @param {any} auth @param {string} state */
const untilState = (auth, state) => client.until(`the session is ${state}`, () => auth.status().state === state);
/** @param {string} id */
const stored = (id) => client.rowOf(database.admin, "session", id);
/** @param {number} counter */
const alice = (counter) => ({ session: { "alice.0": client.record(counter) } });

/** Takes every connection that the server gives to others than superusers; returns how they are given back. */
async function takeEverySlot() {
  /** @type {pg.Client[]} */
  const taken = [];
  const more = async () => {
    for (;;) {
      const one = new pg.Client({ ...database.directConnection, user: "greedy" });
      one.on("error", () => undefined);
      try {
        await one.connect();
      } catch (error) {
        return error.code;
      }
      taken.push(one);
    }
  };
  // One that is still logging in has no name yet, and would have a slot behind our back.
  const left = async () =>
    (await database.admin.query(`
      SELECT CASE WHEN usename = 'app' THEN pg_terminate_backend(pid) END FROM pg_stat_activity
       WHERE backend_type = 'client backend' AND (usename = 'app' OR usename IS NULL)`)).rowCount;
  assert.equal(await more(), "53300");
  while (await left()) await more();
  return () => Promise.all(taken.map((each) => each.end()));
}

test("while others hold every slot of the server, the session goes on, and with the first free one it is back", async () => {
  await database.admin.query("CREATE ROLE greedy LOGIN");
  const auth = await open();
  const giveBack = await takeEverySlot();
  try {
    await auth.keys.set(alice(2));
    assert.equal(auth.status().state, "outage");
    await client.refuses(auth.service.database.query("test", "SELECT 1"), "Unavailable", /HINT: the server gives no more connections: lower poolSize, or raise max_connections/);
  } finally {
    await giveBack();
    await database.admin.query("DROP ROLE greedy");
  }
  await untilState(auth, "online");
  assert.deepEqual(await stored("alice.0"), client.record(2));
});

test("one connection is enough for an outage and the way back, under many writes at once", async () => {
  const auth = await open({ poolSize: 1 });
  const many = (/** @type {number} */ turn) =>
    Promise.all([...Array.from({ length: 20 }, (_, n) => auth.keys.set({ "lid-mapping": { [n]: String(turn) } })), auth.saveCreds()]);
  await many(1);
  database.proxy.refuse();
  await many(2);
  assert.equal(auth.status().state, "outage");
  database.proxy.heal();
  await Promise.all([many(3), untilState(auth, "online")]);
  await many(4);
  const { rows } = await database.admin.query("SELECT value, count(*)::int AS n FROM whatsapp_keys WHERE key_type = 'lid-mapping' GROUP BY 1");
  assert.deepEqual(rows, [{ value: "4", n: 20 }]);
});

for (const [what, step] of /** @type {[string, number][]} */ ([["back", -3_600_000], ["forward", 3_600_000]])) {
  test(`a clock that is set ${what} by an hour in an outage neither ends it nor ages it`, async () => {
    const auth = await open({ cacheTtlMs: 60_000, onExpiry: "stop" });
    database.proxy.refuse();
    await auth.keys.set(alice(2));
    const now = Date.now;
    mock.method(Date, "now", () => now() + step);
    await auth.keys.set(alice(3));
    const { outage } = auth.status();
    assert.ok(outage && outage.age_seconds < 60 && outage.age_seconds >= 0, JSON.stringify(outage));
    assert.equal(outage.expired, false);
    database.proxy.heal();
    await untilState(auth, "online");
    await auth.keys.set(alice(4));
    assert.deepEqual(await stored("alice.0"), client.record(4));
    database.proxy.refuse(); // and the next outage, which begins by the new clock
    await auth.keys.set(alice(5));
    assert.ok((auth.status().outage?.age_seconds ?? 99) < 60, JSON.stringify(auth.status().outage));
  });
}

test("a clock that is set back between two outages does not make the second one old", async () => {
  const auth = await open({ cacheTtlMs: 60_000, onExpiry: "stop" });
  const now = Date.now;
  mock.method(Date, "now", () => now() + 3_600_000);
  await auth.keys.set(alice(2)); // the last contact, an hour in what is then the future
  mock.restoreAll();
  database.proxy.refuse();
  await auth.keys.set(alice(3));
  const { outage } = auth.status();
  assert.ok(outage && outage.age_seconds < 60 && outage.age_seconds >= 0, JSON.stringify(outage));
  database.proxy.heal();
  await untilState(auth, "online");
});

/** What a trigger makes of a row that is written or deleted when the database comes back. @type {[string, string][]} */
const TRIGGERS = [
  ["changes a row on its way", "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; NEW.value := '{\"other\": 1}'; RETURN NEW"],
  ["writes nothing", "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NULL"],
  ["deletes nothing", "IF TG_OP = 'DELETE' THEN RETURN NULL; END IF; RETURN NEW"],
];
for (const [what, body] of TRIGGERS) {
  test(`where a trigger ${what}, the outage is not over, its journal stays and it is told; without the trigger it is over`, async () => {
    await client.addKey(database.admin, "session", "bob.0", client.record(1));
    const auth = await open();
    database.proxy.refuse();
    await auth.keys.set({ session: { "alice.0": client.record(2), "carol.0": client.record(1), "bob.0": null } });
    await database.admin.query(`CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body}; END $$;
      CREATE TRIGGER spoil BEFORE INSERT OR UPDATE OR DELETE ON whatsapp_keys FOR EACH ROW EXECUTE FUNCTION spoil()`);
    try {
      database.proxy.heal();
      await client.until("it is told", () => /does not hold what was written to it/.test(auth.logger.lines.error.join()));
      assert.deepEqual([auth.status().state, auth.status().outage?.writes], ["outage", 1]);
      assert.ok(client.filesIn(auth.dir).includes(`${COMPANY}.journal`));
      assert.deepEqual(await stored("alice.0"), client.record(1));
    } finally {
      await database.admin.query("DROP FUNCTION spoil CASCADE");
    }
    await untilState(auth, "online");
    assert.deepEqual([await stored("alice.0"), await stored("bob.0"), await stored("carol.0")], [client.record(2), null, client.record(1)]);
  });
}

/** A certificate authority and a certificate of that name, by openssl. @param {string} dir @param {string} name */
function makeCertificate(dir, name) {
  const key = join(dir, `${name}.key`);
  const certificate = join(dir, `${name}.crt`);
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key, "-out", certificate, ...subject], { stdio: "ignore" });
  return { certificate, context: createSecureContext({ key: readFileSync(key), cert: readFileSync(certificate) }) };
}

/** What a PostgreSQL with TLS is to a client: it agrees to a SSLRequest, and goes on inside TLS. @param {any} secureContext
 * @param {number} target */
async function startTls(secureContext, target) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write("S");
      const inside = new TLSSocket(socket, { isServer: true, secureContext });
      const upstream = createConnection(target, "127.0.0.1");
      for (const [from, to] of [[inside, upstream], [upstream, inside]]) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { port, stop: () => new Promise((resolve) => server.close(resolve)) };
}

test("TLS: verify-full takes the right certificate only, and says what to check", async () => {
  const dir = temporaryDir();
  const right = makeCertificate(dir, "localhost");
  const other = makeCertificate(dir, "db.example");
  const servers = await Promise.all([right, other].map(({ context }) => startTls(context, Number(database.env.PGPORT))));
  const connect = async (/** @type {string} */ mode, /** @type {string} */ root, /** @type {number} */ port) =>
    open({
      connection: connectionOf({
        POSTGRES_HOST: "localhost", POSTGRES_PORT: String(port), POSTGRES_DB: database.env.PGDATABASE, POSTGRES_USER: "app",
        POSTGRES_SSL_MODE: mode, POSTGRES_SSL_ROOT_CERT: root,
      }),
    }); // prettier-ignore
  const [trusted, foreign] = servers.map(({ port }) => port);
  try {
    const auth = await connect("verify-full", right.certificate, trusted);
    assert.deepEqual(await auth.keys.get("session", ["alice.0"]), { "alice.0": client.record(1) });
    await auth.close();
    const hint = /HINT: check POSTGRES_SSL_ROOT_CERT, and that POSTGRES_HOST is the name in the certificate/;
    await client.refuses(connect("verify-full", other.certificate, foreign), "Unavailable", hint); // another host's name
    await client.refuses(connect("verify-full", right.certificate, foreign), "Unavailable", hint); // another authority
    await client.refuses(connect("verify-ca", right.certificate, foreign), "Unavailable", hint);
    await (await connect("verify-ca", other.certificate, foreign)).close();
    await client.refuses(connect("verify-full", join(dir, "none.crt"), trusted), "Misconfigured", /root certificate cannot be read/);
    await client.refuses(connect("verify-full", right.certificate, database.proxy.port), "Unavailable", /does not support SSL/);
  } finally {
    for (const { service, remove } of services.splice(0)) {
      await service.close();
      remove();
    }
    for (const server of servers) await server.stop();
    removeDir(dir);
  }
});
