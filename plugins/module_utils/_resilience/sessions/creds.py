# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Are these creds the whole identity of a session? Cryptographic checks, and the invariants between creds and keys.

Baileys' own ``Curve.verify`` is no oracle: it ignored its boolean and accepted garbage. An empty creds.json becomes a
new identity without an error, so nothing is handed to Baileys before it passed here.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from .._thirdparty import require
from .codec import bytes_of

_P = 2**255 - 19
_KEY_PAIRS = (
    ("noiseKey",),
    ("pairingEphemeralKeyPair",),
    ("signedIdentityKey",),
    ("signedPreKey", "keyPair"),
)


class CredsAudit:
    """Collects what is needed while keys stream by, then judges. Flat memory: one number and one flag."""

    def __init__(self, creds: Dict[str, Any]) -> None:
        self._creds = creds
        self._app_state_key = creds.get("myAppStateKeyId")
        self._app_state_key_seen = False
        self._highest_pre_key = -1

    def see(self, key_type: str, key_id: str) -> None:
        if key_type == "pre-key" and key_id.isascii() and key_id.isdigit():
            self._highest_pre_key = max(self._highest_pre_key, int(key_id))
        elif key_type == "app-state-sync-key" and key_id == self._app_state_key:
            self._app_state_key_seen = True

    def problems(self) -> List[str]:
        """Everything that is wrong, as short clauses; empty when the session is whole."""
        found = creds_problems(self._creds)
        upcoming = self._creds.get("nextPreKeyId")
        if isinstance(upcoming, int) and self._highest_pre_key >= upcoming:
            found.append(
                f"creds are older than the keys: pre-key {self._highest_pre_key} exists, nextPreKeyId is {upcoming}"
            )
        if self._app_state_key and not self._app_state_key_seen:
            found.append("myAppStateKeyId names an app-state-sync-key that is not there")
        return found


def creds_problems(creds: Dict[str, Any]) -> List[str]:
    """What is wrong with the creds taken alone."""
    found: List[str] = []
    for path in _KEY_PAIRS:
        problem = _key_pair_problem(_look_up(creds, path))
        if problem:
            found.append(f"{'.'.join(path)}: {problem}")
    if not found:
        problem = _signature_problem(creds)
        if problem:
            found.append(problem)
    found.extend(_number_problems(creds))
    return found


def paired_user(creds: Dict[str, Any]) -> Optional[str]:
    """The user the session is paired to (``me.id``), or None. ``registered`` says nothing: it is false for QR-paired
    sessions.
    """
    me = creds.get("me")
    user = me.get("id") if isinstance(me, dict) else None
    return user if isinstance(user, str) and user else None


def _look_up(creds: Dict[str, Any], path: Any) -> Any:
    value: Any = creds
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _key_pair_problem(pair: Any) -> Optional[str]:
    if not isinstance(pair, dict):
        return "missing"
    private, public = bytes_of(pair.get("private")), bytes_of(pair.get("public"))
    if private is None or public is None or len(private) != 32 or len(public) not in (32, 33):
        return "not a pair of 32-byte keys"
    x25519 = require("cryptography.hazmat.primitives.asymmetric.x25519")
    serialization = require("cryptography.hazmat.primitives.serialization")
    key = x25519.X25519PrivateKey.from_private_bytes(private).public_key()
    # Not public_bytes_raw(): the cryptography 38 of Debian 12 does not have it.
    derived = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return None if derived == public[-32:] else "the public key does not belong to the private one"


def _signature_problem(creds: Dict[str, Any]) -> Optional[str]:
    identity = bytes_of(_look_up(creds, ("signedIdentityKey", "public")))
    signed = bytes_of(_look_up(creds, ("signedPreKey", "keyPair", "public")))
    signature = bytes_of(_look_up(creds, ("signedPreKey", "signature")))
    if identity is None or signed is None or signature is None or len(signature) != 64:
        return "signedPreKey.signature: missing"
    if not xeddsa_valid(identity[-32:], b"\x05" + signed[-32:], signature):
        return "signedPreKey.signature: not made by signedIdentityKey"
    return None


def xeddsa_valid(public: bytes, message: bytes, signature: bytes) -> bool:
    """XEdDSA (signal.org/docs/specifications/xeddsa): turn the Montgomery u into an Edwards y, then verify as
    Ed25519.
    """
    ed25519 = require("cryptography.hazmat.primitives.asymmetric.ed25519")
    exceptions = require("cryptography.exceptions")
    u = int.from_bytes(public, "little") % _P
    y = (u - 1) * pow(u + 1, _P - 2, _P) % _P
    sign = signature[63] & 0x80
    edwards = bytearray(y.to_bytes(32, "little"))
    edwards[31] |= sign
    plain = signature[:63] + bytes([signature[63] & 0x7F])
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes(edwards)).verify(plain, message)
    except (exceptions.InvalidSignature, ValueError):
        return False
    return True


def _number(value: Any) -> Optional[int]:
    """A JSON number without a fraction; true and false are none, whatever Python thinks."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number_problems(creds: Dict[str, Any]) -> List[str]:
    found: List[str] = []
    registration = _number(creds.get("registrationId"))
    if registration is None or not 0 <= registration <= 16383:
        found.append("registrationId: not a number from 0 to 16383")
    upcoming, unuploaded = _number(creds.get("nextPreKeyId")), _number(creds.get("firstUnuploadedPreKeyId"))
    if upcoming is None or unuploaded is None:
        found.append("nextPreKeyId or firstUnuploadedPreKeyId: not a number")
    elif unuploaded > upcoming:
        found.append("firstUnuploadedPreKeyId is greater than nextPreKeyId")
    if not isinstance(creds.get("advSecretKey"), str):
        found.append("advSecretKey: missing")
    return found
