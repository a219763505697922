// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The page of the monitor: asks every ten seconds, and says how old what it shows is.

import { NotNow, TokenNeeded, ask, token } from "./asking.js";
import { byId, setText } from "./dom.js";
import { listenForMore, showPast } from "./past.js";
import { showStatus } from "./status.js";
import { showCompanies, showTypes } from "./tables.js";
import { inWords, moment } from "./words.js";

/** @import { Answer, Companies, History } from "./shapes.js" */

const EVERY_MILLISECONDS = 10_000;
/** Looks come every few seconds; what is older is of a monitor that hangs. As the terminal view has it. */
const STALE_SECONDS = 60;
const COLORS = { ok: "#1a7f4b", warning: "#b86e00", unknown: "#6b7280", critical: "#c62828" };

/** @type {{answer: Answer, age: number, received: number} | null} of the last look that came in, with its age then */
let last = null;
let problem = "";
/** @type {number | undefined} */
let timer;
let round = 0;

const ranges = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll('input[name="range"]')]);

function wantedRange() {
  return ranges.find((each) => each.checked)?.value ?? "1h";
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++round;
  try {
    const [status, history, companies] = await Promise.all([
      /** @type {typeof ask<Answer>} */ (ask)("/api/status"),
      /** @type {typeof ask<History>} */ (ask)(`/api/history?range=${wantedRange()}`).catch(withoutHistory),
      /** @type {typeof ask<Companies>} */ (ask)("/api/companies"),
    ]);
    if (mine !== round) return;
    problem = "";
    last = {
      answer: status.content,
      age: Math.max(0, status.date - Date.parse(status.content.at)) / 1000,
      received: performance.now(),
    };
    byId("token-form").hidden = true;
    byId("content").hidden = false;
    show(status.content, history, companies.content);
  } catch (error) {
    if (mine !== round) return;
    if (error instanceof TokenNeeded) {
      askForToken();
      return;
    }
    problem = error instanceof NotNow ? `The monitor answers: ${error.message}.` : "The monitor does not answer.";
  }
  showFreshness();
  document.documentElement.dataset.round = String(mine);
  timer = setTimeout(refresh, EVERY_MILLISECONDS);
}

/** What is now is shown even where what was cannot be read. @param {unknown} error @returns {string} */
function withoutHistory(error) {
  if (error instanceof NotNow) return error.message;
  throw error;
}

/**
 * @param {Answer} answer
 * @param {{content: History} | string} history
 * @param {Companies} companies
 */
function show(answer, history, companies) {
  setText(byId("where"), answer.name ? `monitor ${answer.name}` : "");
  showStatus(answer);
  showTypes(answer.figures.keys);
  showCompanies(companies);
  if (typeof history === "string") setText(byId("range-note"), history);
  else showPast(history.content);
  setText(byId("footer"), `baileys.resilience ${answer.version}. Times are UTC. The same on a terminal: baileys-resilience health`);
}

/** Each second: how old what is shown is, and loudly when it grows too old. */
function showFreshness() {
  const age = last && last.age + (performance.now() - last.received) / 1000;
  const stale = problem !== "" || (age ?? 0) > STALE_SECONDS;
  const alarm = byId("alarm");
  alarm.hidden = !stale;
  setText(alarm, stale ? alarmText() : "");
  const fresh = byId("fresh");
  setText(fresh, last === null || age === null ? "no answer yet" : `looked ${inWords(age)} ago`);
  fresh.title = last ? moment(last.answer.at) : "";
  const status = stale || last === null ? "unknown" : last.answer.status;
  const overall = byId("overall");
  if (overall.dataset.status !== status) showIcon(status);
  overall.dataset.status = status;
  setText(byId("overall-word"), last === null && !problem ? "asking" : status);
  document.title = `${status}: WhatsApp sessions`;
  document.body.classList.toggle("stale", stale);
}

/** Without the age, which is beside it: an alarm that changes each second would be read aloud each second. */
function alarmText() {
  const shown = last ? ` What you see is of ${moment(last.answer.at)}, and may be wrong by now.` : "";
  if (problem) return `${problem}${shown} Run: systemctl status baileys-resilience-monitor`;
  return `The monitor answers, but has not looked for more than a minute.${shown} Run: systemctl restart baileys-resilience-monitor`;
}

/** @param {keyof typeof COLORS} status */
function showIcon(status) {
  const circle = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${COLORS[status]}"/></svg>`;
  byId("icon").setAttribute("href", `data:image/svg+xml,${encodeURIComponent(circle)}`);
}

function askForToken() {
  const form = byId("token-form");
  const again = !form.hidden || token.get() !== "";
  token.forget();
  last = null;
  problem = "";
  byId("content").hidden = true;
  byId("alarm").hidden = true;
  form.hidden = false;
  setText(byId("token-problem"), again ? "The monitor does not take this token." : "");
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (byId("token"));
  const given = input.value.trim();
  input.value = "";
  token.set(given);
  // What no header can carry is no token either.
  if (/^[\x21-\x7e]+$/.test(given)) refresh();
  else askForToken();
});

for (const each of ranges) {
  each.checked = location.hash === `#${each.value}` || (each.checked && !ranges.some((one) => `#${one.value}` === location.hash));
  each.addEventListener("change", () => {
    history.replaceState(null, "", `#${each.value}`);
    refresh();
  });
}
function refreshIfSeen() {
  if (!document.hidden && byId("token-form").hidden) refresh();
}

// Browsers let a page that nobody looks at sleep.
document.addEventListener("visibilitychange", refreshIfSeen);
addEventListener("online", refreshIfSeen);
listenForMore();
setInterval(showFreshness, 1000);
refresh();
