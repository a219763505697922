// SPDX-License-Identifier: GPL-3.0-or-later
// Who exists: paired devices, the phones they belong to, contacts and groups. All of it lives in memory.
import { generateSignalPubKey } from "baileys";

import { addressOf, SignalParty } from "./parties.mjs";
import { SERVER, userOf } from "./nodes.mjs";

/** @typedef {{id: string, from: SignalParty, stanza: import("./nodes.mjs").BinaryNode, outcome: string | null,
 *   settle: ((outcome: string) => void)[]}} Delivery */

/** A companion device, as the server knows it. */
export class Device {
  /** @param {string} jid @param {string} lid @param {SignalParty} phone @param {any} keys */
  constructor(jid, lid, phone, keys) {
    this.jid = jid;
    this.lid = lid;
    this.phone = phone;
    this.noiseKey = keys.noiseKey;
    this.identity = keys.identity;
    this.registrationId = keys.registrationId;
    this.signedPreKey = keys.signedPreKey;
    /** One-time pre-keys that were uploaded and not handed out. @type {Map<number, Buffer>} */
    this.preKeys = new Map();
    /** @type {import("./connection.mjs").Connection | null} */
    this.connection = null;
    this.logins = 0;
    this.conflicts = 0;
    this.deliveredCount = 0;
    this.retryCount = 0;
    /** Messages that the device has not answered yet, in order. @type {Map<string, Delivery>} */
    this.pending = new Map();
    /** What the phone has changed, by collection. @type {Map<string, {version: number, content: Uint8Array}[]>} */
    this.patches = new Map();
    /** How often the device has asked for a collection. @type {Record<string, number>} */
    this.asked = {};
  }

  /** Hands out one bundle, with a one-time pre-key as long as there are any. */
  takeBundle() {
    const [first] = this.preKeys.keys();
    const preKey = first === undefined ? undefined : { keyId: first, publicKey: this.preKeys.get(first) };
    if (first !== undefined) this.preKeys.delete(first);
    return {
      registrationId: this.registrationId,
      identityKey: Buffer.from(generateSignalPubKey(this.identity)),
      signedPreKey: {
        keyId: this.signedPreKey.keyId,
        publicKey: Buffer.from(generateSignalPubKey(this.signedPreKey.public)),
        signature: Buffer.from(this.signedPreKey.signature),
      },
      preKey: preKey && {
        keyId: preKey.keyId,
        publicKey: Buffer.from(generateSignalPubKey(/** @type {Buffer} */ (preKey.publicKey))),
      },
    };
  }

  status() {
    return {
      jid: this.jid,
      lid: this.lid,
      connected: this.connection !== null,
      logins: this.logins,
      conflicts: this.conflicts,
      prekeys_left: this.preKeys.size,
      pending: this.pending.size,
      delivered: this.deliveredCount,
      retries: this.retryCount,
      app_state_asked: this.asked,
    };
  }
}

export class World {
  constructor() {
    /** By "user.device". @type {Map<string, Device>} */
    this.devices = new Map();
    /** By the user of the number. @type {Map<string, SignalParty>} */
    this.phones = new Map();
    /** @type {Map<string, SignalParty>} */
    this.contacts = new Map();
    /** Contacts and phones, by the user of their number and of their LID. @type {Map<string, SignalParty>} */
    this.byUser = new Map();
    /** Members of each group: bare jids. @type {Map<string, Set<string>>} */
    this.groups = new Map();
    this.nextContact = 1;
    this.nextPhone = 1;
  }

  /** @param {SignalParty} party */
  index(party) {
    this.byUser.set(userOf(party.pn).user, party);
    if (party.lid) this.byUser.set(userOf(party.lid).user, party);
    return party;
  }

  /** The contact of that name, made on first use. A name that starts with `pn-` gives a contact without a LID, whose
   * session rows both Baileys 7 and Baileys 6 look up under the phone number. @param {string} id */
  contact(id) {
    const known = this.contacts.get(id);
    if (known) return known;
    const number = this.nextContact++;
    const pn = `4915${String(100000000 + number)}@${SERVER}`;
    const lid = id.startsWith("pn-") ? null : `${20000000000000 + number}@lid`;
    const contact = this.index(new SignalParty(id, pn, lid));
    this.contacts.set(id, contact);
    return contact;
  }

  /** A new phone, or the known one of that number. @param {string | undefined} wanted */
  phone(wanted) {
    const user = wanted ?? `96279${String(1000000 + this.nextPhone)}`;
    const known = this.phones.get(user);
    if (known) return known;
    const lid = `${10000000000000 + this.nextPhone++}@lid`;
    const phone = this.index(new SignalParty(`phone-${user}`, `${user}@${SERVER}`, lid));
    this.phones.set(user, phone);
    return phone;
  }

  /** @param {string} jid */
  device(jid) {
    const { user, device } = userOf(jid);
    const byLid = this.byUser.get(user);
    return this.devices.get(`${byLid ? userOf(byLid.pn).user : user}.${device}`);
  }

  /** @param {Device} device */
  addDevice(device) {
    this.devices.set(addressOf(device.jid).toString(), device);
  }

  /** @param {Device} device */
  removeDevice(device) {
    this.devices.delete(addressOf(device.jid).toString());
  }

  /** @param {SignalParty} phone */
  devicesOf(phone) {
    return [...this.devices.values()].filter((device) => device.phone === phone);
  }

  /** A contact or a phone by jid. @param {string} jid */
  party(jid) {
    return this.byUser.get(userOf(jid).user);
  }

  /** @param {string} group @param {string[]} jids */
  joinGroup(group, jids) {
    const members = this.groups.get(group) ?? new Set();
    for (const jid of jids) members.add(jid);
    this.groups.set(group, members);
    return members;
  }
}
