// SPDX-License-Identifier: BSD-2-Clause
// Everything of one company in memory: creds and every key. Because it is everything, what is not here does not exist.
import { copy, decode, encode } from "./codec.js";

/** Keys of a company that are kept as values at once: what a few busy chats and a group send need. As a text each takes a
 * third of that, and most are never asked for. */
const MOST_DECODED = 128;

/** A key that has been asked for. */
class Decoded {
  /** @param {Map<string, Held>} keys where it is @param {string} id @param {string} text @param {any} value */
  constructor(keys, id, text, value) {
    this.keys = keys;
    this.id = id;
    this.text = text;
    this.value = value;
  }
}

/**
 * @typedef {string | Decoded} Held
 * @typedef {{type: string, id: string, text: string | null}} Change `text` null: the key goes
 */

/** @param {Held} held */
const textOf = (held) => (typeof held === "string" ? held : held.text);

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
    /** Those that are values, the oldest first. @type {Set<Decoded>} */
    this.decoded = new Set();
  }

  /** @param {string} type @param {string} id */
  has(type, id) {
    return this.types.get(type)?.has(id) ?? false;
  }

  /** A copy of the value; undefined when there is none. @param {string} type @param {string} id */
  get(type, id) {
    const keys = this.types.get(type);
    const held = keys?.get(id);
    if (!keys || held === undefined) return undefined;
    if (typeof held === "string") return copy(this.#decode(type, keys, id, held));
    return copy(held.value);
  }

  /** @param {string} type @param {Map<string, Held>} keys @param {string} id @param {string} text */
  #decode(type, keys, id, text) {
    const held = new Decoded(keys, id, text, decode(type, text));
    keys.set(id, held);
    this.decoded.add(held);
    if (this.decoded.size > MOST_DECODED) {
      const [oldest] = this.decoded;
      this.decoded.delete(oldest);
      oldest.keys.set(oldest.id, oldest.text);
    }
    return held.value;
  }

  /** The canonical text of a key; null when there is none. @param {string} type @param {string} id */
  text(type, id) {
    if (type === "creds" && id === "") return this.creds;
    const held = this.types.get(type)?.get(id);
    return held === undefined ? null : encode(type, typeof held === "string" ? decode(type, held) : held.value);
  }

  /** Takes one stored key in. A text that is no key is remembered as such. @param {string} type @param {string} id
   * @param {string | null} text */
  load(type, id, text) {
    let value;
    try {
      value = decode(type, text);
    } catch (error) {
      this.undecodable.set(nameOf(type, id), error.message);
      return;
    }
    const given = /** @type {string} */ (text);
    this.#put(type, id, isWordy(given) ? encode(type, value) : given);
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
    keys.set(id, text);
    this.size++;
    this.characters += text.length + id.length;
  }

  /** @param {string} type @param {string} id */
  #remove(type, id) {
    const keys = this.types.get(type);
    const held = keys?.get(id);
    if (!keys || held === undefined) return;
    if (typeof held !== "string") this.decoded.delete(held);
    keys.delete(id);
    this.size--;
    this.characters -= textOf(held).length + id.length;
  }

  /** Every key as [type, id, canonical text]. @returns {Generator<[string, string, string]>} */
  *entries() {
    for (const [type, keys] of this.types) {
      for (const [id, held] of keys) {
        yield [type, id, encode(type, typeof held === "string" ? decode(type, held) : held.value)];
      }
    }
  }

  /** @returns {Record<string, number>} */
  counts() {
    return Object.fromEntries([...this.types].map(([type, keys]) => [type, keys.size]));
  }
}

/** Bytes as numbers take three times the room of base64. They begin with a list of several, or with a member "0".
 * @param {string} text */
const isWordy = (text) => /"data": ?\[|"0" ?:/.test(text);

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
