// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The smallest application with the sample's /health: it runs on the store that its flags name, and on files it opens
// every company's directory as its own user, reading every file and writing one, or says which it could not.
import { createServer } from 'node:http';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

process.loadEnvFile('.env'); // like dotenv, it leaves what the environment already holds
const { SESSIONS_DIR: home, PORT: port, COMPANIES: companies } = process.env;
const store = process.env.USE_DATABASE_AUTH_STATE === 'true' ? 'postgres' : 'files';

function open(company) {
  const found = { company_id: company, connection: 'open', user: null, store, keys_loaded: null, last_error: null };
  if (store === 'postgres') return found;
  try {
    const directory = join(home, `company_${company}`);
    const names = readdirSync(directory).filter((name) => name.endsWith('.json') && name !== 'creds.json');
    names.forEach((name) => JSON.parse(readFileSync(join(directory, name), 'utf8')));
    const creds = join(directory, 'creds.json');
    writeFileSync(creds, readFileSync(creds));
    return { ...found, keys_loaded: names.length, user: JSON.parse(readFileSync(creds, 'utf8')).me.id };
  } catch (error) {
    return { ...found, connection: 'close', last_error: error.message };
  }
}

const opened = companies.split(',').map(open);
createServer((_request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ status: 'ok', store, pid: process.pid, companies: opened }));
}).listen(Number(port), '127.0.0.1');
