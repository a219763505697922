// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import * as lab from "./support/lab.mjs";
import { startPostgres } from "./support/postgres.mjs";

const dir = lab.temporaryDir();
/** @type {Awaited<ReturnType<typeof startPostgres>>} */
let db;
/** @type {Awaited<ReturnType<typeof lab.startStandin>>} */
let standin;
/** @type {any} */
let company;
const files = join(dir, "company");

before(async () => {
  db = await startPostgres();
  standin = await lab.startStandin(dir);
  [company] = lab.pair(standin, db.env, ["962301"]);
  await lab.exportToFiles(lab.makeApp(dir, "postgres"), db.env, "962301", files);
});
after(async () => {
  await standin?.stop();
  await db?.stop();
  lab.removeDir(dir);
});

/** @param {string[]} args */
function interop(...args) {
  const child = spawn(process.execPath, [join(lab.NODE_DIR, "interop.mjs"), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  const lines = () =>
    text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  const ended = () => lab.until("the end of interop.mjs", () => child.exitCode !== null);
  return { child, lines, ended };
}

for (const version of ["7", "6"]) {
  test(`baileys ${version} loads every key of the folder, logs in and decrypts`, async () => {
    const run = interop("--baileys", version, "--dir", files, "--ws", standin.ws);
    const report = await lab.until("the report", () => run.lines()[0]);
    assert.deepEqual(report.missing, []);
    assert.deepEqual([report.user, report.connection], [company.jid, "open"]);
    assert.ok(report.total >= 1330, JSON.stringify(report));
    for (const from of ["pn-contact-1", `first contact for ${version}`]) {
      const answer = await lab.call(`${standin.control}/message`, {
        to: company.jid,
        from,
        text: `to ${version} by ${from}`,
      });
      assert.equal(answer.outcome, "delivered", from);
    }
    await lab.until("the messages", () => run.lines().filter((line) => line.message).length === 2);
    run.child.stdin.end();
    await run.ended();
    assert.equal(run.child.exitCode, 0);
  });
}

test("a key file that holds nothing is counted as missing, and an empty creds.json is an error", async () => {
  writeFileSync(join(files, "pre-key-5.json"), "");
  const check = interop("--dir", files);
  await check.ended();
  assert.deepEqual(check.lines()[0].missing, ["pre-key-5.json"]);
  assert.equal(check.child.exitCode, 1);
  writeFileSync(join(files, "creds.json"), "");
  const broken = interop("--dir", files);
  await broken.ended();
  assert.equal(broken.child.exitCode, 1);
  assert.match(broken.lines()[0].error, /new identity/);
});
