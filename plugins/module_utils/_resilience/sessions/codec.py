# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The Baileys file form: names of files, and JSON in which bytes are ``{"type":"Buffer","data":"<base64>"}``.

PostgreSQL holds bytes in three encodings (the base64 form, ``data`` as an array of numbers, and a bare object
``{"0":5,"1":9}``), and Baileys 7 decodes only the first. Everything that leaves this file is the first, with sorted
keys and no spaces, so that equal values have equal bytes and one SHA256 serves files, rows and manifests alike. See
docs/formats.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import CredsInvalid, KeyUndecodable
from .model import KNOWN_TYPES
from .shapes import shape_problem

CREDS_FILE = "creds.json"

# Only values in which one of these appears hold bytes in another form than base64; all others skip the walk (9 of 10
# rows).
_OTHER_FORM = re.compile(rb'"data"\s*:\s*[\[{]|"buffer"\s*:\s*true')
_FIRST_INDEX = re.compile(rb'"0"\s*:')

#: where bytes are expected, so that a bare index object means bytes there ("*" = every member)
_BYTES_AT: Dict[str, Sequence[Tuple[str, ...]]] = {
    "pre-key": (("private",), ("public",)),
    "identity-key": ((),),
    "sender-key": ((),),
    "app-state-sync-version": (("hash",), ("indexValueMap", "*", "valueMac")),
    "app-state-sync-key": (("keyData",),),
    "tctoken": (("token",),),
    "creds": (
        ("noiseKey", "private"),
        ("noiseKey", "public"),
        ("pairingEphemeralKeyPair", "private"),
        ("pairingEphemeralKeyPair", "public"),
        ("signedIdentityKey", "private"),
        ("signedIdentityKey", "public"),
        ("signedPreKey", "keyPair", "private"),
        ("signedPreKey", "keyPair", "public"),
        ("signedPreKey", "signature"),
        ("signalIdentities", "*", "identifierKey"),
        ("account", "details"),
        ("account", "accountSignatureKey"),
        ("account", "accountSignature"),
        ("account", "deviceSignature"),
        ("routingInfo",),
    ),
}
#: types whose values are plain texts
STRINGS_ARE_VALUES = frozenset({"lid-mapping"})


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, JSON.parse does not: Baileys would see no key at all.
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
_ASCII_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False)


def file_name(key_type: str, key_id: str) -> str:
    """The name ``useMultiFileAuthState`` gives this key. Two keys can share one name: callers refuse that."""
    return f"{key_type}-{key_id}".replace("/", "__").replace(":", "-") + ".json"


