// SPDX-License-Identifier: BSD-2-Clause
// The two things that only Baileys itself knows: what an app state key is, and how a new identity is made.
import { Misconfigured } from "./errors.js";

const NAMES = ["baileys", "@whiskeysockets/baileys"];

/**
 * @typedef {object} Baileys
 * @property {(value: any) => any} appStateSyncKey
 * @property {() => any} initAuthCreds
 * @property {any} module
 */

/** @param {any} [given] the module, where the application has it under another name @returns {Promise<Baileys>} */
export async function findBaileys(given) {
  const module = given ?? (await load());
  const { proto, initAuthCreds } = module;
  if (!proto?.Message?.AppStateSyncKeyData || !initAuthCreds) {
    throw new Misconfigured("this is no Baileys: proto or initAuthCreds is missing", {
      hint: "Baileys 6.7 or 7 is needed; give the module itself as options.baileys",
    });
  }
  return { appStateSyncKey: (value) => proto.Message.AppStateSyncKeyData.fromObject(value), initAuthCreds, module };
}

async function load() {
  let last;
  for (const name of NAMES) {
    try {
      return await import(name);
    } catch (error) {
      last = error;
    }
  }
  throw new Misconfigured("Baileys is not installed where this package can see it", {
    hint: "npm install baileys, or give the module as options.baileys",
    cause: last,
  });
}
