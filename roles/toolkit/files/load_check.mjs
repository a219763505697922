// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
//
// What the real Baileys loads from exported session directories. An exit code proves nothing: Baileys answers null for a
// file that it cannot read, and makes a new identity where creds.json is empty, both without an error. So every key that
// the manifest names is asked for, and looked at. Nothing is written.
//
// stdin:  {"module_dir", "package": "baileys" | "@whiskeysockets/baileys" | null,
//          "directories": [{"company", "path", "manifest"}]}
// stdout: {"baileys": version, "package", "companies": [{"company", "user", "counts": {type: n},
//          "missing": [{"type", "id_hash"}], "problems": [text], "milliseconds"}], "import_milliseconds"}
//     or: {"error": "baileys_missing" | "baileys_broken" | "node_too_old" | "bad_request", "detail"} and exit code 3
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGES = ["baileys", "@whiskeysockets/baileys"];
const OLDEST_NODE = 18;
// Each of these holds a file open. Together they stay below the usual limit of 1,024 open files: above it Baileys takes
// "too many open files" for "no such key".
const COMPANIES_AT_ONCE = 2;
const KEYS_AT_ONCE = 200;
// The file alone costs 155 ms to import where the whole package costs 250 ms.
const DEEP_FILE = "lib/Utils/use-multi-file-auth-state.js";

class Refusal extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

/** Finds the package as the application in moduleDir would, without asking its "exports" for leave. */
function findPackage(moduleDir, wanted) {
  const require = createRequire(join(resolve(moduleDir), "package.json"));
  for (const name of wanted ? [wanted] : PACKAGES) {
    for (const folder of require.resolve.paths(name) ?? []) {
      const root = join(folder, name);
      const description = join(root, "package.json");
      if (!existsSync(description)) continue;
      const { version, main } = JSON.parse(readFileSync(description, "utf8"));
      return { name, root, version, main };
    }
  }
  throw new Refusal("baileys_missing", `no package ${wanted ?? PACKAGES.join(" or ")} for ${moduleDir}`);
}

async function importBaileys(found) {
  const deep = join(found.root, DEEP_FILE);
  const entry = join(found.root, found.main ?? "lib/index.js");
  try {
    const library = await import(pathToFileURL(existsSync(deep) ? deep : entry).href);
    const load = library.useMultiFileAuthState ?? library.default?.useMultiFileAuthState;
    if (typeof load !== "function") throw new Error("it exports no useMultiFileAuthState");
    return load;
  } catch (error) {
    throw new Refusal("baileys_broken", `${found.name} ${found.version} cannot be imported: ${error.message}`);
  }
}

const idHash = (id) => `#${createHash("sha256").update(id, "utf8").digest("hex").slice(0, 10)}`;
const bytes = (value, ...lengths) =>
  value instanceof Uint8Array && (lengths.length ? lengths.includes(value.length) : value.length > 0);
const pair = (value) => bytes(value?.private, 32) && bytes(value?.public, 32, 33);
const object = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !bytes(value);

/** What Baileys does with a key of each type needs this much; other types only have to be there. */
const WHOLE = {
  "pre-key": pair,
  session: (value) => bytes(value) || object(value?._sessions),
  "sender-key": (value) => bytes(value),
  "sender-key-memory": object,
  "app-state-sync-key": (value) => bytes(value?.keyData, 32),
  "app-state-sync-version": (value) =>
    bytes(value?.hash, 128) && Object.values(value.indexValueMap ?? {}).every((each) => bytes(each?.valueMac)),
  "lid-mapping": (value) => typeof value === "string" && value !== "",
  "device-list": Array.isArray,
  tctoken: (value) => bytes(value?.token),
  "identity-key": (value) => bytes(value, 32, 33),
};

/** Ids by type, from the manifest beside the files; `creds` is no key. */
function readManifest(path) {
  if (!existsSync(path)) throw new Error("there is no manifest");
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  const footer = parseOr(lines.at(-1), null);
  const ids = new Map();
  for (const line of lines.slice(1, -1)) {
    const [type, id] = parseOr(line, []);
    if (typeof type !== "string" || typeof id !== "string" || !footer?.end) throw new Error("the manifest is not whole");
    if (type === "creds") continue;
    if (!ids.has(type)) ids.set(type, []);
    ids.get(type).push(id);
  }
  return ids;
}

