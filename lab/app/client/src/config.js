// SPDX-License-Identifier: GPL-3.0-or-later
// With the session client one code serves both stores: USE_DATABASE_AUTH_STATE says which.

/** @param {NodeJS.ProcessEnv} env */
export function readConfig(env) {
  if (!env.WA_WEB_SOCKET_URL) throw new Error("WA_WEB_SOCKET_URL is not set");
  return {
    port: Number(env.PORT ?? 3000),
    url: env.WA_WEB_SOCKET_URL,
    companies: env.COMPANIES
      ? env.COMPANIES.split(",")
          .map((id) => id.trim())
          .filter(Boolean)
      : null,
    label: env.USE_DATABASE_AUTH_STATE === "false" ? " (files)" : "",
  };
}
