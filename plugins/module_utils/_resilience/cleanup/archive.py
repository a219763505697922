# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a cleanup removes, kept: one file a run (docs/formats/cleanup.md says what is in it).

A batch is on disk before its deletion commits, so a row is in the table or in the archive at any moment, and after a
kill perhaps in both. Each batch is a gzip member of its own, which says in its header how long it is: so a member that
a kill cut off is told from one that a disk has spoilt, and only the first may be overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..clock import from_iso
from ..errors import StoreError, UsageError, VerificationFailed
from ..files import FILE_MODE, fsync_directory, make_private_directory, translate_os_error

FORMAT = "baileys-resilience/cleanup-archive"
VERSION = 1
SUFFIX = ".jsonl.gz"
COMMITTED, ROLLED_BACK = "committed", "rolled_back"
KEEP_DAYS = 90.0

_RUN = re.compile(r"cleanup-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
#: fast, and keys are random bytes that no level makes much smaller
_LEVEL = 3
#: RFC 1952: magic, deflate, an extra field; no time; no system. In the extra field, ours: length of the member, CRC32
_GZIP = struct.Struct("<HBBIBB H2sH 4s4s")
#: the last member is one short line
_LONGEST_END = 4096
_EXTRA, _OURS, _NO_SYSTEM = 4, b"BR", 255

Row = List[Optional[str]]
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Header:
    """``columns``: name and SQL type of each column of the keys' table, in the order of the rows."""

    run: str
    at: str
    policy: str
    database: str
    table: str
    columns: Sequence[Tuple[str, str]]


@dataclass
class Batch:
    """Rows of one company and type that were deleted in one transaction (``xid``), if it committed. ``identity`` and
    ``epoch`` tell whose keys they were.
    """

    number: int
    company: str
    key_type: str
    identity: str
    epoch: int
    xid: str
    rows: List[Row]


Sink = Callable[[Batch], None]


@dataclass
class Archive:
    """``keys``: number of keys that were deleted. ``ended``: how the run came to its end, empty where a kill was that.
    ``undecided``: the batch of which nobody has found out what became of it. ``good_bytes``: up to where it is whole.
    """

    path: Path
    header: Header
    keys: int = 0
    ended: str = ""
    undecided: Optional[Batch] = None
    good_bytes: int = 0


def new_run(at: str) -> str:
    """``at``: the server's clock, which also says when the archive has expired."""
    return f"cleanup-{from_iso(at):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def path_of(directory: Path, run: str) -> Path:
    """Raises UsageError for what is no run: it becomes a file's name."""
    if not _RUN.fullmatch(run):
        raise UsageError(
            "is no run of a cleanup",
            operation="find archive",
            subject=repr(run),
            hint="baileys-resilience cleanup archives lists those that are there",
        )
    return directory / f"{run}{SUFFIX}"


def runs(directory: Path) -> List[str]:
    """Oldest first."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise translate_os_error(exc, "list archives", directory) from exc
    found = [name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)]
    return [name for name in found if _RUN.fullmatch(name)]


class Writer:
    """Appends to one archive. When :meth:`batch` and :meth:`line` return, that is on disk."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream

    @staticmethod
    def create(directory: Path, header: Header) -> Writer:
        """Raises NotWritable or NoSpace while nothing is deleted yet."""
        path = path_of(make_private_directory(directory), header.run)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            writer = Writer(path, os.fdopen(descriptor, "wb", buffering=0))
            writer.line({"format": FORMAT, "version": VERSION, **asdict(header)})
            fsync_directory(directory)
        except OSError as exc:
            raise translate_os_error(exc, "write archive", path) from exc
        return writer

    @staticmethod
    def append(archive: Archive) -> Writer:
        """Go on behind what is whole; what a kill cut off is removed."""
        try:
            descriptor = os.open(archive.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.ftruncate(descriptor, archive.good_bytes)
            stream = os.fdopen(descriptor, "r+b", buffering=0)
            stream.seek(0, os.SEEK_END)
        except OSError as exc:
            raise translate_os_error(exc, "write archive", archive.path) from exc
        return Writer(archive.path, stream)

    def batch(self, batch: Batch) -> int:
        """Returns how many bytes its rows are, uncompressed."""
        rows = [_dump(row) for row in batch.rows]
        content = b"".join(rows)
        head = {
            "batch": batch.number,
            "company": batch.company,
            "type": batch.key_type,
            "identity": batch.identity,
            "epoch": batch.epoch,
            "xid": batch.xid,
            "rows": len(rows),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        self._write(_dump(head) + content)
        return len(content)

    def outcome(self, number: int, outcome: str) -> None:
        """On disk with whatever is written next: where it is lost, PostgreSQL is asked for it again."""
        self._write(_dump({"ended": number, "outcome": outcome}), durably=False)

    def line(self, content: Mapping[str, Any]) -> None:
        self._write(_dump(content))

    def _write(self, content: bytes, *, durably: bool = True) -> None:
        member = memoryview(_member(content))
        try:
            while member:
                member = member[self._stream.write(member) :]
            if durably:
                os.fsync(self._stream.fileno())
        except OSError as exc:
            raise translate_os_error(exc, "write archive", self.path) from exc

    def close(self) -> None:
        self._stream.close()


def _member(content: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=-15)
    body = packer.compress(content) + packer.flush()
    end = struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return _head(_GZIP.size + len(body) + len(end)) + body + end


def _head(member_bytes: int) -> bytes:
    length = struct.pack("<I", member_bytes)
    check = struct.pack("<I", zlib.crc32(length))
    return _GZIP.pack(0x8B1F, 8, _EXTRA, 0, 0, _NO_SYSTEM, 12, _OURS, 8, length, check)


def _length_of(path: Path, head: bytes) -> int:
    """Of the member that begins with it."""
    length = int(struct.unpack("<I", _GZIP.unpack(head)[-2])[0])
    if head != _head(length):
        raise damaged(path, "the header of a member does not fit")
    return length


def _dump(content: Any) -> bytes:
    return _ENCODER.encode(content).encode("utf-8", "surrogatepass") + b"\n"


def read(path: Path, sink: Optional[Sink] = None) -> Archive:
    """Read all of an archive; ``sink`` gets each batch that was committed, one at a time. Raises VerificationFailed
    where it is damaged anywhere but at a cut end.
    """
    archive: Optional[Archive] = None
    number = 0
    for end, lines in _members(path):
        content = [_parsed(path, line) for line in lines]
        head: Dict[str, Any] = content[0] if content and isinstance(content[0], dict) else {}
        if archive is None:
            archive = Archive(path, _header(path, head))
        elif archive.undecided is None and head.get("batch") == number + 1:
            number += 1
            archive.undecided = _batch(archive, head, lines[1:], content[1:])
        elif archive.undecided is not None and head.get("ended") == number:
            _decide(archive, str(head.get("outcome")), sink)
        elif archive.undecided is None and "run_ended" in head:
            archive.ended = str(head["run_ended"])
        else:
            raise damaged(path, "a line of it is not expected there")
        archive.good_bytes = end
    if archive is None:
        raise damaged(path, "it has no beginning")
    return archive


def _decide(archive: Archive, outcome: str, sink: Optional[Sink]) -> None:
    batch, archive.undecided = archive.undecided, None
    if batch is not None and outcome == COMMITTED:
        archive.keys += len(batch.rows)
        if sink is not None:
            sink(batch)


def has_begun(path: Path) -> bool:
    """Whether its first member is whole. Without it, its run was cut off, or its disk was full, before any deletion."""
    with _opened(path) as stream:
        head = stream.read(_GZIP.size)
        return len(head) == _GZIP.size and stream.seek(0, os.SEEK_END) >= _length_of(path, head)


def is_ended(path: Path) -> bool:
    """Whether its run came to its end, told by the last member alone. False where :func:`read` has to be asked."""
    with _opened(path) as stream:
        start = max(0, stream.seek(0, os.SEEK_END) - _LONGEST_END)
        stream.seek(start)
        tail = stream.read()
    place = tail.rfind(_head(0)[:4])
    member = tail[place:] if place >= 0 else b""
    if member[: _GZIP.size] != _head(len(member)):
        return False
    try:
        return b'"run_ended"' in zlib.decompress(member, wbits=31)
    except zlib.error:
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
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


def _members(path: Path) -> Iterator[Tuple[int, List[bytes]]]:
    """The lines of each gzip member, with where it ends in the file. Ends at a member that is cut off."""
    with _opened(path) as stream:
        while True:
            head = stream.read(_GZIP.size)
            if len(head) < _GZIP.size:
                return
            length = _length_of(path, head)
            member = head + stream.read(length - len(head))
            if len(member) < length:
                return
            try:
                text = zlib.decompress(member, wbits=31)
            except zlib.error as exc:
                raise damaged(path, str(exc)) from exc
            yield stream.tell(), text.splitlines(keepends=True)


def _parsed(path: Path, line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8", "surrogatepass"))
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def _header(path: Path, head: Mapping[str, Any]) -> Header:
    if head.get("format") != FORMAT:
        raise damaged(path, f"it is no {FORMAT}")
    if head.get("version") != VERSION:
        raise StoreError(
            f"it is of version {head.get('version')}, this is version {VERSION}",
            operation="read archive",
            subject=str(path),
            hint="use the version of baileys-resilience that wrote it, or a later one",
        )
    names = ("run", "at", "policy", "database", "table")
    try:
        columns = [(str(name), str(kind)) for name, kind in head["columns"]]
        return Header(**{name: str(head[name]) for name in names}, columns=columns)
    except (KeyError, TypeError, ValueError) as exc:
        raise damaged(path, f"its beginning lacks {exc}") from exc


def _batch(archive: Archive, head: Mapping[str, Any], lines: Sequence[bytes], rows: List[Row]) -> Batch:
    path = archive.path
    if len(rows) != head.get("rows") or hashlib.sha256(b"".join(lines)).hexdigest() != head.get("sha256"):
        raise damaged(path, f"the checksum of batch {head['batch']} does not fit")
    if any(not isinstance(row, list) or len(row) != len(archive.header.columns) for row in rows):
        raise damaged(path, f"a row of batch {head['batch']} is not one of its table")
    names = {"company": str, "type": str, "identity": str, "epoch": int, "xid": str}
    try:
        values: Dict[str, Any] = {name: kind(head[name]) for name, kind in names.items()}
    except (KeyError, TypeError, ValueError) as exc:
        raise damaged(path, f"batch {head['batch']} lacks {exc}") from exc
    return Batch(int(head["batch"]), key_type=values.pop("type"), rows=rows, **values)


def damaged(path: Path, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"the archive is damaged: {cause}",
        operation="read archive",
        subject=str(path),
        hint="nothing was put back from it; take the file from a backup of this host",
    )


def expire(directory: Path, keep_days: float, at: str) -> List[str]:
    """Remove archives of runs that are older than that ``at`` (the server's clock). Returns their runs."""
    removed = []
    for run in runs(directory):
        stamp = run.split("-")[1]
        began = from_iso(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}Z")
        if (from_iso(at) - began).total_seconds() <= keep_days * 86400:
            continue
        remove(path_of(directory, run))
        removed.append(run)
    return removed


def remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as exc:
        raise translate_os_error(exc, "remove archive", path) from exc
