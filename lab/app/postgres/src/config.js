// SPDX-License-Identifier: GPL-3.0-or-later
import { readFileSync } from "node:fs";

/** @param {NodeJS.ProcessEnv} env */
export function readConfig(env) {
  if (env.USE_DATABASE_AUTH_STATE !== "true") {
    throw new Error(
      `USE_DATABASE_AUTH_STATE=${env.USE_DATABASE_AUTH_STATE ?? ""}, but this code has sessions in PostgreSQL only. ` +
        "Set it to true in .env; a value that the process manager holds wins over .env (pm2 restart --update-env).",
    );
  }
  for (const name of ["WA_WEB_SOCKET_URL", "POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER"]) {
    if (!env[name]) throw new Error(`${name} is not set`);
  }
  return {
    port: Number(env.PORT ?? 3000),
    url: String(env.WA_WEB_SOCKET_URL),
    companies: env.COMPANIES
      ? env.COMPANIES.split(",")
          .map((id) => id.trim())
          .filter(Boolean)
      : null,
    label: "",
    postgres: {
      host: env.POSTGRES_HOST,
      port: Number(env.POSTGRES_PORT ?? 5432),
      database: env.POSTGRES_DB,
      user: env.POSTGRES_USER,
      password: env.POSTGRES_PASSWORD ?? "",
      ssl: sslOptions(env),
    },
  };
}

/** @param {NodeJS.ProcessEnv} env */
function sslOptions(env) {
  const mode = env.POSTGRES_SSL_MODE ?? "disable";
  if (mode === "disable") return undefined;
  const ca = env.POSTGRES_SSL_ROOT_CERT ? readFileSync(env.POSTGRES_SSL_ROOT_CERT, "utf8") : undefined;
  if (mode === "require") return { rejectUnauthorized: false };
  if (mode === "verify-ca") return { ca, checkServerIdentity: () => undefined };
  if (mode === "verify-full") return { ca };
  throw new Error(`POSTGRES_SSL_MODE=${mode} is not one of disable, require, verify-ca, verify-full`);
}