def parse_file_name(name: str) -> Optional[Tuple[str, str]]:
    """(type, id) for a file without a manifest entry; None for a file that is no key.

    Names cannot be reversed in general. The rules are those of facts measured on real ids: longest type prefix; in
    app-state-sync-key ``__`` is ``/``; in sender-key the last two ``--`` are ``::``; all other ids stand as they are.
    """
    if not name.endswith(".json") or name == CREDS_FILE:
        return None
    stem = name[: -len(".json")]
    for key_type in sorted(KNOWN_TYPES, key=len, reverse=True):
        if stem.startswith(f"{key_type}-"):
            key_id = stem[len(key_type) + 1 :]
            if key_type == "app-state-sync-key":
                key_id = key_id.replace("__", "/")
            elif key_type == "sender-key":
                parts = key_id.rsplit("--", 2)
                key_id = "::".join(parts)
            return key_type, key_id
    return None


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def short_id(key_id: str) -> str:
    """A key id fit to leave the host: it holds a phone number, so only a prefix of its hash."""
    return "#" + hashlib.sha256(key_id.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def encode_key(key_type: str, key_id: str, raw: Optional[bytes], *, company: str = "") -> bytes:
    """The canonical file content for one stored value. Raises KeyUndecodable with the reason and the (hashed) id."""
    try:
        value = _parse(raw, strings_are_values=key_type in STRINGS_ARE_VALUES)
        value = normalise(key_type, value, raw or b"")
        problem = shape_problem(key_type, value)
        if not problem:
            return dump(value)
    except ValueError as exc:
        problem = str(exc)
    raise KeyUndecodable(
        f"{key_type} {short_id(key_id)}: {problem}",
        operation="decode key of company",
        subject=company,
        hint="restore this row from the mirror or a backup, or export from another source",
    )


def encode_creds(raw: Optional[bytes], *, company: str = "") -> Tuple[bytes, Dict[str, Any]]:
    """(canonical content, value) of creds. Raises CredsInvalid when they are null, broken or not an object."""
    try:
        value = _parse(raw, strings_are_values=False)
        if not isinstance(value, dict) or not value:
            raise ValueError("they are not a JSON object")
        value = normalise("creds", value, raw or b"")
        return dump(value), value
    except ValueError as exc:
        raise CredsInvalid(
            f"creds cannot be read: {exc}",
            operation="decode creds of company",
            subject=company,
            hint="Baileys would make a new identity from these: use another source (mirror or backup)",
        ) from exc


def _loads(text: str) -> Any:
    # What PostgreSQL hands out has no space around it; the full decoder looks for it with two regular expressions.
    if text[:1] in " \t\n\r" or text[-1:] in " \t\n\r":
        return _DECODER.decode(text)
    value, end = _DECODER.raw_decode(text)
    return value if end == len(text) else _DECODER.decode(text)


def _parse(raw: Optional[bytes], *, strings_are_values: bool) -> Any:
    if raw is None:
        raise ValueError("the value is NULL")
    try:
        value = _loads(raw.decode("utf-8", "surrogatepass"))
        # An adapter that stores JSON.stringify(...) into jsonb leaves the JSON text as one JSON string.
        if isinstance(value, str) and value[:1] in (('"',) if strings_are_values else ("{", "[")):
            value = _loads(value)
    except RecursionError as exc:
        raise ValueError("it is nested deeper than any session") from exc
    if value is None:
        raise ValueError("the value is null")
    return value


def normalise(key_type: str, value: Any, raw: bytes) -> Any:
    """``value`` with all bytes in the base64 form; ``raw`` is its text, looked at to skip work."""
    if _OTHER_FORM.search(raw) or raw[:1] == b'"':
        value = _rewrap(value)
    if _FIRST_INDEX.search(raw) or raw[:1] == b'"':
        for path in _BYTES_AT.get(key_type, ()):
            value = _at_path(value, path)
    return value


def dump(value: Any) -> bytes:
    """The canonical content. Raises ValueError for a number that JSON cannot hold (1e999 reads as infinity)."""
    text = _ENCODER.encode(value)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate: JSON can hold it only as an escape
        return _ASCII_ENCODER.encode(value).encode("ascii")


def buffer(content: bytes) -> Dict[str, str]:
    """Baileys' form of bytes."""
    return {"data": base64.b64encode(content).decode("ascii"), "type": "Buffer"}


def bytes_of(value: Any) -> Optional[bytes]:
    """The bytes of a value in the base64 form; None when it is not one."""
    if isinstance(value, dict) and value.get("type") == "Buffer" and isinstance(value.get("data"), str):
        try:
            return base64.b64decode(value["data"], validate=True)
        except (binascii.Error, ValueError):
            return None
    return None


def _rewrap(value: Any) -> Any:
    if isinstance(value, list):
        return [_rewrap(each) if isinstance(each, (dict, list)) else each for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "Buffer" or value.get("buffer") is True:
        data = value.get("data", value.get("value"))
        if isinstance(data, list):
            return buffer(_octets(data))
        octets = _index_values(data)
        if octets is not None:
            return buffer(_octets(octets))
        if isinstance(data, str):
            return {"data": data, "type": "Buffer"}
    return {name: _rewrap(each) if isinstance(each, (dict, list)) else each for name, each in value.items()}


def _octets(numbers: List[Any]) -> bytes:
    try:
        if set(map(type, numbers)) <= {int}:  # true would count as 1
            return bytes(numbers)
    except ValueError:
        pass  # beyond 255; said below
    raise ValueError("bytes hold something that is no number from 0 to 255")


_POSITIONS = tuple(map(str, range(256)))


def _index_values(value: Any) -> Optional[List[Any]]:
    """The values of an object like ``{"0":5,"1":9}`` by position; None when it is no such object.

    A json column keeps the order of its writer; jsonb sorts names in a way that makes these come in order.
    """
    if not isinstance(value, dict) or "0" not in value:
        return None
    names = tuple(value)
    positions = _POSITIONS[: len(names)] if len(names) <= len(_POSITIONS) else tuple(map(str, range(len(names))))
    if names == positions:
        return list(value.values())
    try:
        return [value[position] for position in positions]
    except KeyError:
        return None


def _at_path(value: Any, path: Tuple[str, ...]) -> Any:
    if not path:
        octets = _index_values(value)
        return value if octets is None else buffer(_octets(octets))
    head, rest = path[0], path[1:]
    if head == "*":
        if isinstance(value, list):
            return [_at_path(each, rest) for each in value]
        if isinstance(value, dict):
            return {name: _at_path(each, rest) for name, each in value.items()}
    elif isinstance(value, dict) and head in value:
        return {**value, head: _at_path(value[head], rest)}
    return value
