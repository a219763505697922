// SPDX-License-Identifier: BSD-2-Clause
// Names of files as `useMultiFileAuthState` gives them.

export const CREDS_FILE = "creds.json";
export const MANIFEST_FILE = ".resilience-manifest.jsonl";

/** Longer ones first: `sender-key-memory-1` is no `sender-key`. */
const TYPES = [
  "app-state-sync-version",
  "app-state-sync-key",
  "sender-key-memory",
  "identity-key",
  "lid-mapping",
  "device-list",
  "sender-key",
  "session",
  "tctoken",
  "pre-key",
];

/** @param {string} type @param {string} id */
export const fileName = (type, id) => `${`${type}-${id}`.replaceAll("/", "__").replaceAll(":", "-")}.json`;

/**
 * Type and id by the rules of docs/formats.md; null when the name starts with no known type. Names cannot be reversed in
 * general: where there is a manifest, it knows better.
 * @param {string} name @returns {{type: string, id: string} | null}
 */
export function parseFileName(name) {
  const type = TYPES.find((each) => name.startsWith(`${each}-`));
  if (!type) return null;
  const id = name.slice(type.length + 1, -".json".length);
  if (type === "app-state-sync-key") return { type, id: id.replaceAll("__", "/") };
  if (type === "sender-key") return { type, id: id.replace(/--((?:(?!--).)*)--((?:(?!--).)*)$/, "::$1::$2") };
  return { type, id };
}
