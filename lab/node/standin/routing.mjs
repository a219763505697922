// SPDX-License-Identifier: GPL-3.0-or-later
// Messages between devices and contacts, and what became of them. Outcomes are what the receiver itself reports.
import { bareJid, child, children, node, now, userOf } from "./nodes.mjs";
import { newMessageId, textOf } from "./parties.mjs";

/** @typedef {import("./nodes.mjs").BinaryNode} BinaryNode */
/** @typedef {import("./hub.mjs").Hub} Hub */
/** @typedef {import("./world.mjs").Device} Device */
/** @typedef {import("./parties.mjs").SignalParty} SignalParty */

/** A contact writes to a device. @param {Hub} hub @param {SignalParty} contact @param {Device} device
 * @param {string} text @param {{group?: string, newSession?: boolean}} options */
export async function sendToDevice(hub, contact, device, text, { group, newSession = false }) {
  if (newSession || !contact.hasSession(device.jid)) await contact.startSession(device.jid, device.takeBundle());
  const id = newMessageId();
  const content = group
    ? await groupContent(hub, contact, device, group, text)
    : [encNode(await contact.encryptFor(device.jid, { conversation: text }))];
  const alias = contact.lid ? { [group ? "participant_lid" : "sender_lid"]: contact.lid } : {};
  const attrs = {
    id,
    ...senderAttrs(contact, group),
    ...alias,
    type: "text",
    t: now(),
    notify: contact.id,
    ...(group ? { addressing_mode: "pn" } : {}),
  };
  /** @type {import("./world.mjs").Delivery} */
  const delivery = { id, from: contact, stanza: node("message", attrs, content), outcome: null, settle: [] };
  device.pending.set(id, delivery);
  hub.deliveries.set(id, delivery);
  device.connection?.send(delivery.stanza);
  return delivery;
}

/** @param {SignalParty} party @param {string | undefined} group @returns {Record<string, string>} */
const senderAttrs = (party, group) => (group ? { from: group, participant: party.pn } : { from: party.pn });

/** @param {{type: string, content: Buffer}} encrypted */
const encNode = ({ type, content }) => node("enc", { v: "2", type }, content);

/** The sender key goes with the first message to each device, inside the pairwise session.
 * @param {Hub} hub @param {SignalParty} contact @param {Device} device @param {string} group @param {string} text */
async function groupContent(hub, contact, device, group, text) {
  hub.world.joinGroup(group, [contact.pn, bareJid(device.jid)]);
  const { content, distribution } = await contact.encryptForGroup(group, { conversation: text });
  const message = node("enc", { v: "2", type: "skmsg" }, content);
  const known = contact.senderKeyKnownBy.get(group) ?? new Set();
  if (known.has(device.jid)) return [message];
  contact.senderKeyKnownBy.set(group, known.add(device.jid));
  const senderKeyDistributionMessage = { groupId: group, axolotlSenderKeyDistributionMessage: distribution };
  return [encNode(await contact.encryptFor(device.jid, { senderKeyDistributionMessage })), message];
}

/** Waits until the device answered, or not. @param {import("./world.mjs").Delivery} delivery @param {number} timeoutMs
 * @returns {Promise<string>} */
export function outcomeOf(delivery, timeoutMs) {
  if (delivery.outcome) return Promise.resolve(delivery.outcome);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), timeoutMs);
    delivery.settle.push((outcome) => {
      clearTimeout(timer);
      resolve(outcome);
    });
  });
}

/** Messages that were never answered come again at the next login, as the real server does. @param {Device} device */
export function redeliver(device) {
  for (const { stanza } of device.pending.values()) {
    device.connection?.send({ ...stanza, attrs: { ...stanza.attrs, offline: "0" } });
  }
}

/** @param {Device} device @param {string} id @param {"delivered" | "retry"} outcome */
function settle(device, id, outcome) {
  const delivery = device.pending.get(id);
  if (!delivery) return;
  device.pending.delete(id);
  delivery.outcome = outcome;
  if (outcome === "retry") device.retryCount++;
  else device.deliveredCount++;
  for (const resolve of delivery.settle.splice(0)) resolve(outcome);
}

