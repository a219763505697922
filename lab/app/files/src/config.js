// SPDX-License-Identifier: GPL-3.0-or-later
/** @param {NodeJS.ProcessEnv} env */
export function readConfig(env) {
  if (env.USE_DATABASE_AUTH_STATE === "true") {
    throw new Error(
      "USE_DATABASE_AUTH_STATE=true, but this code keeps sessions in files. " +
        "Set it to false in .env; a value that the process manager holds wins over .env (pm2 restart --update-env).",
    );
  }
  if (!env.WA_WEB_SOCKET_URL) throw new Error("WA_WEB_SOCKET_URL is not set");
  return {
    port: Number(env.PORT ?? 3000),
    url: env.WA_WEB_SOCKET_URL,
    companies: env.COMPANIES
      ? env.COMPANIES.split(",")
          .map((id) => id.trim())
          .filter(Boolean)
      : null,
    sessions: "baileys_sessions",
    label: " (files)",
  };
}
