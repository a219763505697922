// SPDX-License-Identifier: GPL-3.0-or-later
// Answers to the client's iq stanzas. What is not known here gets an empty result, as Baileys needs no more.
import { getBinaryNodeChildBuffer, getBinaryNodeChildUInt } from "baileys";

import { answerAppState } from "./appstate.mjs";
import { bareJid, bundleNode, child, children, node, now, readKeyNode, userOf } from "./nodes.mjs";

/** @typedef {import("./nodes.mjs").BinaryNode} BinaryNode */
/** @typedef {{type?: string, content?: BinaryNode[], after?: () => void}} Reply */

/** @param {import("./hub.mjs").Hub} hub @param {import("./connection.mjs").Connection} connection
 * @param {BinaryNode} iq @returns {Reply} */
export function answerQuery(hub, connection, iq) {
  const { device } = connection;
  if (!device) return {};
  switch (iq.attrs.xmlns) {
    case "encrypt":
      return answerEncrypt(hub, device, iq);
    case "usync":
      return answerUsync(hub, iq);
    case "w:g2":
      return answerGroup(hub, iq);
    case "w:sync:app:state":
      return answerAppState(device, iq);
    case "privacy":
      return answerPrivacy(iq);
    case "abt":
      return { content: [node("props", { protocol: "1", hash: "lab" }, [])] };
    case "blocklist":
      return { content: [node("list", {}, [])] };
    case "md":
      return answerMultiDevice(hub, device, iq);
    default:
      return {};
  }
}

/** Pre-keys: count, upload, digest, rotation, and bundles of others.
 * @param {import("./hub.mjs").Hub} hub
 * @param {import("./world.mjs").Device} device
 * @param {BinaryNode} iq
 * @returns {Reply}
 */
function answerEncrypt(hub, device, iq) {
  if (child(iq, "count")) return { content: [node("count", { value: String(device.preKeys.size) })] };
  if (child(iq, "digest")) return { content: [node("digest", {}, [])] };
  const rotate = child(iq, "rotate");
  if (rotate) device.signedPreKey = readKeyNode(/** @type {BinaryNode} */ (child(rotate, "skey")));
  const list = child(iq, "list");
  if (list) storeUpload(device, iq, list);
  const wanted = child(iq, "key");
  if (!wanted) return {};
  const bundles = children(wanted).map((user) => bundleFor(hub, user.attrs.jid));
  return { content: [node("list", {}, bundles)] };
}

/** @param {import("./world.mjs").Device} device @param {BinaryNode} iq @param {BinaryNode} list */
function storeUpload(device, iq, list) {
  for (const key of children(list)) {
    const { keyId, public: publicKey } = readKeyNode(key);
    device.preKeys.set(keyId, publicKey);
  }
  device.registrationId = Number(getBinaryNodeChildUInt(iq, "registration", 4));
  device.identity = Buffer.from(/** @type {Uint8Array} */ (getBinaryNodeChildBuffer(iq, "identity")));
  device.signedPreKey = readKeyNode(/** @type {BinaryNode} */ (child(iq, "skey")));
}

/** @param {import("./hub.mjs").Hub} hub @param {string} jid */
function bundleFor(hub, jid) {
  const party = userOf(jid).device === 0 ? hub.world.party(jid) : undefined;
  if (party) {
    const { id, pair } = party.issuePreKey();
    const { keyId, keyPair, signature } = party.signedPreKey;
    return bundleNode(jid, {
      registrationId: party.registrationId,
      identity: party.identity.public,
      signed: { keyId, public: keyPair.public, signature },
      preKey: { keyId: id, public: pair.public },
    });
  }
  return node("user", { jid }, [node("error", { code: "404", text: "item-not-found" })]);
}

/** Which devices a user has, and which LID. The LID is given only where nothing else is asked: an answer to the device
 * query that names it makes Baileys 7 start new sessions each time, which would hide a broken ratchet.
 * @param {import("./hub.mjs").Hub} hub @param {BinaryNode} iq @returns {Reply} */
function answerUsync(hub, iq) {
  const usync = /** @type {BinaryNode} */ (child(iq, "usync"));
  const asked = children(/** @type {BinaryNode} */ (child(usync, "query"))).map((protocol) => protocol.tag);
  const users = children(/** @type {BinaryNode} */ (child(usync, "list")));
  const list = users.map((user) => {
    const jid = user.attrs.jid ?? `${String(child(user, "contact")?.content ?? "").replace(/\D/g, "")}@s.whatsapp.net`;
    return node("user", { jid: bareJid(jid) }, answerUser(hub, jid, asked));
  });
  return { content: [node("usync", {}, [node("result", {}, []), node("list", {}, list)])] };
}

/** @param {import("./hub.mjs").Hub} hub @param {string} jid @param {string[]} asked */
function answerUser(hub, jid, asked) {
  const party = hub.world.party(jid);
  const content = [];
  if (asked.includes("contact")) content.push(node("contact", { type: party ? "in" : "out" }));
  if (asked.includes("devices") && party) {
    const numbers = [0, ...hub.world.devicesOf(party).map((device) => userOf(device.jid).device)];
    const devices = numbers.map((id) => node("device", { id: String(id), "key-index": String(id) }));
    content.push(node("devices", {}, [node("device-list", {}, devices)]));
  }
  if (asked.length === 1 && asked[0] === "lid" && party?.lid) content.push(node("lid", { val: party.lid }));
  return content;
}

/** @param {import("./hub.mjs").Hub} hub @param {BinaryNode} iq @returns {Reply} */
function answerGroup(hub, iq) {
  const group = iq.attrs.to;
  const members = hub.world.groups.get(group);
  if (!members) return { type: "error", content: [node("error", { code: "404", text: "item-not-found" })] };
  const participants = [...members].map((jid) => node("participant", { jid }));
  const attrs = { id: group.split("@")[0], subject: "lab", creation: now(), s_t: now(), size: String(members.size) };
  return { content: [node("group", { ...attrs, addressing_mode: "pn" }, participants)] };
}

/** @param {BinaryNode} iq @returns {Reply} */
function answerPrivacy(iq) {
  if (child(iq, "tokens")) return {};
  return { content: [node("privacy", {}, [node("category", { name: "readreceipts", value: "all" })])] };
}

/**
 * @param {import("./hub.mjs").Hub} hub
 * @param {import("./world.mjs").Device} device
 * @param {BinaryNode} iq
 * @returns {Reply}
 */
function answerMultiDevice(hub, device, iq) {
  if (!child(iq, "remove-companion-device")) return {};
  return { after: () => hub.logout(device) };
}
