// SPDX-License-Identifier: BSD-2-Clause
// Between what Baileys holds and JSON text. Bytes are found in jsonb in three forms, from three generations of adapters:
// {"type":"Buffer","data":"<base64>"}, the same with an array of numbers, and a bare {"0":5,"1":9}. What is written is
// always the first, with sorted names, so that equal values have equal texts.

/** Where bytes are expected, so that a bare index object means bytes there; "*" is every member. Elsewhere it may be
 * what it seems. @type {Record<string, string[][]>} */
const BYTES_AT = {
  "pre-key": [["private"], ["public"]],
  "identity-key": [[]],
  "sender-key": [[]],
  "app-state-sync-version": [["hash"], ["indexValueMap", "*", "valueMac"]],
  "app-state-sync-key": [["keyData"]],
  tctoken: [["token"]],
  creds: [
    ["noiseKey", "private"],
    ["noiseKey", "public"],
    ["pairingEphemeralKeyPair", "private"],
    ["pairingEphemeralKeyPair", "public"],
    ["signedIdentityKey", "private"],
    ["signedIdentityKey", "public"],
    ["signedPreKey", "keyPair", "private"],
    ["signedPreKey", "keyPair", "public"],
    ["signedPreKey", "signature"],
    ["signalIdentities", "*", "identifierKey"],
    ["account", "details"],
    ["account", "accountSignatureKey"],
    ["account", "accountSignature"],
    ["account", "deviceSignature"],
    ["routingInfo"],
  ],
};
/** Fields that Baileys keeps as bare base64 in JSON: a Buffer there would be read as a text. */
const BARE_BASE64 = new Set(["app-state-sync-key"]);

/**
 * The value of a stored text, bytes as Buffers. Throws Error with the reason when it is no value of this type.
 * @param {string} type a key type, or "creds"
 * @param {string | null} text
 * @returns {any}
 */
export function decode(type, text) {
  if (text === null || text === undefined) throw new Error("the value is NULL");
  let value = parsed(text);
  // Some adapters store JSON.stringify(...) into jsonb, which leaves the JSON text as one JSON string.
  if (typeof value === "string" && (type === "lid-mapping" ? value[0] === '"' : value[0] === "{" || value[0] === "[")) {
    value = parsed(value);
  }
  if (value === null) throw new Error("the value is null");
  // Most keys hold neither form of bytes, or one of them: a look at the text is quicker than a walk through the value. What
  // is written with escapes is looked at closely.
  const escaped = text.includes("\\");
  if (escaped || text.includes('"0"')) for (const path of BYTES_AT[type] ?? []) value = atPath(value, path, 0);
  if (escaped || text.includes('"Buffer"') || text.includes('"buffer"')) value = revive(value);
  const problem = shapeProblem(type, value);
  if (problem) throw new Error(problem);
  return value;
}

/** JSON.parse quotes what it cannot read, and that may be a key. @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("it is no JSON");
  }
}

/** @param {any} value @returns {any} */
function revive(value) {
  if (value === null || typeof value !== "object" || Buffer.isBuffer(value)) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = revive(value[index]);
    return value;
  }
  if (value.type === "Buffer" || value.buffer === true) {
    const data = value.data ?? value.value;
    if (typeof data === "string") return Buffer.from(data, "base64");
    if (Array.isArray(data)) return octets(data);
    const numbers = indexValues(data);
    if (numbers) return octets(numbers);
  }
  for (const name in value) {
    const member = value[name];
    if (member !== null && typeof member === "object") value[name] = revive(member);
  }
  return value;
}

/** @param {any[]} numbers */
function octets(numbers) {
  for (const each of numbers) {
    if (!Number.isInteger(each) || each < 0 || each > 255) {
      throw new Error("bytes hold something that is no number from 0 to 255");
    }
  }
  return Buffer.from(numbers);
}

/** The values of {"0":5,"1":9} by position; null when it is no such object. @param {any} value */
function indexValues(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value) || Buffer.isBuffer(value)) return null;
  const length = Object.keys(value).length;
  if (!length) return null;
  const found = new Array(length);
  for (let index = 0; index < length; index++) {
    if (!(index in value)) return null;
    found[index] = value[index];
  }
  return found;
}

/** @param {any} value @param {string[]} path @param {number} at how far down the path @returns {any} */
function atPath(value, path, at) {
  if (at === path.length) {
    const numbers = indexValues(value);
    return numbers ? octets(numbers) : value;
  }
  if (value === null || typeof value !== "object") return value;
  const name = path[at];
  if (name === "*") for (const each in value) value[each] = atPath(value[each], path, at + 1);
  else if (name in value) value[name] = atPath(value[name], path, at + 1);
  return value;
}

