// SPDX-License-Identifier: GPL-3.0-or-later
// Real conversations between a fresh device and contacts of the stand-in, so that its rows hold live ratchets.
import { post, sendText } from "./device.mjs";

/** `pn-` contacts have no LID: their rows are the ones that Baileys 6 finds, too. */
export const LIVE_CONTACTS = ["contact-1", "contact-2", "contact-3", "pn-contact-1"];
const TURNS = 2;

/** @param {string} company */
export const groupOf = (company) => `12036300${company.replace(/\D/g, "").padStart(10, "0").slice(-10)}@g.us`;

/** @param {string} control @param {object} message */
async function expectDelivered(control, message) {
  const { outcome } = await post(control, "/message", { timeout_ms: 20000, ...message });
  if (outcome !== "delivered") throw new Error(`a message of the first conversation came back as ${outcome}`);
}

/** Both sides write in turns, so that the ratchets have turned, too.
 * @param {import("./device.mjs").openSocket extends (...a: any) => infer S ? S : never} sock @param {string} control
 * @param {string} jid @param {string} company */
export async function converse(sock, control, jid, company) {
  const group = groupOf(company);
  for (const from of LIVE_CONTACTS) {
    const { jid: contact } = await post(control, "/contact", { id: from });
    for (let turn = 1; turn <= TURNS; turn++) {
      await expectDelivered(control, { to: jid, from, text: `hello ${turn}` });
      await sendText(sock, contact, `answer ${turn}`);
    }
  }
  await expectDelivered(control, { to: jid, from: LIVE_CONTACTS[0], text: "hello group", group });
  await sendText(sock, group, "answer group");
}
