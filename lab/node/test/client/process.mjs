// SPDX-License-Identifier: GPL-3.0-or-later
// A process with one session, for tests that kill it: `node process.mjs OPTIONS COMPANY` reads a JSON command a line
// ({"do": "set", "data": {...}}) and answers each with a line.
import { createInterface } from "node:readline";

import { BufferJSON } from "baileys";

import { SessionService, usePostgresAuthState } from "../../../../roles/session_client/files/client/src/index.js";

const [options, company] = process.argv.slice(2);
/** @param {object} answer */
const say = (answer) => process.stdout.write(`${JSON.stringify(answer, BufferJSON.replacer)}\n`);

/** @type {Record<string, (auth: any, command: any) => Promise<any>>} */
const ACTIONS = {
  set: (auth, { data }) => auth.state.keys.set(data),
  get: (auth, { type, ids }) => auth.state.keys.get(type, ids),
  creds: (auth, { change }) => {
    Object.assign(auth.state.creds, change);
    return auth.saveCreds();
  },
  status: (auth) => auth.status(),
  close: (auth) => auth.close(),
};

try {
  const service = await SessionService.create(JSON.parse(options));
  const auth = await usePostgresAuthState(company, { service });
  say({ ok: auth.status() });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line, BufferJSON.reviver);
    try {
      say({ ok: (await ACTIONS[command.do](auth, command)) ?? null });
    } catch (error) {
      say({ error: error.message, name: error.name });
    }
  }
  await service.close();
} catch (error) {
  say({ error: error.message, name: error.name });
  process.exit(1);
}
