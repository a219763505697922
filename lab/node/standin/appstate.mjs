// SPDX-License-Identifier: GPL-3.0-or-later
// The app state of an account: what the phone changes (a chat muted, say) comes to the device as an encrypted patch. The
// phone and its devices share the keys and know each collection's version, so whoever lets the phone change something
// names both. Baileys itself makes the patch; the server keeps it until the device has asked for it.
import { encodeSyncdPatch, proto } from "baileys";

import { child, children, node, now, SERVER } from "./nodes.mjs";
import { newMessageId } from "./parties.mjs";

/** @typedef {import("./nodes.mjs").BinaryNode} BinaryNode */
/** @typedef {import("./world.mjs").Device} Device */
/** What both sides know of a collection: the hash and the MACs are base64.
 * @typedef {{version: number, hash: string, macs: Record<string, string>}} Known */

const APP_STATE_VERSION = 2;

/** The phone mutes a chat, and the device is told that there is something new. Returns the collection's version and hash
 * behind that, which are the device's, too, once it has read the patch.
 * @param {Device} device
 * @param {{collection: string, chat: string, key_id: string, key: string, known: Known}} change
 * @returns {Promise<{version: number, hash: string}>} */
export async function muteOnPhone(device, { collection, chat, key_id: keyId, key, known }) {
  const patchCreate = /** @type {any} */ ({
    type: collection,
    index: ["mute", chat],
    syncAction: { timestamp: Date.now(), muteAction: { muted: true, muteEndTimestamp: Date.now() + 3600_000 } },
    apiVersion: APP_STATE_VERSION,
    operation: proto.SyncdMutation.SyncdOperation.SET,
  });
  const keyData = proto.Message.AppStateSyncKeyData.fromObject({ keyData: Buffer.from(key, "base64") });
  const { patch, state } = await encodeSyncdPatch(patchCreate, keyId, stateOf(known), async () => keyData);
  const message = proto.SyncdPatch.fromObject({ ...patch, version: { version: state.version } });
  const waiting = device.patches.get(collection) ?? [];
  waiting.push({ version: state.version, content: proto.SyncdPatch.encode(message).finish() });
  device.patches.set(collection, waiting);
  const attrs = { id: newMessageId(), type: "server_sync", from: SERVER, t: now() };
  const told = node("collection", { name: collection, version: String(state.version) });
  device.connection?.send(node("notification", attrs, [told]));
  return { version: state.version, hash: Buffer.from(state.hash).toString("base64") };
}

/** @param {Known} known */
const stateOf = ({ version, hash, macs }) => ({
  version,
  hash: Buffer.from(hash, "base64"),
  indexValueMap: Object.fromEntries(
    Object.entries(macs).map(([index, mac]) => [index, { valueMac: Buffer.from(mac, "base64") }]),
  ),
});

/** The patches that are newer than the version that the client names; there are no snapshots.
 * @param {Device} device @param {BinaryNode} iq @returns {{content: BinaryNode[]}} */
export function answerAppState(device, iq) {
  const sync = /** @type {BinaryNode} */ (child(iq, "sync"));
  const collections = children(sync).map(({ attrs: { name, version = "0" } }) => {
    device.asked[name] = (device.asked[name] ?? 0) + 1;
    const patches = (device.patches.get(name) ?? []).filter((patch) => patch.version > Number(version));
    const content = patches.map((patch) => node("patch", {}, patch.content));
    return node("collection", { name, version, has_more_patches: "false" }, [node("patches", {}, content)]);
  });
  return { content: [node("sync", {}, collections)] };
}
