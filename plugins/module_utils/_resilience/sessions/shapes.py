# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the value of each key type must look like for Baileys to use it (shapes measured on baileys 7.0.0-rc14 and
6.7.24).

Garbage that is valid JSON is the case this exists for: Baileys loads it without a word and the session breaks at the
first message. Types that are not known here pass: a newer Baileys may have them.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Optional, Tuple

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}\Z")


def shape_problem(key_type: str, value: Any) -> Optional[str]:
    """Why ``value`` (bytes in the base64 form) cannot be a key of this type; None when it can."""
    check = _CHECKS.get(key_type)
    return check(value) if check else None


def _bytes(value: Any, lengths: Optional[Tuple[int, ...]] = None) -> Optional[str]:
    if not (isinstance(value, dict) and value.get("type") == "Buffer" and isinstance(value.get("data"), str)):
        return "bytes expected"
    length = _base64_length(value["data"])
    if length is None:
        return "bytes are not base64"
    if lengths and length not in lengths:
        return f"bytes of length {length}, expected {' or '.join(map(str, lengths))}"
    return None


def _base64_length(text: str) -> Optional[int]:
    """The number of bytes that strict base64 stands for, without decoding it; None when it is not base64."""
    if len(text) % 4 or not _BASE64.match(text):
        return None
    return len(text) // 4 * 3 - text.count("=", -2)


def _pre_key(value: Any) -> Optional[str]:
    if not isinstance(value, dict) or "private" not in value or "public" not in value:
        return "private and public expected"
    return _bytes(value["private"], (32,)) or _bytes(value["public"], (32, 33))


def _session(value: Any) -> Optional[str]:
    if not isinstance(value, dict) or not isinstance(value.get("_sessions"), dict):
        return "a session record (_sessions) expected"
    for record in value["_sessions"].values():
        if not isinstance(record, dict) or "currentRatchet" not in record or "indexInfo" not in record:
            return "a session without currentRatchet or indexInfo"
    return None


def _sender_key(value: Any) -> Optional[str]:
    # 6.x and 7.x store a Buffer of JSON; early adapters stored the list itself, which Baileys reads too.
    return None if isinstance(value, list) else _bytes(value)


def _mapping(value: Any) -> Optional[str]:
    return None if isinstance(value, dict) and value.get("type") != "Buffer" else "an object expected"


def _app_state_key(value: Any) -> Optional[str]:
    if not isinstance(value, dict) or "keyData" not in value:
        return "keyData expected"
    data = value["keyData"]
    if isinstance(data, str):
        return "keyData is not base64" if _base64_length(data) is None else None
    return _bytes(data)


def _app_state_version(value: Any) -> Optional[str]:
    if not isinstance(value, dict) or "version" not in value or "hash" not in value:
        return "version and hash expected"
    return _bytes(value["hash"])


def _text(value: Any) -> Optional[str]:
    return None if isinstance(value, str) and value else "a text expected"


def _device_list(value: Any) -> Optional[str]:
    return (
        None if isinstance(value, list) and all(isinstance(each, str) for each in value) else "a list of texts expected"
    )


_CHECKS: Dict[str, Callable[[Any], Optional[str]]] = {
    "pre-key": _pre_key,
    "session": _session,
    "sender-key": _sender_key,
    "sender-key-memory": _mapping,
    "app-state-sync-key": _app_state_key,
    "app-state-sync-version": _app_state_version,
    "lid-mapping": _text,
    "device-list": _device_list,
    "tctoken": _mapping,
    "identity-key": _bytes,
}
