# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The file with the keys of encrypted archives: the first line encrypts, all of them decrypt.

What it holds is never part of a message.
"""

from __future__ import annotations

import base64
import errno
import os
import re
import secrets
import stat
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple

from ..errors import Misconfigured, ResilienceError
from ..files import translate_os_error, write_durably
from .cipher import KEY_BYTES, key_id

_OPERATION = "read archive key"
_LONGEST_FILE = 65536
_HEX = re.compile(r"[0-9A-Fa-f]{64}")
#: 32 bytes as base64
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")
#: Of 32 random bytes about 30 differ. Fewer than these are a placeholder that somebody forgot.
_FEWEST_DIFFERENT = 16
#: for whoever makes one by hand
_HOW = "umask 077; openssl rand -base64 32 > FILE"


class ArchiveKeys:
    """``source``: where they are from. ``problem``: why there are none, where there should be some."""

    def __init__(self, keys: Sequence[bytes] = (), source: str = "", problem: str = "") -> None:
        self.source = source
        self.problem = problem
        self._keys: Mapping[str, bytes] = {key_id(key): key for key in keys}

    @property
    def ids(self) -> List[str]:
        """That of the key that encrypts comes first."""
        return list(self._keys)

    @property
    def first(self) -> Optional[bytes]:
        return next(iter(self._keys.values()), None)

    def get(self, identity: str) -> Optional[bytes]:
        return self._keys.get(identity)

    def described(self) -> str:
        if self._keys:
            return f"{self.source} has {', '.join(self.ids)}"
        return self.problem or "no key file was named"


NO_KEYS = ArchiveKeys()


def read_keys(path: Optional[Path]) -> ArchiveKeys:
    """None: no keys. Raises Misconfigured for a file that is none of ours, that others can read, or that is a link."""
    return NO_KEYS if path is None else _keys_in(path, _content(path))


def add_key(path: Path) -> Tuple[str, int]:
    """Make the file, or put a new key before those in it. Returns the key's id, and how many older ones there are."""
    old = b""
    if os.path.lexists(path):
        old = _content(path)
        _keys_in(path, old)
    key = secrets.token_bytes(KEY_BYTES)
    write_durably(path, base64.b64encode(key) + b"\n" + old)
    return key_id(key), len(read_keys(path).ids) - 1


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check(path, os.fstat(descriptor))
            return os.read(descriptor, _LONGEST_FILE)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError) -> ResilienceError:
    if exc.errno == errno.ELOOP:
        return _refused(path, "is a symbolic link", "name the file itself")
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        hint = (
            "put it back from your copy, or make the first one: baileys-resilience cleanup new-key --archive-key FILE"
            f" (or: {_HOW})"
        )
        return _refused(path, "there is no such file", hint)
    return translate_os_error(exc, _OPERATION, path)


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no file", "name the file that holds the key")
    if status.st_uid not in (0, os.geteuid()):
        cause = f"belongs to user {status.st_uid}, who could read the archives, or take another key"
        raise _refused(path, cause, "give it to root: chown root FILE")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        hint = "chmod 0600 FILE; where others may have read it, make a new key: baileys-resilience cleanup new-key"
        raise _refused(path, f"its mode is {mode:04o}, so others than its owner can get at it", hint)


def _keys_in(path: Path, content: bytes) -> ArchiveKeys:
    keys = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            keys.append(_key(path, number, text))
    if not keys:
        raise _refused(path, "it holds no key", f"make one: {_HOW}")
    return ArchiveKeys(keys, str(path))


def _key(path: Path, number: int, text: str) -> bytes:
    if _HEX.fullmatch(text):
        key = bytes.fromhex(text)
    elif _BASE64.fullmatch(text):
        key = base64.b64decode(text)
    else:
        cause = f"line {number} is no key: a key is 32 random bytes, as base64 or hex"
        raise _refused(path, cause, f"one key a line, and nothing else but lines that begin with #; make one: {_HOW}")
    if len(set(key)) < _FEWEST_DIFFERENT:
        raise _refused(path, f"the key of line {number} is not random", f"make one: {_HOW}")
    return key


def _refused(path: Path, cause: str, hint: str) -> Misconfigured:
    return Misconfigured(cause, operation=_OPERATION, subject=str(path), hint=hint.replace("FILE", str(path)))
