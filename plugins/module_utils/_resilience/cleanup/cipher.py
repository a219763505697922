# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Members of an archive that only who has the key can read: AES-256-GCM (docs/formats/cleanup.md says how).

A file has a key of its own, made of the operator's, a random salt and the file's first member, to the byte. So no
member opens in another file, and the number that each is bound to tells one that is missing or stands elsewhere.

Nonces are random. A counter would come twice under one key where a kill has cut a member off and another one takes its
place. Of 2^96, the few thousand of one file do not meet: for a million of them the chance is below 2^-56.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import struct
import zlib
from typing import Any, Dict, Mapping

from .._thirdparty import require

CIPHER = "AES-256-GCM"
VERSION = 1
KEY_BYTES = 32
MAGIC = b"BRE1"
#: Of a member. The last one of a run is told without the key: a run that is over needs nothing of who lacks it.
CONTENT, END = 1, 2

#: magic, kind, length of the member; then the CRC32 of these
_HEAD = struct.Struct("<4sB3xI")
HEAD_BYTES = _HEAD.size + 4
_NONCE_BYTES, _TAG_BYTES, _SALT_BYTES = 12, 16, 32
_KEY_ID = b"baileys-resilience/cleanup-archive/key-id"
_FILE_KEY = b"baileys-resilience/cleanup-archive/file/1"


def key_id(key: bytes) -> str:
    """Tells keys apart, and says nothing of them: 16 hex digits."""
    return derived(key, b"", _KEY_ID)[:8].hex()


def derived(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), 32 bytes."""
    extracted = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def encryption_with(key: bytes) -> Dict[str, Any]:
    """What the header of a new file says of it."""
    return {
        "cipher": CIPHER,
        "version": VERSION,
        "key": key_id(key),
        "salt": secrets.token_hex(_SALT_BYTES),
    }


class Cipher:
    """Seals and opens the members of one file behind the first, in their order. ``encryption`` is what its header says,
    ``first`` the member that holds the header. Raises ToolMissing, and ValueError for a salt that is none.
    """

    def __init__(self, key: bytes, encryption: Mapping[str, Any], first: bytes) -> None:
        salt = bytes.fromhex(str(encryption.get("salt")))
        aead = require("cryptography.hazmat.primitives.ciphers.aead")
        self._aead = aead.AESGCM(derived(key, salt, _FILE_KEY + hashlib.sha256(first).digest()))
        self._number = 0

    def seal(self, content: bytes, kind: int) -> bytes:
        head = _head(kind, HEAD_BYTES + _NONCE_BYTES + len(content) + _TAG_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + bytes(self._aead.encrypt(nonce, content, self._bound_to(head)))

    def open(self, member: bytes) -> bytes:
        """Raises ValueError for one that is not what was sealed as this member of this file."""
        exceptions = require("cryptography.exceptions")
        head, rest = member[:HEAD_BYTES], member[HEAD_BYTES:]
        try:
            return bytes(self._aead.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], self._bound_to(head)))
        except exceptions.InvalidTag as exc:
            raise ValueError(f"encrypted member {self._number} is not what was written") from exc

    def _bound_to(self, head: bytes) -> bytes:
        self._number += 1
        return head + struct.pack("<Q", self._number)


def _head(kind: int, member_bytes: int) -> bytes:
    content = _HEAD.pack(MAGIC, kind, member_bytes)
    return content + struct.pack("<I", zlib.crc32(content))


def length_of(head: bytes) -> int:
    """Of the member that begins with it. Raises ValueError for what begins none."""
    length = int(_HEAD.unpack(head[: _HEAD.size])[2])
    if head not in (_head(CONTENT, length), _head(END, length)) or length < HEAD_BYTES + _NONCE_BYTES + _TAG_BYTES:
        raise ValueError("the header of a member does not fit")
    return length


def is_end(head: bytes) -> bool:
    return head == _head(END, length_of(head))
