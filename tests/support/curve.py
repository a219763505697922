# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""X25519 key pairs and XEdDSA signatures as Baileys makes them, so that synthetic creds pass a cryptographic audit.

Signing is a small pure-Python Edwards implementation (RFC 8032, extended coordinates). It is slow, not constant-time,
and shares no code with the library's verifier: each is a check of the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

_P = 2**255 - 19
_Q = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202

_Point = tuple[int, int, int, int]
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
_NEUTRAL: _Point = (0, 1, 1, 0)


@dataclass(frozen=True)
class KeyPair:
    private: bytes
    public: bytes


def key_pair(seed: bytes) -> KeyPair:
    """The X25519 pair of a 32-byte seed, clamped as libsignal stores it."""
    private = bytearray(seed)
    private[0] &= 248
    private[31] = private[31] & 127 | 64
    public = X25519PrivateKey.from_private_bytes(bytes(private)).public_key().public_bytes_raw()
    return KeyPair(bytes(private), public)


def sign(private: bytes, message: bytes, *, nonce: bytes = b"\x5a" * 64) -> bytes:
    """The signature that libsignal's curve25519_sign makes: Ed25519 with the scalar itself, and the sign of the Edwards
    key in the top bit.
    """
    scalar = int.from_bytes(private, "little")
    public = _compress(_multiply(scalar, _BASE))
    r = _hash(b"\xfe" + b"\xff" * 31 + private + message + nonce)
    commitment = _compress(_multiply(r, _BASE))
    challenge = _hash(commitment + public + message)
    s = bytearray(((r + challenge * scalar) % _Q).to_bytes(32, "little"))
    s[31] |= public[31] & 0x80
    return commitment + bytes(s)


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.sha512(content).digest(), "little") % _Q


def _add(one: _Point, two: _Point) -> _Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar: int, point: _Point) -> _Point:
    total = _NEUTRAL
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _compress(point: _Point) -> bytes:
    x, y, z, _t = point
    inverse = pow(z, _P - 2, _P)
    encoded = bytearray((y * inverse % _P).to_bytes(32, "little"))
    encoded[31] |= (x * inverse % _P & 1) << 7
    return bytes(encoded)
