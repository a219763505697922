# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the file of an archive is made of: members that say how long they are, the first of them readable by everybody.

So a member that a kill cut off is told from one that a disk has spoilt, and only the first may be overwritten.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Iterator, List, Optional, Tuple

from ..errors import UsageError, VerificationFailed
from ..files import translate_os_error
from . import cipher as ciphers

#: RFC 1952: magic, deflate, an extra field; no time; no system. In the extra field, ours: length of the member, CRC32
_GZIP = struct.Struct("<HBBIBB H2sH 4s4s")
#: the last member is one short line
_LONGEST_END = 4096
_EXTRA, _OURS, _NO_SYSTEM = 4, b"BR", 255


class Packer:
    """Makes a gzip member of a beginning that is known last, and of all else as it comes: whoever waits for the
    processor meanwhile waits for a part of it only.
    """

    def __init__(self, level: int) -> None:
        self._level = level
        self._deflate = zlib.compressobj(level, wbits=-15)
        self._contents: List[bytes] = []
        self._bodies: List[bytes] = []

    def add(self, content: bytes) -> None:
        self._contents.append(content)
        self._bodies.append(self._deflate.compress(content))

    def member(self, beginning: bytes) -> bytes:
        """The beginning's deflate stream ends on a byte and refers to nothing, so the other one can follow it."""
        deflate = zlib.compressobj(self._level, wbits=-15)
        bodies = [deflate.compress(beginning), deflate.flush(zlib.Z_FULL_FLUSH), *self._bodies, self._deflate.flush()]
        check, size = 0, 0
        for content in (beginning, *self._contents):
            check, size = zlib.crc32(content, check), size + len(content)
        body = b"".join(bodies) + struct.pack("<II", check, size & 0xFFFFFFFF)
        return _head(_GZIP.size + len(body)) + body


def _head(member_bytes: int) -> bytes:
    length = struct.pack("<I", member_bytes)
    check = struct.pack("<I", zlib.crc32(length))
    return _GZIP.pack(0x8B1F, 8, _EXTRA, 0, 0, _NO_SYSTEM, 12, _OURS, 8, length, check)


def _length_of(head: bytes) -> int:
    """Of the gzip member that begins with it. Raises ValueError for what begins none."""
    length = int(struct.unpack("<I", _GZIP.unpack(head)[-2])[0])
    if head != _head(length) or length < _GZIP.size:
        raise ValueError("the header of a member does not fit")
    return length


class Members:
    """The members of a file, one behind the other. ``cipher`` is set by whoever has read the header in the first, which
    is kept in ``first``; all behind it are opened with it. Without a cipher, all are gzip.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = b""
        self.cipher: Optional[ciphers.Cipher] = None

    def __iter__(self) -> Iterator[Tuple[int, List[bytes]]]:
        """The lines of each member, with where it ends in the file. Ends at a member that is cut off."""
        with opened(self.path) as stream:
            while True:
                try:
                    member = self._next(stream)
                    if not member:
                        return
                    self.first = self.first or member
                    if self.cipher is not None:
                        member = self.cipher.open(member)
                    text = zlib.decompress(member, wbits=31)
                except (ValueError, zlib.error) as exc:
                    raise damaged(self.path, str(exc)) from exc
                yield stream.tell(), text.splitlines(keepends=True)

    def _next(self, stream: BinaryIO) -> bytes:
        """Empty where the file is too short for it."""
        size, length_of = (_GZIP.size, _length_of) if self.cipher is None else (ciphers.HEAD_BYTES, ciphers.length_of)
        head = stream.read(size)
        if len(head) < size:
            return b""
        length = length_of(head)
        member = head + stream.read(length - size)
        return member if len(member) == length else b""


def has_begun(path: Path) -> bool:
    """Whether its first member is whole. Without it, its run was cut off, or its disk was full, before any deletion."""
    with opened(path) as stream:
        return 0 < _skip_first(path, stream) <= stream.seek(0, os.SEEK_END)


def _skip_first(path: Path, stream: BinaryIO) -> int:
    """Go behind the first member. Returns where that is, 0 where not even its header is whole."""
    head = stream.read(_GZIP.size)
    if len(head) < _GZIP.size:
        return 0
    try:
        return stream.seek(_length_of(head))
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def is_ended(path: Path) -> bool:
    """Whether its run came to its end, told by the last member alone. False where the archive has to be read."""
    with opened(path) as stream:
        start = _skip_first(path, stream)
        size = stream.seek(0, os.SEEK_END)
        stream.seek(start)
        if stream.read(len(ciphers.MAGIC)) == ciphers.MAGIC:
            return _is_ended_encrypted(stream, start, size)
        stream.seek(max(0, size - _LONGEST_END))
        tail = stream.read()
    place = tail.rfind(_head(0)[:4])
    member = tail[place:] if place >= 0 else b""
    if member[: _GZIP.size] != _head(len(member)):
        return False
    try:
        return b'"run_ended"' in zlib.decompress(member, wbits=31)
    except zlib.error:
        return False


def _is_ended_encrypted(stream: BinaryIO, place: int, size: int) -> bool:
    """By the headers, which need no key."""
    ended = False
    while place < size:
        stream.seek(place)
        head = stream.read(ciphers.HEAD_BYTES)
        try:
            place += ciphers.length_of(head)
            ended = ciphers.is_end(head)
        except (ValueError, struct.error):
            return False
    return ended and place == size


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as exc:
        raise UsageError(
            "there is no such archive",
            operation="read archive",
            subject=str(path),
            hint="baileys-resilience cleanup archives lists those that are there",
        ) from exc
    except OSError as exc:
        raise translate_os_error(exc, "read archive", path) from exc


def damaged(path: Path, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"the archive is damaged: {cause}",
        operation="read archive",
        subject=str(path),
        hint="nothing was put back from it; take the file from a backup of this host",
    )
