// SPDX-License-Identifier: GPL-3.0-or-later
// How many keys Baileys can use: each is asked for as Baileys asks, since rows or files that are there may still be empty.

/** With bytes in the wrong form Baileys sees a key and fails at its first use. @param {string} type @param {any} value */
function isWhole(type, value) {
  if (value === null || value === undefined) return false;
  const bytes = (/** @type {any} */ item) => item instanceof Uint8Array;
  if (type === "pre-key") return bytes(value.private) && bytes(value.public);
  if (type === "sender-key" || type === "identity-key") return bytes(value);
  if (type === "app-state-sync-version") return bytes(value.hash);
  if (type === "tctoken") return bytes(value.token);
  return true;
}

/**
 * @param {{get: (type: any, ids: string[]) => any}} keys
 * @param {Map<string, string[]>} names ids by type, as the store lists them
 */
export async function countLoaded(keys, names) {
  let loaded = 0;
  for (const [type, ids] of names) {
    const values = await keys.get(type, ids);
    loaded += ids.filter((id) => isWhole(type, values[id])).length;
  }
  return loaded;
}
