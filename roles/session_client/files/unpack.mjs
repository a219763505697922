// SPDX-License-Identifier: GPL-3.0-or-later
// node unpack.mjs DIRECTORY write|check <<< BASE64: makes bin, src and the files beside them those of the package, which is
// JSON, contents by path; prints what differs. Run as the application's user. One transfer, where each file was one.
import { chmodSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const FILE_MODE = 0o644;
const [directory, mode] = process.argv.slice(process.argv.length - 2);
/** @type {Record<string, string>} */
const wanted = JSON.parse(Buffer.from(readFileSync(0, "utf8"), "base64").toString("utf8"));
process.umask(0o022);

/** Null for what is not there. @template T @param {() => T} work */
function found(work) {
  try {
    return work();
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

/** @param {string} path */
function isAsWanted(path) {
  const file = join(directory, path);
  const there = found(() => statSync(file));
  return there !== null && there.isFile() && (there.mode & 0o777) === FILE_MODE && readFileSync(file, "utf8") === wanted[path];
}

/** Files of another version. @param {string} folder */
function strangers(folder) {
  const names = found(() => readdirSync(join(directory, folder))) ?? [];
  return names.map((name) => `${folder}/${name}`).filter((path) => !(path in wanted));
}

/** @param {string} path */
function write(path) {
  const file = join(directory, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, wanted[path]);
  chmodSync(`${file}.new`, FILE_MODE);
  renameSync(`${file}.new`, file);
}

const different = Object.keys(wanted).filter((path) => !isAsWanted(path));
const gone = ["bin", "src"].flatMap(strangers);
if (mode === "write") {
  different.forEach(write);
  for (const path of gone) rmSync(join(directory, path), { recursive: true });
}
process.stdout.write([...different, ...gone].map((path) => `${path}\n`).join(""));
