// SPDX-License-Identifier: BSD-2-Clause
// Everything of one company in memory: creds and every key. Because it is everything, what is not here does not exist.
import { copy, decode, encode } from "./codec.js";

/**
 * One key: as text until somebody asks for it (most keys are never asked for, and a text is small), as a value from then on.
 * `size` in characters.
 * @typedef {{text: string | null, value: any, size: number}} Held
 * @typedef {{type: string, id: string, text: string | null}} Change `text` null: the key goes
 */

export class Memory {
  constructor() {
    /** @type {Map<string, Map<string, Held>>} */
    this.types = new Map();
    /** Canonical text of the creds as they were last handed to {@link apply}. @type {string | null} */
    this.creds = null;
    /** Keys that are stored and could not be decoded: to say that they do not exist would be a lie. @type {Map<string, string>} */
    this.undecodable = new Map();
    /** Number of keys, and about how much they take. */
    this.size = 0;
    this.characters = 0;
  }

  /** @param {string} type @param {string} id */
  has(type, id) {
    return this.types.get(type)?.has(id) ?? false;
  }

  /** A copy of the value; undefined when there is none. @param {string} type @param {string} id */
  get(type, id) {
    const held = this.types.get(type)?.get(id);
    if (!held) return undefined;
    if (held.text !== null) {
      held.value = decode(type, held.text);
      held.text = null;
    }
    return copy(held.value);
  }

  /** The canonical text of a key; null when there is none. @param {string} type @param {string} id */
  text(type, id) {
    if (type === "creds" && id === "") return this.creds;
    const held = this.types.get(type)?.get(id);
    if (!held) return null;
    return encode(type, held.text === null ? held.value : decode(type, held.text));
  }

  /** Takes one stored key in. A text that is no key is remembered as such. @param {string} type @param {string} id
   * @param {string | null} text */
  load(type, id, text) {
    try {
      decode(type, text);
    } catch (error) {
      this.undecodable.set(nameOf(type, id), error.message);
      return;
    }
    this.#put(type, id, /** @type {string} */ (text));
  }

  /** @param {Change[]} changes @param {string | null} [creds] */
  apply(changes, creds = null) {
    for (const { type, id, text } of changes) {
      this.undecodable.delete(nameOf(type, id));
      if (text === null) this.#remove(type, id);
      else this.#put(type, id, text);
    }
    if (creds !== null) this.creds = creds;
  }

  /** @param {string} type @param {string} id @param {string} text */
  #put(type, id, text) {
    let keys = this.types.get(type);
    if (!keys) this.types.set(type, (keys = new Map()));
    this.#remove(type, id);
    const size = text.length + id.length;
    keys.set(id, { text, value: undefined, size });
    this.size++;
    this.characters += size;
  }

  /** @param {string} type @param {string} id */
  #remove(type, id) {
    const keys = this.types.get(type);
    const held = keys?.get(id);
    if (!keys || !held) return;
    keys.delete(id);
    this.size--;
    this.characters -= held.size;
  }

  /** Every key as [type, id, canonical text]. @returns {Generator<[string, string, string]>} */
  *entries() {
    for (const [type, keys] of this.types) {
      for (const [id, held] of keys) {
        yield [type, id, encode(type, held.text === null ? held.value : decode(type, held.text))];
      }
    }
  }

  /** @returns {Record<string, number>} */
  counts() {
    return Object.fromEntries([...this.types].map(([type, keys]) => [type, keys.size]));
  }
}

/** @param {string} type @param {string} id */
export const nameOf = (type, id) => `${type}\0${id}`;

/**
 * What Baileys hands to `set`, as texts: from here on nobody can change it any more.
 * @param {Record<string, Record<string, any> | undefined>} data @returns {Change[]}
 */
export function changesOf(data) {
  /** @type {Change[]} */
  const changes = [];
  for (const type in data) {
    for (const id in data[type]) {
      const value = data[type][id];
      changes.push({ type, id, text: value ? encode(type, value) : null });
    }
  }
  return changes;
}
