# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Realistic companies without Node: valid creds and keys in the mix, shapes and sizes measured on a production company.

Values are trees with Python `bytes` where Baileys has bytes; `in_form` writes them in one of the three encodings that
are met in production, and `expected_content` in the canonical form that an export must produce (written here anew, so
that the codec is not its own judge). Everything follows from `seed`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.support.curve import key_pair, sign

Form = Literal["base64", "array", "index"]
FORMS: tuple[Form, ...] = ("base64", "array", "index")

#: about 1,333 keys and 430 KB
MIX = {
    "pre-key": 812,
    "session": 230,
    "lid-mapping": 120,
    "identity-key": 60,
    "device-list": 40,
    "sender-key": 30,
    "sender-key-memory": 30,
    "app-state-sync-key": 6,
    "app-state-sync-version": 5,
}
#: every type once or a few times, for tests that do not look at speed
SMALL_MIX = {
    "pre-key": 12,
    "session": 6,
    "lid-mapping": 4,
    "identity-key": 3,
    "device-list": 2,
    "sender-key": 3,
    "sender-key-memory": 3,
    "app-state-sync-key": 2,
    "app-state-sync-version": 2,
    "tctoken": 2,
}
_COLLECTIONS = ("critical_block", "critical_unblock_low", "regular_high", "regular_low", "regular")
KeyName = tuple[str, str]


@dataclass(frozen=True)
class Company:
    """One company: creds and keys by (type, id)."""

    id: str
    creds: dict[str, Any]
    keys: dict[KeyName, Any] = field(repr=False)

    def expected(self) -> dict[KeyName, bytes]:
        """The canonical content of every key file."""
        return {name: expected_content(value) for name, value in self.keys.items()}

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for key_type, _id in self.keys:
            found[key_type] = found.get(key_type, 0) + 1
        return found

    def named(self, company_id: str) -> Company:
        """The same material under another id and phone number: right where only amounts matter."""
        me = {**self.creds["me"], "id": _jid(company_id)}
        return replace(self, id=company_id, creds={**self.creds, "me": me})


def make_company(company_id: str = "962301", seed: int = 0, mix: dict[str, int] | None = None) -> Company:
    maker = _Maker(company_id, seed)
    keys: dict[KeyName, Any] = {}
    for key_type, number in (MIX if mix is None else mix).items():
        make = getattr(maker, key_type.replace("-", "_"))
        for n in range(number):
            key_id, value = make(n)
            keys[key_type, key_id] = value
    return Company(company_id, maker.creds(keys), keys)


def make_companies(count: int, mix: dict[str, int] | None = None, first: int = 962301) -> list[Company]:
    """Companies of different material."""
    return [make_company(str(first + n), n, SMALL_MIX if mix is None else mix) for n in range(count)]


def in_form(value: Any, form: Form) -> Any:
    """The tree as plain JSON values, bytes in the given encoding."""
    if isinstance(value, bytes):
        if form == "base64":
            return {"type": "Buffer", "data": base64.b64encode(value).decode()}
        if form == "array":
            return {"type": "Buffer", "data": list(value)}
        return {str(position): octet for position, octet in enumerate(value)}
    if isinstance(value, dict):
        return {name: in_form(each, form) for name, each in value.items()}
    return [in_form(each, form) for each in value] if isinstance(value, list) else value


def stored(value: Any, form: Form) -> str:
    """The JSON text that an application using this encoding stores."""
    return json.dumps(in_form(value, form), separators=(",", ":"), ensure_ascii=False)


