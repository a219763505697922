// SPDX-License-Identifier: GPL-3.0-or-later
// Many sessions of one process, which lose their database and come back together.
import assert from "node:assert/strict";
import { test } from "node:test";

import { usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";
import * as client from "./support.mjs";

const COMPANIES = Array.from({ length: 12 }, (_, n) => String(100 + n));
const KEYS = 500;

for (const fence of [true, false]) {
  test(`many sessions come back together, none of them in another's way, ${fence ? "with" : "without"} the schema baileys_resilience`, async (t) => {
    const database = await client.startDatabase({ fence });
    t.after(() => database.stop());
    const { service, sentry, remove } = await client.startService(database);
    t.after(() => service.close().then(remove));
    const auths = await Promise.all(COMPANIES.map((company) => open(database, service, company)));
    database.proxy.refuse();
    await Promise.all(auths.map((auth) => auth.state.keys.set({ session: { "alice.0": client.record(2) } })));
    database.proxy.heal();
    await client.until("all are back", () => auths.every((auth) => auth.status().state === "online"));
    for (const company of COMPANIES) assert.deepEqual(await client.rowOf(database.admin, "session", "alice.0", company), client.record(2));
    // On a machine that is busy with something else a replay may also be called slow.
    const told = sentry.sent.map(({ message }) => message).filter((message) => !message.startsWith("slow database query"));
    assert.deepEqual(told, Array(COMPANIES.length).fill("session cache in use"));
    assert.doesNotMatch(await service.metrics.registry.metrics(), /query_errors_total\{operation="replay"/);
  });
}

/** @param {client.Database} database @param {any} service @param {string} company */
async function open(database, service, company) {
  await client.addCompany(database.admin, undefined, company);
  await database.admin.query(
    `INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)
     SELECT $1, 'device-list', n::text, jsonb_build_array(n::text, repeat('x', 150)) FROM generate_series(1, $2::int) n`,
    [company, KEYS],
  );
  return usePostgresAuthState(company, { service });
}
