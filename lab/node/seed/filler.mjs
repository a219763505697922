// SPDX-License-Identifier: GPL-3.0-or-later
// Fills a company up to the size and mix of a real one. Every value has the shape that Baileys itself writes.
import { randomBytes, randomInt } from "node:crypto";

import { BufferJSON, Curve, generateSignalPubKey, proto } from "baileys";
import { GroupSessionBuilder, SenderKeyName, SenderKeyRecord } from "baileys/lib/Signal/Group/index.js";
import * as libsignal from "libsignal";

/** The mix of a production company of 1,333 keys; pre-keys come from Baileys' own first upload. */
const MIX = {
  "app-state-sync-key": 6,
  "app-state-sync-version": 5,
  tctoken: 5,
  "sender-key-memory": 30,
  "sender-key": 30,
  "device-list": 40,
  "identity-key": 60,
  "lid-mapping": 120,
  session: 230,
};
const RENEWALS = 8;
const COLLECTIONS = ["critical_block", "critical_unblock_low", "regular_high", "regular_low", "regular"];

const lidUser = (/** @type {number} */ n) => String(30000000000000 + n);
const pnUser = (/** @type {number} */ n) => `4917${String(100000000 + n)}`;
const groupId = (/** @type {number} */ n) => `${120363400000000000n + BigInt(n)}@g.us`;
const keyId = (/** @type {number} */ n) =>
  Buffer.from([0, 0, n ? 0x12 : 0xff, 0xfc + (n % 4), ...randomBytes(2)]).toString("base64");

/** Makes the rows of one type. @type {Record<string, (n: number) => Promise<[string, any][]>>} */
const MAKERS = {
  "app-state-sync-key": async (n) => [[keyId(n), syncKey(n)]],
  "app-state-sync-version": async (n) => (n < COLLECTIONS.length ? [[COLLECTIONS[n], syncVersion()]] : []),
  tctoken: async (n) => [n ? [tokenJid(n), privacyToken()] : ["__index", tokenIndex()]],
  "sender-key-memory": async (n) => [[groupId(n), { [`${lidUser(n)}@lid`]: true, [`${lidUser(n)}:7@lid`]: true }]],
  "sender-key": async (n) => [[`${groupId(n)}::${lidUser(n)}_1::${n % 3}`, await senderKey(groupId(n), lidUser(n))]],
  "device-list": async (n) => [[pnUser(n), ["0", String(1 + (n % 30))]]],
  "identity-key": async (n) => [[`${lidUser(n)}_1.0`, generateSignalPubKey(Curve.generateKeyPair().public)]],
  "lid-mapping": async (n) => [
    [pnUser(n), lidUser(n)],
    [`${lidUser(n)}_reverse`, pnUser(n)],
  ],
  session: async (n) => [[n % 4 ? `${lidUser(n)}_1.0` : `${pnUser(n)}.${n % 3}`, await onceFor(sessions, n, session)]],
};

/** Making sessions is most of the work here. Nobody uses these, so the companies of one run have the same ones.
 * @type {Map<number, Promise<any>>} */
const sessions = new Map();

/** @template T @param {Map<number, Promise<T>>} made @param {number} n @param {(n: number) => Promise<T>} make */
function onceFor(made, n, make) {
  const value = made.get(n) ?? make(n);
  made.set(n, value);
  return value;
}

/** @param {number} n */
const syncKey = (n) =>
  proto.Message.AppStateSyncKeyData.fromObject({
    keyData: randomBytes(32),
    fingerprint: { rawId: randomInt(2 ** 31), currentIndex: n, deviceIndexes: [0, 1] },
    timestamp: Date.now() - n * 86400000,
  });

const syncVersion = () => ({
  version: randomInt(1, 400),
  hash: randomBytes(128),
  indexValueMap: Object.fromEntries(
    Array.from({ length: randomInt(1, 20) }, () => [randomBytes(32).toString("base64"), { valueMac: randomBytes(32) }]),
  ),
});

const tokenJid = (/** @type {number} */ n) => `${lidUser(n)}@lid`;
const nowSeconds = () => Math.floor(Date.now() / 1000);
const privacyToken = () => ({ token: randomBytes(14), timestamp: String(nowSeconds()), senderTimestamp: nowSeconds() });
// Baileys keeps the list of known tokens as a row of its own, as text in `token`.
const tokenIndex = () => ({
  token: Buffer.from(JSON.stringify(Array.from({ length: MIX.tctoken - 1 }, (_, n) => tokenJid(n + 1)))),
});

/** @param {string} group @param {string} user */
async function senderKey(group, user) {
  const record = new SenderKeyRecord();
  const store = { loadSenderKey: async () => record, storeSenderKey: async () => undefined };
  const address = new libsignal.ProtocolAddress(user, 0);
  await new GroupSessionBuilder(/** @type {any} */ (store)).create(
    new SenderKeyName(group, /** @type {any} */ (address)),
  );
  return Buffer.from(JSON.stringify(record.serialize(), BufferJSON.replacer));
}

/** A real session record with somebody who will never write again; every 40th has been renewed several times, as old
 * chats are, and is large. @param {number} n */
async function session(n) {
  const record = /** @type {any} */ (new libsignal.SessionRecord());
  const renewals = n % 40 === 0 ? RENEWALS : 0;
  for (let turn = 0; turn <= renewals; turn++) {
    const open = record.getOpenSession();
    if (open) record.closeSession(open);
    record.setSession(await sessionEntry());
  }
  return record.serialize();
}

/** Skips only the check of the other side's signature, which is most of the cost. */
async function sessionEntry() {
  const [ours, theirs, theirSigned, theirPreKey, base] = Array.from({ length: 5 }, () =>
    signalPair(Curve.generateKeyPair()),
  );
  const store = { getOurIdentity: async () => ours };
  const builder = new libsignal.SessionBuilder(/** @type {any} */ (store), new libsignal.ProtocolAddress("filler", 0));
  const make = /** @type {any} */ (builder).initSession.bind(builder);
  return make(true, base, undefined, theirs.pubKey, theirPreKey.pubKey, theirSigned.pubKey, randomInt(1, 16380));
}

/** @param {{public: Uint8Array, private: Uint8Array}} pair */
const signalPair = (pair) => ({
  privKey: Buffer.from(pair.private),
  pubKey: Buffer.from(generateSignalPubKey(pair.public)),
});

/** Adds rows until each type has its share and the company has `wanted` keys; the rest are sessions.
 * @param {import("./store.mjs").MemoryState} state
 * @param {number} wanted
 * @returns {Promise<Set<string>>} the added rows, as `type id`
 */
export async function fill(state, wanted) {
  const added = new Set();
  for (const [type, share] of Object.entries(MIX)) {
    const target = type === "session" ? Number.MAX_SAFE_INTEGER : share;
    for (let n = 0; state.count(type) < target && state.total() < wanted; n++) {
      const rows = await MAKERS[type](n);
      if (!rows.length) break;
      for (const [id, value] of rows.slice(0, wanted - state.total())) {
        state.write({ [type]: { [id]: value } });
        added.add(`${type} ${id}`);
      }
    }
  }
  return added;
}

/** The account's newest app state key; creds name it, and it must be among the keys.
 * @param {import("./store.mjs").MemoryState} state */
export function chooseAppStateKey(state) {
  const [first] = state.rows.get("app-state-sync-key")?.keys() ?? [];
  if (first) state.creds.myAppStateKeyId = first;
}