/** What no key of this type looks like; null when nothing is wrong. @param {string} type @param {any} value */
function shapeProblem(type, value) {
  const isObject = typeof value === "object" && !Array.isArray(value) && !Buffer.isBuffer(value);
  switch (type) {
    case "pre-key":
      return isObject && isBytes(value.private, 32) && isBytes(value.public) ? null : "it is no pair of keys";
    case "session":
      return isObject && isSessionRecord(value._sessions) ? null : "it is no session record";
    case "identity-key":
      return Buffer.isBuffer(value) ? null : "it is not bytes";
    case "sender-key": // early adapters stored the list itself, which Baileys reads too
      return Buffer.isBuffer(value) || Array.isArray(value) ? null : "it is not bytes";
    case "sender-key-memory":
    case "tctoken":
      return isObject ? null : "it is no object";
    case "app-state-sync-key":
      return isObject && value.keyData ? null : "it has no keyData";
    case "app-state-sync-version":
      return isObject && typeof value.version === "number" && Buffer.isBuffer(value.hash) ? null : "it is no app state";
    case "lid-mapping":
      return typeof value === "string" && value ? null : "it is no text";
    case "device-list":
      return Array.isArray(value) ? null : "it is no list";
    default:
      return null;
  }
}

/** @param {any} sessions */
const isSessionRecord = (sessions) =>
  sessions !== null &&
  typeof sessions === "object" &&
  Object.values(sessions).every((each) => each?.currentRatchet && each.indexInfo);

/** @param {any} value @param {number} [length] */
const isBytes = (value, length) => Buffer.isBuffer(value) && (length === undefined || value.length === length);

/** The canonical JSON text of a value. @param {string} type @param {any} value */
export function encode(type, value) {
  return JSON.stringify(BARE_BASE64.has(type) ? bare(value) : plain(value));
}

/** Bytes in the base64 form, names sorted. @param {any} value @returns {any} */
function plain(value) {
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Uint8Array) return { data: base64(value), type: "Buffer" };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value.toJSON === "function") return plain(value.toJSON());
  if (value.type === "Buffer" && Array.isArray(value.data)) return { data: octets(value.data).toString("base64"), type: "Buffer" };
  return sorted(value, plain);
}

/** A protobuf object, whose own JSON form has bytes as bare base64 and long numbers as texts. @param {any} value */
function bare(value) {
  const object = typeof value?.toJSON === "function" ? value.toJSON() : value;
  /** @param {any} each @returns {any} */
  const walk = (each) => {
    if (each === null || typeof each !== "object") return each;
    if (each instanceof Uint8Array) return base64(each);
    if (each.type === "Buffer" && typeof each.data === "string") return each.data;
    if (Array.isArray(each)) return each.map(walk);
    if (typeof each.toJSON === "function") return walk(each.toJSON());
    return sorted(each, walk);
  };
  return walk(object);
}

/** @param {Uint8Array} bytes */
const base64 = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** @param {Record<string, any>} object @param {(value: any) => any} each */
function sorted(object, each) {
  const names = Object.keys(object);
  for (let index = 1; index < names.length; index++) {
    if (names[index - 1] > names[index]) {
      names.sort();
      break;
    }
  }
  const result = objectLike(names[0]);
  for (const name of names) {
    const value = object[name];
    if (value !== undefined && typeof value !== "function") result[name] = each(value);
  }
  return result;
}

/**
 * A copy of a decoded value that shares nothing that can be changed: what Baileys does to a value must not change what memory
 * holds. Once for each key of each read, so it is written for speed: decoded values are plain objects, lists, bytes and texts.
 * @template T @param {T} value @returns {T}
 */
export function copy(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return /** @type {any} */ (value.map(copy));
  if (value instanceof Uint8Array) return /** @type {any} */ (Buffer.from(value));
  /** @type {any} */
  let result;
  for (const name in value) {
    result ??= objectLike(name);
    const member = value[name];
    result[name] = member !== null && typeof member === "object" ? copy(member) : member;
  }
  return result ?? {};
}

// What follows makes what `{}` makes, faster. V8 finds the layout of an object by the names that are added to it, and keeps
// 1,536 ways on from `{}`; the generated protobuf code of Baileys uses them up. From then on each name that is new to a `{}` costs
// up to a microsecond. So objects with names of fields begin at a layout of their own; and those whose names are data
// (base64, JIDs), which would use up that one too, are hash tables from the start.
const Fields = /** @type {{new (): Record<string, any>}} */ (/** @type {unknown} */ (function () {}));
Fields.prototype = Object.prototype;

/** @returns {Record<string, any>} */
export const hashTable = () => Object.setPrototypeOf(Object.create(null), Object.prototype);

const LONGEST_FIELD = 30;

/** An empty object that fits its first name. @param {string | undefined} name */
function objectLike(name) {
  if (name === undefined) return {};
  const first = name.charCodeAt(0);
  return name.length > LONGEST_FIELD || (first >= 48 && first <= 57) ? hashTable() : new Fields();
}
