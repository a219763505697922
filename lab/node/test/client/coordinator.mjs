// SPDX-License-Identifier: GPL-3.0-or-later
// What moves a running session from one store to the other, step by step: it asks the process, makes the new store out of the
// export, and says where the session lives before the writer moves.
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

import { post } from "./support.mjs";

/** @typedef {"postgres" | "files"} Store */

/**
 * @param {{dir: string, sessionsDir: string, admin: import("pg").Client, flag?: (store: Store) => void}} place `dir`: that of
 *   the admin socket; `flag`: writes .env; `admin`: reaches the database whatever the application's network does
 */
export function coordinator({ dir, sessionsDir, admin, flag = () => undefined }) {
  /** @param {string} company @param {string} query */
  const store = (company, query) => post(dir, `/store?company=${company}&${query}`);
  /** @param {string} company */
  const placeOf = (company) => join(sessionsDir, `company_${company}`);

  /** One connection has one transaction at a time, and companies move side by side: what one of them says must not be in the
   * transaction of another.
   * @type {Promise<unknown>} */
  let last = Promise.resolve();
  /** @template T @param {() => Promise<T>} ask @returns {Promise<T>} */
  const inTurn = (ask) => {
    const asked = last.then(ask);
    last = asked.catch(() => undefined);
    return asked;
  };

  /** Beside its place first, then by rename. @param {string} company @param {{directory: string}} exported */
  function putFiles(company, { directory }) {
    const staged = join(sessionsDir, `.staged-${company}`);
    mkdirSync(sessionsDir, { recursive: true, mode: 0o700 });
    rmSync(staged, { recursive: true, force: true });
    cpSync(directory, staged, { recursive: true });
    rmSync(placeOf(company), { recursive: true, force: true });
    renameSync(staged, placeOf(company));
  }

  /** Exactly these rows. @param {string} company @param {{directory: string}} exported */
  async function putRows(company, { directory }) {
    const lines = readFileSync(join(directory, ".resilience-manifest.jsonl"), "utf8").trim().split("\n");
    const entries = lines.slice(1, -1).map((line) => JSON.parse(line));
    const rows = entries.map(([type, id, name]) => ({ type, id, value: readFileSync(join(directory, name), "utf8") }));
    const keys = rows.filter(({ type }) => type !== "creds");
    const creds = rows.find(({ type }) => type === "creds")?.value;
    await inTurn(async () => {
      await admin.query("BEGIN");
      await admin.query("DELETE FROM whatsapp_keys WHERE company_id = $1", [company]);
      await admin.query("INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::jsonb[])", [
        company, keys.map(({ type }) => type), keys.map(({ id }) => id), keys.map(({ value }) => value),
      ]); // prettier-ignore
      await admin.query("UPDATE whatsapp_auth SET creds = $2 WHERE company_id = $1", [company, creds]);
      await admin.query("COMMIT");
    });
  }

  /** @param {string} company @param {Store} to */
  async function record(company, to) {
    await inTurn(() =>
      admin.query(
        `INSERT INTO baileys_resilience.stores AS s VALUES ($1, $2, 2, now(), 'h', 'r')
         ON CONFLICT (company) DO UPDATE SET store = excluded.store, epoch = s.epoch + 1, since = now()`,
        [company, to],
      ),
    );
    flag(to);
  }

  const steps = {
    store,
    placeOf,
    putFiles,
    putRows,
    record,
    /** @param {string} company @param {Store} to @param {string} [query] */
    async hold(company, to, query = "") {
      const held = await store(company, `to=${to}&phase=hold${query}`);
      if (held.code !== 200) throw Object.assign(new Error(held.error), held);
      return held;
    },
    /** @param {string} company @param {Store} to @param {any} held */
    put: (company, to, held) => (to === "files" ? putFiles(company, held.export) : putRows(company, held.export)),
    /** @param {string} company @param {string} hold */
    seal: (company, hold) => store(company, `phase=seal&hold=${hold}`),
    /** @param {string} company @param {string} hold @param {string} [more] */
    abort: (company, hold, more = "") => store(company, `phase=abort&hold=${hold}${more}`),
    /** @param {string} company @param {Store} to @param {string} hold */
    commit: (company, to, hold) =>
      store(company, `to=${to}&phase=commit&hold=${hold}${to === "files" ? `&directory=${encodeURIComponent(placeOf(company))}` : ""}`),
    /** All of it, up to one step or to the end. @param {string} company @param {Store} to
     * @param {"hold" | "seal" | "put" | "record" | "commit"} [until] */
    async move(company, to, until = "commit") {
      const held = await steps.hold(company, to);
      if (until === "hold") return held;
      const sealed = await steps.seal(company, held.hold);
      if (sealed.code !== 200) throw Object.assign(new Error(sealed.error), sealed);
      if (until === "seal") return held;
      await steps.put(company, to, held);
      if (until === "put") return held;
      await record(company, to);
      if (until === "record") return held;
      const committed = await steps.commit(company, to, held.hold);
      if (committed.code !== 200) throw Object.assign(new Error(committed.error), committed);
      return { ...held, committed };
    },
  };
  return steps;
}