/** A device's receipt: only `retry` and server errors mean that it could not decrypt.
 * @param {Hub} hub @param {Device} device @param {BinaryNode} stanza */
export function acceptReceipt(hub, device, stanza) {
  const { id, type } = stanza.attrs;
  const listed = children(children(stanza).find(({ tag }) => tag === "list") ?? node("list")).map(
    ({ attrs }) => attrs.id,
  );
  const outcome = type === "retry" ? "retry" : "delivered";
  for (const messageId of [id, ...listed]) settle(device, messageId, outcome);
  const attrs = { class: "receipt", id, from: stanza.attrs.to, ...(type ? { type } : {}) };
  device.connection?.send(node("ack", attrs));
}

/** An ack with an error is the client's refusal of a message ("key used already", for one).
 * @param {Hub} _hub @param {Device} device @param {BinaryNode} stanza */
export function acceptAck(_hub, device, stanza) {
  if (stanza.attrs.class === "message" && stanza.attrs.error) settle(device, stanza.attrs.id, "retry");
}

/** A device writes: every addressed party tries to decrypt, then the server acknowledges.
 * @param {Hub} hub @param {Device} device @param {BinaryNode} stanza */
export async function acceptMessage(hub, device, stanza) {
  const { id, to } = stanza.attrs;
  const isGroup = userOf(to).server === "g.us";
  const fanout = child(stanza, "participants");
  const direct = child(stanza, "enc");
  for (const { attrs, content } of fanout ? children(fanout) : []) {
    await deliverTo(hub, device, attrs.jid, id, to, /** @type {BinaryNode[]} */ (content));
  }
  if (direct && isGroup) await deliverToGroup(hub, device, to, id, direct);
  else if (direct) await deliverTo(hub, device, stanza.attrs.participant ?? to, id, to, [direct]);
  device.connection?.send(node("ack", { class: "message", id, from: to, t: now() }));
}

/**
 * @param {Hub} hub
 * @param {Device} device
 * @param {string} jid
 * @param {string} id
 * @param {string} to
 * @param {BinaryNode[]} encs
 */
async function deliverTo(hub, device, jid, id, to, encs) {
  const party = userOf(jid).device === 0 ? hub.world.party(jid) : undefined;
  if (!party) return;
  const group = userOf(to).server === "g.us" ? to : undefined;
  for (const { attrs, content } of encs.filter(({ tag }) => tag === "enc")) {
    try {
      const message = await party.decryptFrom(device.jid, attrs.type, /** @type {Uint8Array} */ (content));
      const skdm = message.senderKeyDistributionMessage;
      if (skdm)
        await party.learnSenderKey(
          String(skdm.groupId),
          device.jid,
          /** @type {Uint8Array} */ (skdm.axolotlSenderKeyDistributionMessage),
        );
      const text = textOf(message);
      if (text !== null) receive(hub, party, device, { id, text, group });
    } catch (error) {
      receive(hub, party, device, { id, error: String(/** @type {Error} */ (error).message), group });
    }
  }
}

/** @param {Hub} hub @param {Device} device @param {string} group @param {string} id @param {BinaryNode} enc */
async function deliverToGroup(hub, device, group, id, enc) {
  for (const jid of hub.world.groups.get(group) ?? []) {
    const party = hub.world.party(jid);
    if (!party || party === device.phone) continue;
    try {
      const message = await party.decryptFromGroup(group, device.jid, /** @type {Uint8Array} */ (enc.content));
      receive(hub, party, device, { id, text: textOf(message) ?? "", group });
    } catch (error) {
      receive(hub, party, device, { id, error: String(/** @type {Error} */ (error).message), group });
    }
  }
}

/**
 * @param {Hub} hub
 * @param {SignalParty} party
 * @param {Device} device
 * @param {{id: string, text?: string, error?: string, group?: string}} entry
 */
function receive(hub, party, device, entry) {
  party.inbox.push({ ...entry, from: device.jid });
  hub.log(`${party.id} ${entry.error ? `could not decrypt ${entry.id}: ${entry.error}` : `received ${entry.id}`}`);
  if (entry.error || party === device.phone) return;
  device.connection?.send(node("receipt", { id: entry.id, ...senderAttrs(party, entry.group), t: now() }));
}
