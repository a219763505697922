// SPDX-License-Identifier: GPL-3.0-or-later
// Bytes in jsonb. Three forms are there from three generations of this service; new values are written in the first.
import { BufferJSON } from "baileys";

/** The JSON.stringify of a Uint8Array: the indexes from 0, each with a byte. @param {any} value */
function isIndexForm(value) {
  const names = Object.keys(value);
  return (
    names.length > 0 &&
    names.every(
      (name, index) => name === String(index) && Number.isInteger(value[name]) && value[name] >= 0 && value[name] < 256,
    )
  );
}

/** @param {any} value @returns {any} */
export function decode(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.type === "Buffer" && typeof value.data === "string") return Buffer.from(value.data, "base64");
  if (value.type === "Buffer" && Array.isArray(value.data)) return Buffer.from(value.data);
  if (Array.isArray(value)) return value.map(decode);
  if (isIndexForm(value)) return Buffer.from(Object.values(value));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, decode(item)]));
}

/** @param {any} value */
export const encode = (value) => JSON.stringify(value, BufferJSON.replacer);
