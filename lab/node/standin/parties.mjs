// SPDX-License-Identifier: GPL-3.0-or-later
// A party with Signal keys of its own: a contact of a device, or the phone that a device belongs to.
// The cryptography is the same libsignal that Baileys uses, with a store in memory.
import { randomBytes, randomInt } from "node:crypto";

import {
  BufferJSON,
  Curve,
  generateSignalPubKey,
  proto,
  signedKeyPair,
  unpadRandomMax16,
  writeRandomPadMax16,
} from "baileys";
import {
  GroupCipher,
  GroupSessionBuilder,
  SenderKeyDistributionMessage,
  SenderKeyName,
  SenderKeyRecord,
} from "baileys/lib/Signal/Group/index.js";
import * as libsignal from "libsignal";

import { userOf } from "./nodes.mjs";

/** @typedef {ReturnType<import("./world.mjs").Device["takeBundle"]>} Bundle */

/** @param {string} jid */
export const addressOf = (jid) => {
  const { user, device } = userOf(jid);
  return new libsignal.ProtocolAddress(user, device);
};

export class SignalParty {
  /** @param {string} id @param {string} pn @param {string | null} lid */
  constructor(id, pn, lid) {
    this.id = id;
    this.pn = pn;
    this.lid = lid;
    this.identity = Curve.generateKeyPair();
    this.registrationId = randomInt(1, 16380);
    this.signedPreKey = signedKeyPair(this.identity, 1);
    /** @type {Map<number, {public: Uint8Array, private: Uint8Array}>} */
    this.preKeys = new Map();
    this.nextPreKeyId = 1;
    /** @type {Map<string, any>} */
    this.sessions = new Map();
    /** @type {Map<string, any>} */
    this.senderKeys = new Map();
    /** Devices that hold this party's sender key of a group. @type {Map<string, Set<string>>} */
    this.senderKeyKnownBy = new Map();
    /** @type {{id: string, from: string, group?: string, text?: string, error?: string}[]} */
    this.inbox = [];
    /** libsignal's and Baileys' store interfaces differ in their declared types, not in use. @type {any} */
    this.storage = this.makeStorage();
  }

  makeStorage() {
    return {
      // Kept serialized: libsignal changes a loaded record in place, also when the decryption then fails.
      loadSession: async (/** @type {string} */ id) => this.loadSession(id),
      storeSession: async (/** @type {string} */ id, /** @type {any} */ record) =>
        void this.sessions.set(id, record.serialize()),
      isTrustedIdentity: async () => true,
      loadPreKey: async (/** @type {number} */ id) => asSignalPair(this.preKeys.get(Number(id))),
      removePreKey: async (/** @type {number} */ id) => void this.preKeys.delete(Number(id)),
      loadSignedPreKey: async () => asSignalPair(this.signedPreKey.keyPair),
      getOurRegistrationId: async () => this.registrationId,
      getOurIdentity: async () => ({
        privKey: Buffer.from(this.identity.private),
        pubKey: Buffer.from(generateSignalPubKey(this.identity.public)),
      }),
      loadSenderKey: async (/** @type {any} */ name) => {
        const stored = this.senderKeys.get(name.toString());
        return stored ? SenderKeyRecord.deserialize(stored) : new SenderKeyRecord();
      },
      storeSenderKey: async (/** @type {any} */ name, /** @type {any} */ record) =>
        void this.senderKeys.set(name.toString(), Buffer.from(JSON.stringify(record.serialize(), BufferJSON.replacer))),
    };
  }

  /** @param {string} address */
  loadSession(address) {
    const stored = this.sessions.get(address);
    return stored && libsignal.SessionRecord.deserialize(stored);
  }

  /** Makes a pre-key for somebody who wants to write to this party. */
  issuePreKey() {
    const id = this.nextPreKeyId++;
    const pair = Curve.generateKeyPair();
    this.preKeys.set(id, pair);
    return { id, pair };
  }

  /** @param {string} deviceJid */
  hasSession(deviceJid) {
    return Boolean(this.loadSession(addressOf(deviceJid).toString())?.haveOpenSession());
  }

  /** @param {string} deviceJid @param {Bundle} bundle */
  async startSession(deviceJid, bundle) {
    await new libsignal.SessionBuilder(this.storage, addressOf(deviceJid)).initOutgoing(/** @type {any} */ (bundle));
  }

  /** @param {string} deviceJid @param {object} message @returns {Promise<{type: string, content: Buffer}>} */
  async encryptFor(deviceJid, message) {
    const cipher = new libsignal.SessionCipher(this.storage, addressOf(deviceJid));
    const { type, body } = await cipher.encrypt(pad(message));
    return { type: type === 3 ? "pkmsg" : "msg", content: Buffer.from(body, "binary") };
  }

  /** @param {string} deviceJid @param {string} type @param {Uint8Array} content */
  async decryptFrom(deviceJid, type, content) {
    const cipher = new libsignal.SessionCipher(this.storage, addressOf(deviceJid));
    const bytes = Buffer.from(content);
    const plain =
      type === "pkmsg" ? await cipher.decryptPreKeyWhisperMessage(bytes) : await cipher.decryptWhisperMessage(bytes);
    return proto.Message.decode(unpadRandomMax16(plain));
  }

  /** @param {string} group @param {string} jid */
  senderKeyName(group, jid) {
    return new SenderKeyName(group, addressOf(jid));
  }

  /** @param {string} group @param {object} message */
  async encryptForGroup(group, message) {
    const name = this.senderKeyName(group, this.pn);
    const distribution = await new GroupSessionBuilder(this.storage).create(name);
    const content = await new GroupCipher(this.storage, name).encrypt(pad(message));
    return { content: Buffer.from(content), distribution: Buffer.from(distribution.serialize()) };
  }

  /** @param {string} group @param {string} senderJid @param {Uint8Array} distribution */
  async learnSenderKey(group, senderJid, distribution) {
    const message = new SenderKeyDistributionMessage(null, null, null, null, distribution);
    await new GroupSessionBuilder(this.storage).process(this.senderKeyName(group, senderJid), message);
  }

  /** @param {string} group @param {string} senderJid @param {Uint8Array} content */
  async decryptFromGroup(group, senderJid, content) {
    const cipher = new GroupCipher(this.storage, this.senderKeyName(group, senderJid));
    return proto.Message.decode(unpadRandomMax16(await cipher.decrypt(content)));
  }
}

/** @param {{public: Uint8Array, private: Uint8Array} | undefined} pair */
const asSignalPair = (pair) =>
  pair && { privKey: Buffer.from(pair.private), pubKey: Buffer.from(generateSignalPubKey(pair.public)) };

/** @param {object} message */
const pad = (message) => Buffer.from(writeRandomPadMax16(proto.Message.encode(message).finish()));

/** The text that a decrypted message carries. @param {any} message @returns {string | null} */
export const textOf = (message) => {
  const body = message?.deviceSentMessage?.message ?? message;
  return body?.conversation || body?.extendedTextMessage?.text || null;
};

export const newMessageId = () => randomBytes(10).toString("hex").toUpperCase();
