// SPDX-License-Identifier: GPL-3.0-or-later
// The three ways in which bytes are found in production's jsonb.

/** @type {((bytes: Buffer) => object)[]} */
const FORMS = [
  (bytes) => ({ type: "Buffer", data: bytes.toString("base64") }), // Baileys' BufferJSON
  (bytes) => ({ type: "Buffer", data: [...bytes] }), // JSON.stringify of a Buffer
  (bytes) => ({ ...bytes }), // JSON.stringify of a Uint8Array
];

/** Creds have been written field by field by all three generations. @param {Record<string, any>} creds */
export const reencodeFields = (creds) =>
  Object.fromEntries(Object.entries(creds).map(([name, value], index) => [name, reencode(value, index)]));

/** Replaces every base64 Buffer in parsed JSON by the form of that index (modulo three).
 * @param {any} value @param {number} index @returns {any} */
export function reencode(value, index) {
  if (value === null || typeof value !== "object") return value;
  if (value.type === "Buffer" && typeof value.data === "string") {
    return FORMS[index % FORMS.length](Buffer.from(value.data, "base64"));
  }
  if (Array.isArray(value)) return value.map((item) => reencode(item, index));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, reencode(item, index)]));
}
