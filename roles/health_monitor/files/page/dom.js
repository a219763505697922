// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// The few ways in which this page touches its elements. Texts come from servers and applications, so they are only ever
// set as text. Elements are kept and changed, never made anew: nothing flickers, and the focus stays where it is.

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {(Node | string)[]} children
 * @returns {HTMLElement}
 */
export function make(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/**
 * Set only where it differs, so that a screen reader is not told of what did not change.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Text in a part of an element that `make` or the page has given this class.
 * @param {Element} element
 * @param {string} part
 * @param {string} text an empty one hides the part
 */
export function setPart(element, part, text) {
  const found = /** @type {HTMLElement | null} */ (element.querySelector(`.${part}`));
  if (!found) return;
  setText(found, text);
  found.hidden = !text;
}

/**
 * The children of `parent` become one element an item, in this order.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {() => HTMLElement} begin makes an element
 * @param {(element: HTMLElement, item: T) => void} show
 */
export function keyed(parent, items, keyOf, begin, show) {
  /** @type {Map<string, HTMLElement>} */
  const there = new Map();
  for (const each of /** @type {Iterable<HTMLElement>} */ (parent.children)) there.set(each.dataset.key ?? "", each);
  /** @type {Map<string, number>} */
  const times = new Map();
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = keyOf(item);
    const time = times.get(name) ?? 0;
    times.set(name, time + 1);
    const key = time ? `${name} (${time})` : name;
    let element = there.get(key);
    if (element) there.delete(key);
    else {
      element = begin();
      element.dataset.key = key;
    }
    show(element, item);
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  for (const gone of there.values()) gone.remove();
}
