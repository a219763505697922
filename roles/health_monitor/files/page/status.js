// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// What is: the gravest first, with what was seen and what to run; then every part in a line.

import { byId, keyed, make, setPart, setText } from "./dom.js";
import { count, inWords, megabytes, milliseconds, percent } from "./words.js";

/** @import { Answer, Concern, Figures, Status } from "./shapes.js" */

const GRAVEST_FIRST = /** @type {Status[]} */ (["critical", "unknown", "warning", "ok"]);
const COPIED_MILLISECONDS = 2000;
/** Concerns of the database by the part that shows them. */
const PARTS = new Map(
  Object.entries({
    database: ["serves"],
    latency: ["slow", "latency"],
    connections: ["connections"],
    keys: ["keys", "old keys", "size"],
    replicas: ["lag"],
    mirror: ["mirror"],
    backup: ["backup"],
    disk: ["disk"],
  }),
);
const ALWAYS = ["database", "latency", "connections", "keys"];

/** @param {Status[]} statuses @returns {Status} */
function gravest(statuses) {
  return GRAVEST_FIRST.find((each) => statuses.includes(each)) ?? "unknown";
}

/** @param {Answer} answer */
export function showStatus(answer) {
  const concerns = Object.values(answer.subjects).flatMap((each) => Object.values(each.concerns));
  const wrong = concerns
    .filter((each) => each.status !== "ok" && each.title)
    .sort((a, b) => GRAVEST_FIRST.indexOf(a.status) - GRAVEST_FIRST.indexOf(b.status) || b.seconds - a.seconds);
  const list = byId("troubles");
  keyed(list, wrong, (each) => `${each.subject} ${each.concern}`, beginTrouble, showTrouble);
  list.hidden = !wrong.length;
  const calm = byId("calm");
  calm.hidden = wrong.length > 0;
  setText(calm, calmWords(answer.status, concerns));
  const remarks = [
    ...answer.silences.map((each) => `Silence: nothing is told of ${each.subject} for ${inWords(each.seconds)}.`),
    ...answer.degraded.map((each) => `Not looked at: ${each}`),
  ];
  keyed(byId("remarks"), remarks, (each) => each.replace(/\d+/g, ""), () => make("li"), setText);
  keyed(byId("parts"), partsOf(answer, concerns), (each) => each.name, beginPart, showPart);
  setText(byId("said"), spoken(answer.status, wrong));
}

/**
 * One look that fails is no news yet, and no reason to say that all is well.
 * @param {Status} status
 * @param {Concern[]} concerns
 */
function calmWords(status, concerns) {
  if (status !== "ok") return "Nothing that is known.";
  const again = concerns.filter((each) => each.state !== "OK").map((each) => each.subject);
  if (!again.length) return "Nothing. Every part was looked at and is well.";
  return `Nothing that is sure. Being looked at again: ${[...new Set(again)].join(", ")}.`;
}

/**
 * Without durations: a screen reader is told of news only.
 * @param {Status} status
 * @param {Concern[]} wrong
 */
function spoken(status, wrong) {
  const first = wrong.slice(0, 3).map((each) => `${each.subject}: ${each.title}`);
  return `Status ${status}. ${first.join(". ")}`;
}

function beginTrouble() {
  const copy = make("button", "copy", "Copy");
  copy.setAttribute("type", "button");
  const command = make("div", "command", make("code", "words"), copy);
  copy.addEventListener("click", () => copyFrom(command, copy));
  return make(
    "li",
    "trouble",
    make("p", "head", make("span", "status"), make("strong", "title"), make("span", "since quiet")),
    make("p", "subject"),
    make("p", "evidence"),
    command,
    make("p", "note quiet"),
  );
}

/** @param {HTMLElement} element @param {Concern} each */
function showTrouble(element, each) {
  element.dataset.status = each.status;
  setPart(element, "status", each.status);
  setPart(element, "title", each.title);
  setPart(element, "since", each.seconds >= 1 ? `for ${inWords(each.seconds)}` : "");
  setPart(element, "subject", each.status === "unknown" ? `${each.subject}: ${each.concern}` : each.subject);
  setPart(element, "evidence", each.evidence);
  setPart(element, "words", each.command);
  const command = /** @type {HTMLElement} */ (element.querySelector(".command"));
  command.hidden = !each.command;
  element.querySelector(".copy")?.setAttribute("aria-label", `Copy the command: ${each.command}`);
  setPart(element, "note", each.note);
}

