// SPDX-License-Identifier: GPL-3.0-or-later
// The responder of WhatsApp's Noise handshake (Noise_XX_25519_AESGCM_SHA256) and the framed transport after it.
import { createCipheriv, createDecipheriv, createHash, hkdfSync } from "node:crypto";

import { Curve, NOISE_MODE, NOISE_WA_HEADER, proto, WA_CERT_DETAILS } from "baileys";

const TAG_BYTES = 16;
const NO_BYTES = Buffer.alloc(0);

const sha256 = (/** @type {Uint8Array} */ data) => createHash("sha256").update(data).digest();

/** @param {number} counter */
const nonce = (counter) => {
  const iv = Buffer.alloc(12);
  iv.writeUInt32BE(counter, 8);
  return iv;
};

/** @param {Uint8Array} key @param {number} counter @param {Uint8Array} plain @param {Uint8Array} aad */
const seal = (key, counter, plain, aad) => {
  const cipher = createCipheriv("aes-256-gcm", key, nonce(counter));
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
};

/** @param {Uint8Array} key @param {number} counter @param {Buffer} sealed @param {Uint8Array} aad */
const open = (key, counter, sealed, aad) => {
  const decipher = createDecipheriv("aes-256-gcm", key, nonce(counter));
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
};

/** The server's static key with a leaf <- intermediate chain. The issuer's serial is WhatsApp's (0), its signature
 * is our own: rc14 and 6.7.24 check the serial and the leaf, not the root. */
export function makeServerIdentity() {
  const issuer = Curve.generateKeyPair();
  const statik = Curve.generateKeyPair();
  const details = (/** @type {object} */ fields) => proto.CertChain.NoiseCertificate.Details.encode(fields).finish();
  const intermediate = details({ serial: 1, issuerSerial: WA_CERT_DETAILS.SERIAL, key: issuer.public });
  const leaf = details({ serial: 2, issuerSerial: 1, key: statik.public });
  const signed = (/** @type {Uint8Array} */ body) => ({ details: body, signature: Curve.sign(issuer.private, body) });
  const chain = proto.CertChain.encode({ leaf: signed(leaf), intermediate: signed(intermediate) }).finish();
  return { statik, chain };
}

/** One connection's Noise state. `receive` takes raw bytes and gives whole decrypted payloads. */
export class NoiseResponder {
  /** @param {ReturnType<typeof makeServerIdentity>} identity */
  constructor(identity) {
    this.identity = identity;
    this.ephemeral = Curve.generateKeyPair();
    /** @type {Buffer} */
    this.buffer = NO_BYTES;
    this.headerSeen = false;
    /** @type {"hello" | "finish" | "transport"} */
    this.phase = "hello";
    /** @type {Buffer} */
    this.hash = Buffer.from(NOISE_MODE);
    this.salt = this.hash;
    this.key = this.hash;
    this.counter = 0;
    this.sent = 0;
    this.received = 0;
    this.sendKey = NO_BYTES;
    this.receiveKey = NO_BYTES;
    this.clientEphemeral = NO_BYTES;
    /** @type {Buffer | null} */
    this.clientStatic = null;
  }

  /** Adds bytes of the wire; returns the whole frames now at hand. @param {Buffer} data */
  frames(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    if (!this.headerSeen && !this.takeHeader()) return [];
    const frames = [];
    while (this.buffer.length >= 3) {
      const size = this.buffer.readUIntBE(0, 3);
      if (this.buffer.length < size + 3) break;
      frames.push(this.buffer.subarray(3, size + 3));
      this.buffer = this.buffer.subarray(size + 3);
    }
    return frames;
  }

  /** The intro is `WA` and a version; before it may stand an edge-routing block (`ED`, 5 bytes of head, its length). */
  takeHeader() {
    let at = 0;
    if (this.buffer.length >= 7 && this.buffer.toString("latin1", 0, 2) === "ED") at = 7 + this.buffer.readUIntBE(4, 3);
    const header = Buffer.from(NOISE_WA_HEADER);
    if (this.buffer.length < at + header.length) return false;
    if (!this.buffer.subarray(at, at + 2).equals(header.subarray(0, 2))) throw new Error("not a WhatsApp intro header");
    this.mixHash(this.buffer.subarray(at, at + header.length));
    this.buffer = this.buffer.subarray(at + header.length);
    this.headerSeen = true;
    return true;
  }

  /** @param {Uint8Array} data */
  mixHash(data) {
    this.hash = sha256(Buffer.concat([this.hash, data]));
  }

  /** @param {Uint8Array} secret */
  split(secret) {
    const out = Buffer.from(hkdfSync("sha256", secret, this.salt, NO_BYTES, 64));
    return [out.subarray(0, 32), out.subarray(32)];
  }

  /** @param {Uint8Array} secret */
  mixKey(secret) {
    [this.salt, this.key] = this.split(secret);
    this.counter = 0;
  }

  /** @param {Uint8Array} plain */
  sealHandshake(plain) {
    const sealed = seal(this.key, this.counter++, plain, this.hash);
    this.mixHash(sealed);
    return sealed;
  }

  /** @param {Uint8Array} sealed */
  openHandshake(sealed) {
    const bytes = Buffer.from(sealed);
    const plain = open(this.key, this.counter++, bytes, this.hash);
    this.mixHash(bytes);
    return plain;
  }

  /** Answers the client's hello with our keys and certificate. @param {Buffer} frame */
  serverHello(frame) {
    const hello = proto.HandshakeMessage.decode(frame).clientHello;
    this.clientEphemeral = Buffer.from(/** @type {Uint8Array} */ (hello?.ephemeral));
    this.mixHash(this.clientEphemeral);
    this.mixHash(this.ephemeral.public);
    this.mixKey(Curve.sharedKey(this.ephemeral.private, this.clientEphemeral));
    const statik = this.sealHandshake(this.identity.statik.public);
    this.mixKey(Curve.sharedKey(this.identity.statik.private, this.clientEphemeral));
    const payload = this.sealHandshake(this.identity.chain);
    this.phase = "finish";
    const serverHello = { ephemeral: this.ephemeral.public, static: statik, payload };
    return this.frame(Buffer.from(proto.HandshakeMessage.encode({ serverHello }).finish()));
  }

  /** Reads the client's finish; returns its login or registration payload. @param {Buffer} frame */
  clientFinish(frame) {
    const finish = proto.HandshakeMessage.decode(frame).clientFinish;
    this.clientStatic = this.openHandshake(/** @type {Uint8Array} */ (finish?.static));
    this.mixKey(Curve.sharedKey(this.ephemeral.private, this.clientStatic));
    const payload = this.openHandshake(/** @type {Uint8Array} */ (finish?.payload));
    [this.receiveKey, this.sendKey] = this.split(NO_BYTES);
    this.phase = "transport";
    return proto.ClientPayload.decode(payload);
  }

  /** @param {Buffer} body */
  frame(body) {
    const head = Buffer.alloc(3);
    head.writeUIntBE(body.length, 0, 3);
    return Buffer.concat([head, body]);
  }

  /** @param {Uint8Array} plain */
  encrypt(plain) {
    return this.frame(seal(this.sendKey, this.sent++, plain, NO_BYTES));
  }

  /** @param {Buffer} frame */
  decrypt(frame) {
    return open(this.receiveKey, this.received++, frame, NO_BYTES);
  }
}
