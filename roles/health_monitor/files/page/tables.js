// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Keys by type and age, and companies.

import { byId, keyed, make, setText } from "./dom.js";
import { count, inWords, moment } from "./words.js";

/** @import { Companies, Company, Figures, KeyType } from "./shapes.js" */
/** @typedef {{key: string, cells: (string | Record<string, number>)[], status?: string}} Row */

const NUMBERS = ["Keys", "Old", "May go"];
/** Youngest first; the library's own names (sessions/info.py). */
const BUCKETS = ["<1d", "1-7d", "7-14d", "14-30d", ">30d", "unknown"];

/** @param {Figures["keys"]} keys */
export function showTypes(keys) {
  const place = byId("types");
  place.hidden = !keys;
  setText(
    byId("keys-note"),
    keys ? `Counted ${moment(keys.snapshot_at)}. Bars: how long ago keys were written.` : "Keys are not counted yet.",
  );
  if (!keys) return;
  const types = /** @type {[string, KeyType][]} */ (Object.entries(keys.by_type)).sort((a, b) => b[1].count - a[1].count);
  const rows = types.map(([name, each]) => ({
    key: name,
    cells: [name, count(each.count), each.ages, count(each.older), count(each.removable)],
  }));
  showTable(place, "Key ages by type", ["Type", "Keys", "Written", "Old", "May go"], rows);
  showScale(place);
}

/** What the colours of the bars mean. @param {HTMLElement} place */
function showScale(place) {
  let scale = place.querySelector(".scale");
  if (!scale) {
    scale = make("ul", "scale legend");
    place.append(scale);
  }
  keyed(scale, BUCKETS.slice(0, -1), (each) => each, () => make("li", "", make("span", "block"), make("span", "words")), (li, each) => {
    const block = /** @type {HTMLElement} */ (li.querySelector(".block"));
    block.dataset.age = each;
    setText(/** @type {Element} */ (li.querySelector(".words")), each);
  });
}

/** @param {Companies} companies */
export function showCompanies(companies) {
  const place = byId("companies");
  place.hidden = !companies.companies.length;
  const note = companies.counted_at
    ? `${count(companies.total)} in all, counted ${moment(companies.counted_at)}.`
    : "Keys are not counted yet.";
  setText(byId("companies-note"), companies.left_off ? `${note} ${count(companies.left_off)} more are not shown.` : note);
  const rows = companies.companies.map((each) => ({
    key: each.company,
    status: troubleOf(each),
    cells: [
      each.company,
      stateOf(each),
      { postgres: "PostgreSQL", files: "files" }[each.store ?? ""] ?? each.store ?? "–",
      count(each.count),
      each.ages,
      count(each.older),
      count(each.removable),
    ],
  }));
  showTable(place, "Companies", ["Company", "State", "Lives in", "Keys", "Written", "Old", "May go"], rows);
}

/** @param {Company} each */
function troubleOf(each) {
  return each.without_database_seconds ? "critical" : each.has_creds === false ? "warning" : "";
}

/** @param {Company} each */
function stateOf(each) {
  if (each.without_database_seconds) return `without the database for ${inWords(each.without_database_seconds)}`;
  return each.has_creds === false ? "keys without creds" : "ok";
}

/**
 * @param {HTMLElement} place
 * @param {string} title
 * @param {string[]} columns
 * @param {Row[]} rows
 */
function showTable(place, title, columns, rows) {
  let table = place.querySelector("table");
  if (!table) {
    table = document.createElement("table");
    const heads = columns.map((each) => make("th", NUMBERS.includes(each) ? "number" : "", each));
    for (const each of heads) each.setAttribute("scope", "col");
    table.append(make("caption", "unseen", title), make("thead", "", make("tr", "", ...heads)), make("tbody"));
    place.append(table);
  }
  const body = /** @type {Element} */ (table.querySelector("tbody"));
  keyed(body, rows, (each) => each.key, () => make("tr"), showRow);
}

/** @param {HTMLElement} element @param {Row} row */
function showRow(element, row) {
  element.dataset.status = row.status ?? "";
  while (element.children.length < row.cells.length) {
    const head = make(element.children.length ? "td" : "th");
    if (!element.children.length) head.setAttribute("scope", "row");
    element.append(head);
  }
  row.cells.forEach((cell, index) => {
    const place = /** @type {HTMLElement} */ (element.children[index]);
    if (typeof cell === "string") {
      setText(place, cell);
      place.classList.toggle("number", /^[\d,–]+$/.test(cell) && index > 0);
    } else {
      showBar(place, cell);
    }
  });
}

/** @param {HTMLElement} place @param {Record<string, number>} ages */
function showBar(place, ages) {
  let bar = /** @type {HTMLElement | null} */ (place.querySelector(".bar"));
  if (!bar) {
    bar = make("div", "bar");
    bar.setAttribute("role", "img");
    place.append(bar);
  }
  const known = BUCKETS.filter((each) => ages[each]);
  const words = known.map((each) => `${each} ${count(ages[each])}`).join(", ");
  bar.setAttribute("aria-label", words || "no keys");
  bar.title = words;
  keyed(bar, known, (each) => each, () => make("span"), (piece, each) => {
    piece.dataset.age = each;
    piece.style.flexGrow = String(ages[each]);
  });
}
