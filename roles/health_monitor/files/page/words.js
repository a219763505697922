// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Figures as one says them. Times are UTC, as everywhere in the collection.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = /** @type {const} */ ([["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]);

/** @param {number | null | undefined} value */
export function count(value) {
  return value == null ? "–" : whole.format(value);
}

/** @param {number | null | undefined} value */
export function milliseconds(value) {
  if (value == null) return "–";
  if (value === 0) return "0";
  if (value >= 100) return whole.format(value);
  return value.toFixed(value >= 10 ? 0 : value >= 1 ? 1 : 2);
}

/**
 * As the command line has it: 45 s, 3 min 20 s, 2 h 5 min.
 * @param {number | null | undefined} seconds
 */
export function inWords(seconds) {
  if (seconds == null) return "–";
  const all = Math.max(0, Math.round(seconds));
  for (const [unit, size, lower, part] of UNITS) {
    if (all < size) continue;
    const rest = Math.floor((all % size) / part);
    return rest ? `${Math.floor(all / size)} ${unit} ${rest} ${lower}` : `${Math.floor(all / size)} ${unit}`;
  }
  return `${all} s`;
}

/** @param {number | null | undefined} bytes */
export function megabytes(bytes) {
  if (bytes == null) return "–";
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** @param {number | null | undefined} value */
export function percent(value) {
  return value == null ? "–" : `${value.toFixed(0)} %`;
}

/**
 * @param {number} seconds since 1970
 * @param {boolean} withDay
 */
export function clock(seconds, withDay) {
  const text = new Date(seconds * 1000).toISOString();
  return withDay ? `${text.slice(0, 10)} ${text.slice(11, 16)}` : text.slice(11, 16);
}

/** @param {string} iso */
export function moment(iso) {
  return iso ? `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC` : "";
}
