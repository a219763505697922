// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Questions to the monitor that has served this page, and nobody else.

const TOKEN = "baileys-resilience-token";
const PATIENCE_MILLISECONDS = 8000;

/** The monitor wants a token, or another one. */
export class TokenNeeded extends Error {}

/** It answers, and says why it cannot. */
export class NotNow extends Error {}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  /** @param {string} given */
  set: (given) => sessionStorage.setItem(TOKEN, given),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/**
 * @template T
 * @param {string} path
 * @returns {Promise<{content: T, date: number}>} `date` is the monitor's clock, in milliseconds
 */
export async function ask(path) {
  /** @type {Record<string, string>} */
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MILLISECONDS) });
  if (answer.status === 401) throw new TokenNeeded();
  const content = await answer.json();
  if (!answer.ok) throw new NotNow(String(content.cause ?? content.error ?? `it answers ${answer.status}`));
  return { content, date: Date.parse(answer.headers.get("Date") ?? "") || Date.now() };
}
