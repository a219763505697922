// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// What was: which series of the history make which chart.

import { showCharts } from "./charts.js";
import { byId, keyed, make, setPart, setText } from "./dom.js";
import { count, inWords, megabytes, milliseconds, moment, percent } from "./words.js";

/** @import { Column, History, HistoryEvent } from "./shapes.js" */
/** @import { Chart, Line } from "./charts.js" */

const SHOWN_EVENTS = 12;
/** In the order in which a look does them. */
const OPERATIONS = ["connect", "read", "write", "canary"];
const DASHED = [6, 4];
const DOTTED = [2, 3];
let everyEvent = false;
/** @type {HistoryEvent[]} */
let events = [];

/** @param {History} history */
export function showPast(history) {
  const { at } = history;
  fill("latency", at, latencyOf(history));
  fill("pools", at, poolsOf(history));
  fill("ages", at, agesOf(history));
  fill("keys", at, keysOf(history));
  events = history.events;
  showEvents();
  const notes = [
    history.problem ?? "",
    `a point is ${inWords(history.step)}`,
    history.left_off ? `${history.left_off} more series are in /api/history?subject=...` : "",
  ];
  setText(byId("range-note"), notes.filter(Boolean).join("; "));
}

/** @param {string} id @param {number[]} at @param {Chart[]} charts */
function fill(id, at, charts) {
  const place = byId(id);
  showCharts(place, at, charts);
  place.classList.toggle("empty", !charts.length);
  if (place.parentElement instanceof HTMLElement && (id === "pools" || id === "ages")) {
    place.parentElement.hidden = !charts.length;
  }
}

/** @param {History} history @returns {Chart[]} */
function latencyOf(history) {
  const subjects = new Set(history.times.map((each) => each.subject));
  const place = (/** @type {string} */ operation) => OPERATIONS.indexOf(operation) + 1 || OPERATIONS.length + 1;
  const times = history.times.toSorted((a, b) => place(a.operation) - place(b.operation));
  return times.map((each) => ({
    title: subjects.size > 1 ? `${each.subject}: ${each.operation}` : each.operation,
    format: milliseconds,
    lines: [
      { label: "P50", color: "--line-1", column: each.p50_ms, shown: milliseconds(each.total.p50_ms) },
      { label: "P95", color: "--line-2", column: each.p95_ms, dash: DASHED, shown: milliseconds(each.total.p95_ms) },
      { label: "P99", color: "--line-3", column: each.p99_ms, dash: DOTTED, shown: milliseconds(each.total.p99_ms) },
    ],
  }));
}

/** @param {History} history @param {string} subject @param {string} name @returns {Column | undefined} */
function column(history, subject, name) {
  return history.figures.find((each) => each.subject === subject && each.name === name)?.mean;
}

/** @param {History} history @returns {string[]} */
function subjectsOf(history) {
  const found = [...new Set(history.figures.map((each) => each.subject))];
  return found.sort((a, b) => Number(b.startsWith("database ")) - Number(a.startsWith("database ")));
}

/** @param {History} history @returns {Chart[]} */
function poolsOf(history) {
  /** @type {Chart[]} */
  const found = [];
  for (const subject of subjectsOf(history)) {
    const used = column(history, subject, "connections used");
    const free = column(history, subject, "connections free");
    if (used && free) {
      const usable = used.map((each, index) => sum(each, free[index]));
      found.push({
        title: "PostgreSQL",
        format: count,
        lines: [
          { label: "used", color: "--line-1", column: used },
          { label: "usable", color: "--line-2", column: usable, dash: DASHED },
        ],
      });
    }
    const active = column(history, subject, "pool active");
    if (active) {
      found.push({
        title: subject,
        format: count,
        lines: [
          { label: "active", color: "--line-1", column: active },
          ...line(history, subject, "pool idle", { label: "idle", color: "--line-2", dash: DASHED }),
          ...line(history, subject, "pool waiting", { label: "waiting", color: "--line-3", dash: DOTTED }),
        ],
      });
    }
  }
  return found;
}

