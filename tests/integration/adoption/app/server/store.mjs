// SPDX-License-Identifier: GPL-3.0-or-later
// Where this gateway keeps its sessions: two tables of its own, or a folder for each tenant.
import { BufferJSON, useMultiFileAuthState } from "baileys";
import pg from "pg";

const { replacer } = BufferJSON;

// Bytes as earlier versions of this gateway wrote them, too.
function decode(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.type === "Buffer") return Buffer.from(value.data, typeof value.data === "string" ? "base64" : undefined);
  if (Array.isArray(value)) return value.map(decode);
  const names = Object.keys(value);
  if (names.length && names.every((name, index) => name === `${index}`)) return Buffer.from(Object.values(value));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, decode(item)]));
}

function tables() {
  const pool = new pg.Pool({ max: 4 });
  pool.on("error", () => undefined);
  const save = async (tenant, category, item, payload) =>
    payload
      ? pool.query(
          `INSERT INTO gateway.secrets (tenant, category, item, payload) VALUES ($1, $2, $3, $4)
           ON CONFLICT (tenant, category, item) DO UPDATE SET payload = excluded.payload, changed = now()`,
          [tenant, category, item, JSON.stringify(payload, replacer)],
        )
      : pool.query("DELETE FROM gateway.secrets WHERE tenant = $1 AND category = $2 AND item = $3", [tenant, category, item]);
  return async (tenant) => {
    const { rows } = await pool.query("SELECT login FROM gateway.tenants WHERE tenant = $1", [tenant]);
    const creds = decode(rows[0].login);
    const keys = {
      get: async (category, items) => {
        const found = await pool.query(
          "SELECT item, payload FROM gateway.secrets WHERE tenant = $1 AND category = $2 AND item = ANY($3)",
          [tenant, category, items],
        );
        return Object.fromEntries(found.rows.map(({ item, payload }) => [item, decode(payload)]));
      },
      set: async (data) => {
        for (const [category, values] of Object.entries(data))
          for (const [item, payload] of Object.entries(values)) await save(tenant, category, item, payload);
      },
    };
    const saveCreds = () =>
      pool.query("UPDATE gateway.tenants SET login = $2 WHERE tenant = $1", [tenant, JSON.stringify(creds, replacer)]);
    return { creds, keys, saveCreds };
  };
}

async function folder(tenant) {
  const { state, saveCreds } = await useMultiFileAuthState(`data/tenants/${tenant}`);
  return { ...state, saveCreds };
}

export const openStore = () => (process.env.SESSION_STORE === "folder" ? folder : tables());