/** JSON.parse quotes what it cannot read, and that would carry ids and key material into a report. */
function parseOr(text, fallback) {
  try {
    return JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** The user named in creds.json. Baileys is not asked before this file is known to be whole. */
function userInFile(path) {
  if (!existsSync(path)) throw new Error("creds.json is missing: Baileys would make a new identity");
  const creds = parseOr(readFileSync(path, "utf8"), null);
  if (!creds) throw new Error("creds.json is empty or broken: Baileys would make a new identity");
  return creds.me?.id ?? null;
}

function credsProblems(creds, expectedUser) {
  const found = [];
  if (!creds.me?.id) found.push("creds.json holds no paired session");
  else if (creds.me.id !== expectedUser) found.push("Baileys loads another user than creds.json names");
  for (const name of ["noiseKey", "pairingEphemeralKeyPair", "signedIdentityKey"]) {
    if (!pair(creds[name])) found.push(`creds ${name}: no pair of 32-byte keys`);
  }
  if (!pair(creds.signedPreKey?.keyPair)) found.push("creds signedPreKey: no pair of 32-byte keys");
  return found;
}

async function countType(keys, type, ids, answer) {
  const whole = WHOLE[type] ?? (() => true);
  for (let first = 0; first < ids.length; first += KEYS_AT_ONCE) {
    const batch = ids.slice(first, first + KEYS_AT_ONCE);
    const values = await keys.get(type, batch);
    for (const id of batch) {
      const value = values[id];
      if (value === null || value === undefined) answer.missing.push({ type, id_hash: idHash(id) });
      else if (whole(value)) answer.counts[type] += 1;
      else answer.problems.push(`${type} ${idHash(id)}: Baileys loads it as something that it cannot use`);
    }
  }
}

/** Changes whenever somebody writes creds.json, or adds or removes a file. */
function fingerprint(directory) {
  const [creds, folder] = [join(directory, "creds.json"), directory].map((path) => statSync(path, { bigint: true }));
  return [creds.ino, creds.size, creds.mtimeNs, folder.mtimeNs].join(" ");
}

async function inspect(load, directory, answer) {
  const expectedUser = userInFile(join(directory.path, "creds.json"));
  const ids = readManifest(directory.manifest);
  const before = fingerprint(directory.path);
  const { state } = await load(directory.path);
  answer.user = state.creds.me?.id ?? null;
  answer.problems.push(...credsProblems(state.creds, expectedUser));
  for (const type of ids.keys()) answer.counts[type] = 0;
  for (const [type, list] of ids) await countType(state.keys, type, list, answer);
  if (fingerprint(directory.path) !== before) answer.problems.push("the directory changed while it was loaded");
}

async function check(load, directory) {
  const started = performance.now();
  const answer = { company: directory.company, user: null, counts: {}, missing: [], problems: [], milliseconds: 0 };
  try {
    await inspect(load, directory, answer);
  } catch (error) {
    answer.problems.push(error.message);
  }
  answer.milliseconds = Math.round(performance.now() - started);
  return answer;
}

async function checkAll(load, directories) {
  const answers = new Array(directories.length);
  let next = 0;
  const worker = async () => {
    while (next < directories.length) {
      const mine = next++;
      answers[mine] = await check(load, directories[mine]);
    }
  };
  await Promise.all(Array.from({ length: COMPANIES_AT_ONCE }, worker));
  return answers;
}

async function main() {
  if (Number(process.versions.node.split(".")[0]) < OLDEST_NODE) {
    throw new Refusal("node_too_old", `this is Node.js ${process.versions.node}, ${OLDEST_NODE} or newer is needed`);
  }
  const request = parseOr(readFileSync(0, "utf8"), null);
  if (!request?.module_dir || !request.directories) throw new Refusal("bad_request", "stdin holds no request");
  const found = findPackage(request.module_dir, request.package);
  const started = performance.now();
  const load = await importBaileys(found);
  const imported = Math.round(performance.now() - started);
  const companies = await checkAll(load, request.directories);
  return { baileys: found.version, package: found.name, companies, import_milliseconds: imported };
}

function answerAndExit(answer, code) {
  process.stdout.write(`${JSON.stringify(answer)}\n`, () => process.exit(code));
}

// Some dependencies of Baileys print; stdout is for the one answer.
console.log = console.info = console.debug = console.error;
main().then(
  (answer) => answerAndExit(answer, 0),
  (error) => answerAndExit({ error: error.code ?? "bad_request", detail: error.message }, 3),
);
