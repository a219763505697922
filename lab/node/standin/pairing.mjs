// SPDX-License-Identifier: GPL-3.0-or-later
// Registration of a device: the server offers references, a phone scans the QR code and signs the device's identity.
import { createHmac, randomBytes } from "node:crypto";

import { Curve, proto, WA_ADV_ACCOUNT_SIG_PREFIX } from "baileys";

import { node, SERVER, userOf } from "./nodes.mjs";
import { Device } from "./world.mjs";

const REFS = 6;

/** @param {Uint8Array | null | undefined} bytes */
const bigEndian = (bytes) => [...(bytes ?? [])].reduce((value, byte) => value * 256 + byte, 0);

/** Offers pairing to a connection that came with registration data.
 * @param {import("./connection.mjs").Connection} connection @param {any} payload */
export function offerPairing(connection, payload) {
  const data = payload.devicePairingData;
  connection.registration = {
    noiseKey: connection.noise.clientStatic,
    identity: Buffer.from(data.eIdent),
    registrationId: bigEndian(data.eRegid),
    signedPreKey: {
      keyId: bigEndian(data.eSkeyId),
      public: Buffer.from(data.eSkeyVal),
      signature: Buffer.from(data.eSkeySig),
    },
  };
  connection.refs = Array.from({ length: REFS }, () => randomBytes(16).toString("base64url"));
  const refs = connection.refs.map((ref) => node("ref", {}, Buffer.from(ref)));
  connection.send(
    node("iq", { from: SERVER, type: "set", id: "pair-1", xmlns: "md" }, [node("pair-device", {}, refs)]),
  );
}

/** QR codes of Baileys 7 have an address in front. @param {string} qr */
function parseQr(qr) {
  const [ref, noiseKey, identity, advSecret] = qr.slice(qr.indexOf("#") + 1).split(",");
  if (!ref || !noiseKey || !identity || !advSecret) throw new Error("not a pairing QR code");
  return { ref, identity: Buffer.from(identity, "base64"), advSecret: Buffer.from(advSecret, "base64") };
}

/** @param {import("./world.mjs").World} world @param {import("./parties.mjs").SignalParty} phone */
function freeDeviceNumber(world, phone) {
  const used = new Set(world.devicesOf(phone).map((device) => userOf(device.jid).device));
  let number = 1;
  while (used.has(number)) number++;
  return number;
}

/** What the phone answers: the device's identity, signed by the account and sealed with the QR code's secret.
 * @param {import("./parties.mjs").SignalParty} phone
 * @param {Uint8Array} identity
 * @param {Uint8Array} advSecret
 * @param {number} keyIndex
 */
function signIdentity(phone, identity, advSecret, keyIndex) {
  const details = proto.ADVDeviceIdentity.encode({
    rawId: randomBytes(4).readUInt32BE(),
    timestamp: Math.floor(Date.now() / 1000),
    keyIndex,
  }).finish();
  const signed = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, identity]);
  const body = proto.ADVSignedDeviceIdentity.encode({
    details,
    accountSignatureKey: phone.identity.public,
    accountSignature: Curve.sign(phone.identity.private, signed),
  }).finish();
  const hmac = createHmac("sha256", advSecret).update(body).digest();
  return Buffer.from(proto.ADVSignedDeviceIdentityHMAC.encode({ details: body, hmac }).finish());
}

/** The phone scans the code: the waiting connection gets its jid, and the device exists from now on.
 * @param {import("./hub.mjs").Hub} hub
 * @param {string} qr
 * @param {string} [number] the phone's number; a new one by default
 */
export function scan(hub, qr, number) {
  const { ref, identity, advSecret } = parseQr(qr);
  const connection = [...hub.connections].find((candidate) => candidate.refs.includes(ref));
  if (!connection?.registration) throw new Error("no connection waits with this QR code");
  if (!identity.equals(connection.registration.identity)) throw new Error("the QR code shows another identity key");
  const phone = hub.world.phone(number);
  const index = freeDeviceNumber(hub.world, phone);
  const { user } = userOf(phone.pn);
  const lidUser = userOf(/** @type {string} */ (phone.lid)).user;
  const device = new Device(`${user}:${index}@${SERVER}`, `${lidUser}:${index}@lid`, phone, connection.registration);
  hub.world.addDevice(device);
  connection.refs = [];
  connection.pairing = device;
  connection.send(
    node("iq", { from: SERVER, type: "set", id: "pair-2", t: String(Math.floor(Date.now() / 1000)) }, [
      node("pair-success", {}, [
        node("device-identity", {}, signIdentity(phone, identity, advSecret, index)),
        node("device", { jid: device.jid, lid: device.lid }),
        node("platform", { name: "android" }),
      ]),
    ]),
  );
  return device;
}

/** The device signed in answer; as the real server does, it is now told to connect again.
 * @param {import("./connection.mjs").Connection} connection */
export function finishPairing(connection) {
  connection.pairing = null;
  connection.send(node("stream:error", { code: "515" }));
  connection.close();
}
