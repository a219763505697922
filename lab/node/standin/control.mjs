// SPDX-License-Identifier: GPL-3.0-or-later
// The control API: what a tester does with a phone, and what can be asked about the state of things. JSON over HTTP.
import { createServer } from "node:http";

import { muteOnPhone } from "./appstate.mjs";
import { scan } from "./pairing.mjs";
import { outcomeOf, sendToDevice } from "./routing.mjs";

const MAX_BODY_BYTES = 1024 * 1024;
const DEFAULT_CONTACT = "contact-1";

/** A request that cannot be answered as it stands. */
class BadRequest extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @typedef {import("./hub.mjs").Hub} Hub */

/** @type {Record<string, (hub: Hub, input: any) => any>} */
const routes = {
  "GET /status": (hub) => ({
    devices: [...hub.world.devices.values()].map((device) => device.status()),
    contacts: [...hub.world.contacts.values()].map(({ id, pn, lid, inbox }) => ({ id, pn, lid, inbox: inbox.length })),
  }),
  "POST /scan": (hub, { qr, phone }) => {
    try {
      const { jid, lid } = scan(hub, String(qr), phone);
      return { jid, lid };
    } catch (error) {
      throw new BadRequest(400, error.message);
    }
  },
  "POST /logout": (hub, { jid }) => {
    hub.logout(deviceOf(hub, jid));
    return { jid };
  },
  "POST /message": sendMessage,
  "GET /message": (hub, { id }) => {
    const delivery = hub.deliveries.get(id);
    if (!delivery) throw new BadRequest(404, `no message ${id}`);
    return { id, outcome: delivery.outcome ?? "pending" };
  },
  "GET /inbox": (hub, { contact = DEFAULT_CONTACT }) => {
    const party = hub.world.contacts.get(contact) ?? [...hub.world.phones.values()].find(({ id }) => id === contact);
    return { messages: party?.inbox ?? [] };
  },
  "POST /mute": (hub, { to, ...change }) => muteOnPhone(deviceOf(hub, to), change),
  "POST /contact": (hub, { id = DEFAULT_CONTACT }) => {
    const { pn, lid } = hub.world.contact(id);
    return { id, jid: pn, lid };
  },
};

/** @param {Hub} hub @param {string} jid */
function deviceOf(hub, jid) {
  const device = jid && hub.world.device(jid);
  if (!device) throw new BadRequest(404, `no device ${jid}`);
  return device;
}

/** @param {Hub} hub @param {any} input */
async function sendMessage(
  hub,
  { to, from = DEFAULT_CONTACT, text = "", timeout_ms = 5000, group, new_session = false },
) {
  const device = deviceOf(hub, to);
  const contact = hub.world.contact(from);
  const options = { group, newSession: Boolean(new_session) };
  const delivery = await hub.inOrder(() => sendToDevice(hub, contact, device, String(text), options));
  const answer = { id: delivery.id, from: contact.pn };
  if (!device.connection) return { ...answer, outcome: "offline" };
  return { ...answer, outcome: await outcomeOf(delivery, Number(timeout_ms)) };
}

/** @param {import("node:http").IncomingMessage} request */
async function readInput(request) {
  const url = new URL(request.url ?? "/", "http://localhost");
  const input = Object.fromEntries(url.searchParams);
  /** @type {Buffer[]} */
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new BadRequest(413, "the body is too large");
    chunks.push(chunk);
  }
  if (!size) return { path: url.pathname, input };
  try {
    return { path: url.pathname, input: { ...input, ...JSON.parse(Buffer.concat(chunks).toString()) } };
  } catch (error) {
    throw new BadRequest(400, `the body is not JSON: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {Hub} hub @param {import("node:http").IncomingMessage} request */
async function answer(hub, request) {
  try {
    const { path, input } = await readInput(request);
    const route = routes[`${request.method} ${path}`];
    if (!route) throw new BadRequest(404, `no such call: ${request.method} ${path}`);
    return { status: 200, body: await route(hub, input) };
  } catch (error) {
    const { status = 500, message } = /** @type {BadRequest} */ (error);
    if (status === 500) hub.log(`control: ${/** @type {Error} */ (error).stack}`);
    return { status, body: { error: message } };
  }
}

/** @param {Hub} hub */
export function makeControlServer(hub) {
  return createServer(async (request, response) => {
    const { status, body } = await answer(hub, request);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  });
}
