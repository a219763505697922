// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// Lines over time, by uPlot. A chart is made once; what is new is given to it.

import { keyed, make, setText } from "./dom.js";
import { clock } from "./words.js";

/** @import { Column } from "./shapes.js" */
/** @typedef {{label: string, color: string, column: Column, dash?: number[], shown?: string}} Line */
/**
 * @typedef {{title: string, lines: Line[], format: (value: number | null | undefined) => string, rare?: boolean}} Chart
 * `rare`: there are fewer figures than points, and between two of them nothing is missing
 */

const HEIGHT = 170;
const DAY_SECONDS = 86400;

/** @type {WeakMap<HTMLElement, Drawn>} */
const drawn = new WeakMap();
/** @type {Set<Drawn>} */
const all = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const each of all) each.plot.redraw(false, true);
});

/** @param {string} name of a custom property */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * @param {HTMLElement} parent
 * @param {number[]} at begins of the points, in seconds since 1970
 * @param {Chart[]} charts
 */
export function showCharts(parent, at, charts) {
  keyed(parent, charts, keyOf, beginFigure, (figure, chart) => {
    const there = drawn.get(figure);
    if (there) there.show(at, chart);
    else drawn.set(figure, new Drawn(figure, at, chart));
  });
  for (const each of all) if (!each.figure.isConnected) each.end();
}

/** Other lines are another chart. @param {Chart} chart */
function keyOf(chart) {
  return [chart.title, ...chart.lines.map((each) => each.label)].join("\n");
}

function beginFigure() {
  return make("figure", "chart", make("figcaption", "", make("strong", "title"), make("ul", "legend")), make("div", "plot"));
}

class Drawn {
  /** @param {HTMLElement} figure @param {number[]} at @param {Chart} chart */
  constructor(figure, at, chart) {
    this.figure = figure;
    this.chart = chart;
    this.at = at;
    this.place = /** @type {HTMLElement} */ (figure.querySelector(".plot"));
    this.place.setAttribute("role", "img");
    this.plot = new uPlot(this.options(), this.data(), this.place);
    // One that is not in the page yet has no width; it gets it as soon as it is.
    this.watching = new ResizeObserver(() => {
      const width = this.place.clientWidth;
      if (width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
    });
    this.watching.observe(this.place);
    all.add(this);
    this.tell(null);
  }

  /** @param {number[]} at @param {Chart} chart */
  show(at, chart) {
    this.at = at;
    this.chart = chart;
    this.plot.setData(this.data());
    this.tell(this.plot.cursor.idx ?? null);
  }

  end() {
    this.watching.disconnect();
    this.plot.destroy();
    all.delete(this);
    drawn.delete(this.figure);
  }

  /** @returns {uPlot.AlignedData} */
  data() {
    return [this.at, ...this.chart.lines.map((each) => each.column)];
  }

  /** The figures beside the names: those under the pointer, or of the whole time. @param {number | null} index */
  tell(index) {
    const { title, lines, format } = this.chart;
    const heading = /** @type {HTMLElement} */ (this.figure.querySelector(".title"));
    setText(heading, title);
    heading.dataset.when = index == null ? "" : clock(this.at[index] ?? 0, this.long);
    const legend = /** @type {Element} */ (this.figure.querySelector(".legend"));
    keyed(legend, lines, (each) => each.label, () => make("li", "", make("span", "swatch"), make("span", "words")), (li, line) => {
      const swatch = /** @type {HTMLElement} */ (li.querySelector(".swatch"));
      swatch.style.borderColor = `var(${line.color})`;
      swatch.style.borderStyle = line.dash ? "dashed" : "solid";
      const value = index == null ? (line.shown ?? format(lastOf(line.column))) : format(line.column[index]);
      setText(/** @type {Element} */ (li.querySelector(".words")), `${line.label} ${value}`);
    });
    if (index == null) {
      const said = lines.map((each) => `${each.label} ${each.shown ?? format(lastOf(each.column))}`);
      this.place.setAttribute("aria-label", `${title}: ${said.join(", ")}`);
    }
  }

  get long() {
    return (this.at.at(-1) ?? 0) - (this.at[0] ?? 0) > DAY_SECONDS;
  }

  /** @returns {uPlot.Options} */
  options() {
    const grid = { stroke: () => color("--grid"), width: 1 };
    const axis = { stroke: () => color("--quiet"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    return {
      width: Math.max(this.place.clientWidth, 200),
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { time: true }, y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
      axes: [
        { ...axis, values: (_plot, splits) => splits.map((each, index) => this.label(each, splits[index - 1])), space: 64 },
        { ...axis, values: (_plot, splits) => splits.map((each) => this.chart.format(each)), size: widthOf, space: 34 },
      ],
      series: [
        {},
        ...this.chart.lines.map((line) => ({
          label: line.label,
          stroke: () => color(line.color),
          width: 1.6,
          dash: line.dash,
          spanGaps: this.chart.rare ?? false,
        })),
      ],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] },
    };
  }

  /** The hour, and the day where it is another one than that of the label before. @param {number} at @param {number | undefined} before */
  label(at, before) {
    const day = clock(at, true).slice(5, 10);
    const time = clock(at, false);
    if (time === "00:00") return day;
    const first = before === undefined || clock(before, true).slice(5, 10) !== day;
    return first && this.long ? `${day} ${time}` : time;
  }
}

/** Of the labels of an axis, in pixels. @param {unknown} _plot @param {string[] | null} labels */
function widthOf(_plot, labels) {
  return 22 + 7 * Math.max(2, ...(labels ?? []).map((each) => each.length));
}

/** @param {Column} column */
function lastOf(column) {
  return column.findLast((each) => each != null);
}
