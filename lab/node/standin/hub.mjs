// SPDX-License-Identifier: GPL-3.0-or-later
// The server's shared state: the world, the open connections, the messages under way.
import { Connection } from "./connection.mjs";
import { node } from "./nodes.mjs";
import { makeServerIdentity } from "./noise.mjs";
import { World } from "./world.mjs";

export class Hub {
  /** @param {(line: string) => void} log */
  constructor(log) {
    this.log = log;
    this.identity = makeServerIdentity();
    this.world = new World();
    /** @type {Set<Connection>} */
    this.connections = new Set();
    /** @type {Map<string, import("./world.mjs").Delivery>} */
    this.deliveries = new Map();
    this.tail = Promise.resolve();
  }

  /** Runs one at a time: two messages that are encrypted at once would leave in another order than their counters.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  inOrder(work) {
    const result = this.tail.then(work);
    this.tail = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  /** @param {import("ws").WebSocket} socket */
  accept(socket) {
    this.connections.add(new Connection(this, socket));
  }

  /**
   * The same device came again: the older connection is told so and closed.
   * @param {import("./world.mjs").Device} device
   */
  replaceConnection(device) {
    const old = device.connection;
    device.conflicts++;
    device.connection = null;
    this.log(`${device.jid} connection replaced`);
    old?.send(node("stream:error", {}, [node("conflict", { type: "replaced" })]));
    old?.close();
  }

  /** The phone removed the device. @param {import("./world.mjs").Device} device */
  logout(device) {
    this.world.removeDevice(device);
    const { connection } = device;
    device.connection = null;
    this.log(`${device.jid} logged out`);
    connection?.send(node("stream:error", { code: "401" }, [node("conflict", { type: "device_removed" })]));
    connection?.close();
  }
}
