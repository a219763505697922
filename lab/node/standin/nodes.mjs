// SPDX-License-Identifier: GPL-3.0-or-later
// Small helpers around WhatsApp's binary nodes and addresses.
import {
  encodeBigEndian,
  getBinaryNodeChild,
  getBinaryNodeChildBuffer,
  getBinaryNodeChildUInt,
  jidDecode,
  KEY_BUNDLE_TYPE,
} from "baileys";

/** @typedef {import("baileys").BinaryNode} BinaryNode */

export const SERVER = "s.whatsapp.net";

/** @param {string} tag @param {Record<string, string>} [attrs] @param {any} [content] @returns {BinaryNode} */
export const node = (tag, attrs = {}, content = undefined) => ({ tag, attrs, content });

/** @param {string} jid */
export const userOf = (jid) => {
  const decoded = jidDecode(jid);
  if (!decoded) throw new Error(`not a jid: ${jid}`);
  return { user: decoded.user, device: decoded.device ?? 0, server: decoded.server };
};

/** @param {string} jid */
export const bareJid = (jid) => {
  const { user, server } = userOf(jid);
  return `${user}@${server}`;
};

export const now = () => String(Math.floor(Date.now() / 1000));

/** @param {BinaryNode} parent @param {string} tag */
export const child = (parent, tag) => getBinaryNodeChild(parent, tag);

/** @param {BinaryNode} parent @returns {BinaryNode[]} */
export const children = (parent) => (Array.isArray(parent?.content) ? parent.content : []);

/** Reads an uploaded `key` or `skey` node. @param {BinaryNode} key */
export const readKeyNode = (key) => ({
  keyId: Number(getBinaryNodeChildUInt(key, "id", 3)),
  public: Buffer.from(/** @type {Uint8Array} */ (getBinaryNodeChildBuffer(key, "value"))),
  signature: getBinaryNodeChildBuffer(key, "signature"),
});

/** The bundle of a party as the answer to "give me the keys of this user".
 * @param {string} jid
 * @param {{registrationId: number, identity: Uint8Array, signed: {keyId: number, public: Uint8Array,
 * signature: Uint8Array}, preKey?: {keyId: number, public: Uint8Array}}} keys */
export const bundleNode = (jid, keys) => {
  const content = [
    node("registration", {}, encodeBigEndian(keys.registrationId)),
    node("type", {}, Buffer.from(KEY_BUNDLE_TYPE)),
    node("identity", {}, Buffer.from(keys.identity)),
    node("skey", {}, [
      node("id", {}, encodeBigEndian(keys.signed.keyId, 3)),
      node("value", {}, Buffer.from(keys.signed.public)),
      node("signature", {}, Buffer.from(keys.signed.signature)),
    ]),
  ];
  if (keys.preKey) {
    content.push(
      node("key", {}, [
        node("id", {}, encodeBigEndian(keys.preKey.keyId, 3)),
        node("value", {}, Buffer.from(keys.preKey.public)),
      ]),
    );
  }
  return node("user", { jid }, content);
};