def expected_content(value: Any) -> bytes:
    return json.dumps(in_form(value, "base64"), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def expected_sha256(value: Any) -> str:
    return hashlib.sha256(expected_content(value)).hexdigest()


def expected_file_name(key_type: str, key_id: str) -> str:
    """What useMultiFileAuthState calls the file."""
    return f"{key_type}-{key_id}.json".replace("/", "__").replace(":", "-")


def _jid(company_id: str) -> str:
    return f"49{int(hashlib.sha256(company_id.encode()).hexdigest()[:8], 16):010d}:7@s.whatsapp.net"


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


class _Maker:
    """Makes (id, value) of the n-th key of each type; one method a type, named like it."""

    def __init__(self, company_id: str, seed: int) -> None:
        self._company = company_id
        self._random = random.Random(f"company {seed}")
        self._first_pre_key = 1 + seed % 40

    def _bytes(self, length: int) -> bytes:
        return self._random.randbytes(length)

    def _pair(self) -> dict[str, Any]:
        pair = key_pair(self._bytes(32))
        return {"private": pair.private, "public": pair.public}

    def creds(self, keys: dict[KeyName, Any]) -> dict[str, Any]:
        identity, signed = self._pair(), self._pair()
        signature = sign(identity["private"], b"\x05" + signed["public"])
        pre_keys = [int(key_id) for key_type, key_id in keys if key_type == "pre-key"]
        upcoming = max(pre_keys, default=self._first_pre_key - 1) + 1
        creds = {
            "noiseKey": self._pair(),
            "pairingEphemeralKeyPair": self._pair(),
            "signedIdentityKey": identity,
            "signedPreKey": {"keyPair": signed, "signature": signature, "keyId": 1},
            "registrationId": self._random.randrange(16384),
            "advSecretKey": _b64(self._bytes(32)),
            "nextPreKeyId": upcoming,
            "firstUnuploadedPreKeyId": upcoming,
            "registered": False,
            "me": {
                "id": _jid(self._company),
                "name": "Müller & Söhne",
                "lid": f"{self._random.randrange(10**14)}:7@lid",
            },
            "account": {
                "details": _b64(self._bytes(18)),
                "accountSignatureKey": _b64(self._bytes(32)),
                "accountSignature": _b64(self._bytes(64)),
                "deviceSignature": _b64(self._bytes(64)),
            },
            "signalIdentities": [
                {"identifier": {"name": _jid(self._company), "deviceId": 0}, "identifierKey": b"\x05" + self._bytes(32)}
            ],
            "platform": "android",
            "routingInfo": self._bytes(8),
            "lastAccountSyncTimestamp": 1767225600,
            "accountSettings": {"unarchiveChats": False},
            "processedHistoryMessages": [],
            "accountSyncCounter": 1,
        }
        sync_keys = [key_id for key_type, key_id in keys if key_type == "app-state-sync-key"]
        return {**creds, "myAppStateKeyId": sync_keys[0]} if sync_keys else creds

    def pre_key(self, n: int) -> tuple[str, Any]:
        return str(self._first_pre_key + n), self._pair()

    def session(self, n: int) -> tuple[str, Any]:
        ours, base, remote = key_pair(self._bytes(32)), _b64(b"\x05" + self._bytes(32)), _b64(b"\x05" + self._bytes(32))
        chains = {_b64(b"\x05" + ours.public): self._chain(1, 0)}
        # Most chats are short; every third has a receiving chain, and a few of these hold many skipped messages.
        if n % 3 == 0:
            chains[remote] = self._chain(2, 32 if n % 12 == 0 else 2 + n % 4)
        record = {
            "registrationId": self._random.randrange(16384),
            "currentRatchet": {
                "ephemeralKeyPair": {"pubKey": _b64(b"\x05" + ours.public), "privKey": _b64(ours.private)},
                "lastRemoteEphemeralKey": remote,
                "previousCounter": n % 9,
                "rootKey": _b64(self._bytes(32)),
            },
            "indexInfo": {
                "baseKey": base,
                "baseKeyType": 1 + n % 2,
                "closed": -1,
                "used": 1767225600000 + n,
                "created": 1767225600000,
                "remoteIdentityKey": _b64(b"\x05" + self._bytes(32)),
            },
            "_chains": chains,
        }
        return f"{self._user(n)}_1.{0 if n % 4 else n % 3}", {"_sessions": {base: record}, "version": "v1"}

    def _chain(self, chain_type: int, skipped: int) -> dict[str, Any]:
        messages = {str(n): _b64(self._bytes(32)) for n in range(skipped)}
        key = {"counter": skipped, "key": _b64(self._bytes(32))}
        return {"chainKey": key, "chainType": chain_type, "messageKeys": messages}

    def sender_key(self, n: int) -> tuple[str, Any]:
        state = {
            "senderKeyId": self._random.randrange(2**31),
            "senderChainKey": {"iteration": n, "seed": {"type": "Buffer", "data": _b64(self._bytes(32))}},
            "senderSigningKey": {"public": {"type": "Buffer", "data": _b64(b"\x05" + self._bytes(32))}},
            "senderMessageKeys": [
                {"iteration": i, "seed": {"type": "Buffer", "data": _b64(self._bytes(32))}} for i in range(n % 12)
            ],
        }
        return f"{self._group(n)}::{self._user(n)}_1::{n % 3}", json.dumps([state], separators=(",", ":")).encode()

    def sender_key_memory(self, n: int) -> tuple[str, Any]:
        return self._group(n), {f"{self._user(each)}:{each % 5}@lid": True for each in range(2 + n % 20)}

    def app_state_sync_key(self, n: int) -> tuple[str, Any]:
        # Ids are base64 of six bytes; every second one holds a slash, which file names cannot.
        key_id = _b64(bytes([0, 0, 0xFC, 0x30 + n, 0x0F if n % 2 else 0xFF, 0xFF]))
        fingerprint = {"rawId": self._random.randrange(2**31), "currentIndex": n, "deviceIndexes": [0, 1]}
        return key_id, {
            "keyData": _b64(self._bytes(32)),
            "fingerprint": fingerprint,
            "timestamp": str(1767225600000 + n),
        }

    def app_state_sync_version(self, n: int) -> tuple[str, Any]:
        index = {_b64(self._bytes(32)): {"valueMac": self._bytes(32)} for _ in range(1 + 4 * n)}
        return _COLLECTIONS[n], {"version": 7 + n, "hash": self._bytes(128), "indexValueMap": index}

    def lid_mapping(self, n: int) -> tuple[str, Any]:
        phone, lid = f"4917{100000000 + n // 2}", self._user(n // 2)
        return (f"{lid}_reverse", phone) if n % 2 else (phone, lid)

    def device_list(self, n: int) -> tuple[str, Any]:
        return f"4917{100000000 + n}", ["0", str(1 + n % 30)]

    def identity_key(self, n: int) -> tuple[str, Any]:
        return f"{self._user(n)}_1.0", b"\x05" + self._bytes(32)

    def tctoken(self, n: int) -> tuple[str, Any]:
        if n == 0:
            return "__index", {"token": json.dumps([f"{self._user(1)}@lid"]).encode()}
        return f"{self._user(n)}@lid", {
            "token": self._bytes(24),
            "timestamp": "1767225600",
            "senderTimestamp": 1767225600,
        }

    @staticmethod
    def _user(n: int) -> str:
        return str(30000000000000 + n)

    @staticmethod
    def _group(n: int) -> str:
        return f"{120363400000000000 + n}@g.us"
