// SPDX-License-Identifier: BSD-2-Clause
// Are these the creds of a session? Baileys itself would take anything, and make a new identity out of nothing.
import { decode } from "./codec.js";
import { CredsInvalid } from "./errors.js";

const PAIRS = ["noiseKey", "pairingEphemeralKeyPair", "signedIdentityKey"];

/** @param {string} company @param {string | null} text @returns {any} */
export function credsOf(company, text) {
  let creds;
  try {
    creds = decode("creds", text);
  } catch (error) {
    throw invalid(company, error.message, error);
  }
  const problem = problemOf(creds);
  if (problem) throw invalid(company, problem);
  return creds;
}

/** @param {any} creds */
function problemOf(creds) {
  if (typeof creds !== "object" || Array.isArray(creds) || Buffer.isBuffer(creds)) return "they are no object";
  for (const name of PAIRS) {
    if (creds[name]?.private?.length !== 32 || !Buffer.isBuffer(creds[name].public)) return `${name} is no pair of keys`;
  }
  if (creds.signedPreKey?.keyPair?.private?.length !== 32 || !Buffer.isBuffer(creds.signedPreKey.signature)) {
    return "signedPreKey is not signed";
  }
  if (!Number.isInteger(creds.registrationId)) return "registrationId is no number";
  if (!Number.isInteger(creds.nextPreKeyId)) return "nextPreKeyId is no number";
  return null;
}

/** @param {string} company @param {string} reason @param {unknown} [cause] */
const invalid = (company, reason, cause) =>
  new CredsInvalid(`company ${company}: its creds are no session: ${reason}`, {
    company,
    hint: "nothing was written; put the row back from the mirror or a backup (`baileys-resilience mirror status` on the host)",
    cause,
  });
