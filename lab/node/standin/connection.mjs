// SPDX-License-Identifier: GPL-3.0-or-later
// One client's connection: handshake, login or registration, then binary nodes both ways.
import { decodeBinaryNode, encodeBinaryNode } from "baileys";

import { NoiseResponder } from "./noise.mjs";
import { child, node, now, SERVER } from "./nodes.mjs";
import { finishPairing, offerPairing } from "./pairing.mjs";
import { answerQuery } from "./queries.mjs";
import { acceptAck, acceptMessage, acceptReceipt, redeliver } from "./routing.mjs";

const ROUND_TRIP_MS = 20;

export class Connection {
  /** @param {import("./hub.mjs").Hub} hub @param {import("ws").WebSocket} socket */
  constructor(hub, socket) {
    this.hub = hub;
    this.socket = socket;
    this.noise = new NoiseResponder(hub.identity);
    /** @type {import("./world.mjs").Device | null} */
    this.device = null;
    /** @type {import("./world.mjs").Device | null} */
    this.pairing = null;
    /** @type {any} */
    this.registration = null;
    /** @type {string[]} */
    this.refs = [];
    this.work = Promise.resolve();
    socket.on("message", (data) => this.receive(/** @type {Buffer} */ (data)));
    socket.on("close", () => this.closed());
    socket.on("error", (error) => hub.log(`connection error: ${error.message}`));
  }

  /** Decryption is in order of arrival; so is the work on the nodes. @param {Buffer} data */
  receive(data) {
    try {
      for (const frame of this.noise.frames(data)) this.receiveFrame(frame);
    } catch (error) {
      this.fail(error);
    }
  }

  /** @param {Buffer} frame */
  receiveFrame(frame) {
    if (this.noise.phase === "hello") {
      this.socket.send(this.noise.serverHello(frame));
    } else if (this.noise.phase === "finish") {
      this.enter(this.noise.clientFinish(frame));
    } else {
      const plain = this.noise.decrypt(frame);
      this.work = this.work.then(() => this.handle(plain)).catch((error) => this.fail(error));
    }
  }

  /** @param {any} error */
  fail(error) {
    this.hub.log(`connection of ${this.device?.jid ?? "a new device"} failed: ${error?.stack ?? error}`);
    this.close();
  }

  /** @param {any} payload */
  enter(payload) {
    if (payload.devicePairingData) return offerPairing(this, payload);
    const user = String(payload.username);
    const device = this.hub.world.device(`${user}:${payload.device ?? 0}@${SERVER}`);
    const known = device && this.noise.clientStatic && device.noiseKey.equals(this.noise.clientStatic);
    if (!known) {
      this.hub.log(`login of ${user}:${payload.device} refused: logged out`);
      this.send(node("failure", { reason: "401", location: "lab" }));
      return this.close();
    }
    // No server is nearer than this, and Baileys 6 drops an answer that comes while it derives its transport keys.
    setTimeout(() => this.socket.readyState === this.socket.OPEN && this.login(device), ROUND_TRIP_MS);
  }

  /** @param {import("./world.mjs").Device} device */
  login(device) {
    if (device.connection) this.hub.replaceConnection(device);
    device.connection = this;
    device.logins++;
    this.device = device;
    this.hub.log(`${device.jid} logged in`);
    this.send(node("success", { t: now(), lid: device.lid, props: "27", companion_enc_static: "" }));
    redeliver(device);
    this.send(node("ib", { from: SERVER }, [node("offline", { count: String(device.pending.size) })]));
  }

  /** @param {Buffer} plain */
  async handle(plain) {
    const stanza = await decodeBinaryNode(plain);
    if (stanza.tag === "iq") return this.handleIq(stanza);
    if (!this.device) return undefined;
    if (stanza.tag === "message") return acceptMessage(this.hub, this.device, stanza);
    if (stanza.tag === "receipt") return acceptReceipt(this.hub, this.device, stanza);
    if (stanza.tag === "ack") return acceptAck(this.hub, this.device, stanza);
    return undefined; // presence, chatstate, ib: nothing to answer
  }

  /** @param {import("./nodes.mjs").BinaryNode} stanza */
  handleIq(stanza) {
    if (stanza.attrs.type === "result") {
      if (this.pairing && child(stanza, "pair-device-sign")) finishPairing(this);
      return;
    }
    const reply = answerQuery(this.hub, this, stanza);
    const attrs = { from: stanza.attrs.to ?? SERVER, id: stanza.attrs.id, type: reply.type ?? "result" };
    this.send(node("iq", attrs, reply.content));
    reply.after?.();
  }

  /** @param {import("./nodes.mjs").BinaryNode} stanza */
  send(stanza) {
    if (this.socket.readyState !== this.socket.OPEN) return false;
    this.socket.send(this.noise.encrypt(encodeBinaryNode(stanza)));
    return true;
  }

  close() {
    this.socket.close();
  }

  closed() {
    this.hub.connections.delete(this);
    if (this.device?.connection === this) this.device.connection = null;
  }
}