/** @param {number | null} one @param {number | null | undefined} other */
function sum(one, other) {
  return one == null || other == null ? null : one + other;
}

/** @param {History} history @param {string} subject @param {string} name @param {Omit<Line, "column">} how @returns {Line[]} */
function line(history, subject, name, how) {
  const found = column(history, subject, name);
  return found ? [{ ...how, column: found }] : [];
}

/**
 * Pattern of the name, title, label, format.
 * @type {[RegExp, (subject: string, name: string) => string, string, (value: number | null | undefined) => string][]}
 */
const ONE_LINE = [
  [/ age seconds$/, (_subject, name) => `Age of the ${name.replace(/ age seconds$/, "")}`, "oldest", inWords],
  [/^behind bytes$/, (subject) => subject, "behind", megabytes],
  [/^disk used percent$/, () => "Disk of PostgreSQL", "used", percent],
];

/** @param {History} history @returns {Chart[]} */
function agesOf(history) {
  /** @type {Chart[]} */
  const found = [];
  for (const [pattern, title, label, format] of ONE_LINE) {
    for (const each of history.figures.filter((series) => pattern.test(series.name))) {
      // The most of a span is what counts, not the mean of it.
      const lines = [{ label, color: "--line-1", column: each.most }];
      found.push({ title: title(each.subject, each.name), format, lines });
    }
  }
  return found;
}

/** @param {History} history @returns {Chart[]} */
function keysOf(history) {
  return subjectsOf(history)
    .filter((subject) => column(history, subject, "keys"))
    .flatMap((subject) => [
      {
        title: "All keys",
        format: count,
        rare: true,
        lines: [
          ...line(history, subject, "keys", { label: "keys", color: "--line-1" }),
          ...line(history, subject, "keys old", { label: "old", color: "--line-2", dash: DASHED }),
          ...line(history, subject, "keys removable", { label: "may go", color: "--line-3", dash: DOTTED }),
        ],
      },
      {
        title: "Size of the session tables",
        format: megabytes,
        rare: true,
        lines: line(history, subject, "bytes", { label: "on disk", color: "--line-1" }),
      },
    ]);
}

function showEvents() {
  const shown = everyEvent ? events : events.slice(0, SHOWN_EVENTS);
  keyed(byId("events"), shown, (each) => `${each.at} ${each.kind} ${each.subject} ${each.cause}`, beginEvent, showEvent);
  setText(byId("events-note"), events.length ? "The newest first, of the time shown." : "None in the time shown.");
  const more = byId("more-events");
  more.hidden = everyEvent || events.length <= SHOWN_EVENTS;
  setText(more, `Show all ${events.length}`);
}

/** Called once. */
export function listenForMore() {
  byId("more-events").addEventListener("click", () => {
    everyEvent = true;
    showEvents();
    byId("events").querySelector("li:last-child")?.scrollIntoView({ block: "nearest" });
  });
}

function beginEvent() {
  const parts = [make("span", "kind"), make("strong", "title"), make("span", "lasted quiet")];
  return make("li", "event", make("time", "at quiet"), make("div", "", make("p", "head", ...parts), make("p", "what quiet")));
}

/** @param {HTMLElement} element @param {HistoryEvent} each */
function showEvent(element, each) {
  element.dataset.kind = each.kind;
  element.dataset.status = each.kind === "recovery" ? "ok" : each.severity;
  setPart(element, "at", moment(each.at));
  setPart(element, "kind", each.kind);
  setPart(element, "title", each.title);
  const lasted = each.duration_seconds >= 1 && each.kind !== "alert";
  setPart(element, "lasted", lasted ? `after ${inWords(each.duration_seconds)}` : "");
  setPart(element, "what", [each.subject, each.text].filter(Boolean).join(": "));
}