/** @param {HTMLElement} command @param {HTMLElement} button */
async function copyFrom(command, button) {
  const words = /** @type {HTMLElement} */ (command.querySelector(".words"));
  const done = await copied(words);
  setText(button, done ? "Copied" : "Press Ctrl-C");
  setTimeout(() => setText(button, "Copy"), COPIED_MILLISECONDS);
}

/**
 * Browsers give the clipboard only to pages of this host or over TLS; elsewhere the text is selected.
 * @param {HTMLElement} element
 */
async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}

/** @typedef {{name: string, status: Status | "", text: string}} Part */

/** @param {Answer} answer @param {Concern[]} concerns @returns {Part[]} */
function partsOf(answer, concerns) {
  const texts = textsOf(answer);
  /** @type {Part[]} */
  const found = [];
  for (const [name, names] of PARTS) {
    const judged = concerns
      .filter((each) => !each.subject.startsWith("client ") && names.includes(each.concern))
      .map((each) => each.status);
    const text = texts.get(name) ?? "";
    if (judged.length || text || ALWAYS.includes(name)) {
      found.push({ name, status: shownStatus(judged, text !== ""), text: text || "nothing is known now" });
    }
    if (name === "connections") found.push(...clientsOf(answer));
  }
  for (const each of answer.services) {
    const waits = each.queued ?? 0;
    found.push({
      name: each.service,
      status: each.refused ? "warning" : "ok",
      text: each.refused ? `refuses our messages, ${waits} wait` : waits ? `${waits} messages wait` : "nothing waits",
    });
  }
  return found;
}

/**
 * What is not seen at this moment is not shown as well, though no alert is due yet.
 * @param {Status[]} judged
 * @param {boolean} seen
 * @returns {Status}
 */
function shownStatus(judged, seen) {
  const status = judged.length ? gravest(judged) : "unknown";
  return status === "ok" && !seen ? "unknown" : status;
}

/** @param {Answer} answer @returns {Part[]} */
function clientsOf(answer) {
  const found = [];
  for (const [name, figure] of Object.entries(answer.figures)) {
    if (!name.startsWith("client ")) continue;
    const client = /** @type {NonNullable<Figures["client "]>} */ (figure);
    const said = [client.answers ? "answers" : "does not answer"];
    if (client.pool) said.push(`${client.pool.active} of ${client.pool.max} connections lent out`, `${client.pool.waiting} wait`);
    if (client.cached_companies) said.push(`${client.cached_companies} companies run without the database`);
    found.push({ name, status: shownStatus([answer.subjects[name]?.status ?? "unknown"], client.answers), text: said.join(", ") });
  }
  return found;
}

/** @param {Answer} answer @returns {Map<string, string>} */
function textsOf(answer) {
  const { database, keys, mirror, backup, disk } = answer.figures;
  const where = Object.keys(answer.subjects).find((each) => each.startsWith("database "))?.slice(9) ?? "";
  const replicas = (database?.replicas ?? []).map(
    (each) => `${each.name || "(without a name)"} ${megabytes(each.behind_bytes)} behind${each.connected ? "" : ", not connected"}`,
  );
  const last = Object.entries(database?.milliseconds ?? {}).map(([name, value]) => `${name} ${milliseconds(value)}`);
  const pool = database?.connections;
  return new Map(
    Object.entries({
      database: database ? `${where}: ${database.error || "serves"}` : where,
      latency: last.length ? `${last.join(", ")} ms just now` : "",
      connections: pool ? `${pool.used} used (${percent(pool.used_percent)}), ${pool.free} free` : "",
      keys: keys ? `${count(keys.count)} of ${count(keys.companies)} companies, ${megabytes(keys.bytes)}` : "",
      replicas: replicas.join(", "),
      mirror: mirror ? mirrorText(mirror) : "",
      backup: backup ? (backup.age_seconds == null ? "there is none" : `${inWords(backup.age_seconds)} old`) : "",
      disk: disk ? `${disk.path}: ${percent(disk.used_percent)} used, ${megabytes(disk.free_bytes)} free` : "",
    }),
  );
}

/** @param {NonNullable<Figures["mirror"]>} mirror */
function mirrorText(mirror) {
  if (mirror.aside) return "stands aside: the sessions live in files";
  if (mirror.unusable) return mirror.unusable;
  return mirror.age_seconds == null ? "was never complete" : `${inWords(mirror.age_seconds)} old`;
}

function beginPart() {
  return make("li", "part", make("p", "head", make("strong", "name"), make("span", "status")), make("p", "text quiet"));
}

/** @param {HTMLElement} element @param {Part} each */
function showPart(element, each) {
  element.dataset.status = each.status;
  setPart(element, "name", each.name);
  setPart(element, "status", each.status);
  setPart(element, "text", each.text);
}
