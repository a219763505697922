# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a cleanup removes, kept: one file a run (docs/formats/cleanup.md says what is in it).

A batch is on disk before its deletion commits, so a row is in the table or in the archive at any moment, and after a
kill perhaps in both. Each batch is a member of its own (members.py), encrypted where there is a key (cipher.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..clock import from_iso
from ..errors import Misconfigured, StoreError, UsageError
from ..files import FILE_MODE, fsync_directory, make_private_directory, translate_os_error
from .cipher import CIPHER, CONTENT, END, Cipher, encryption_with
from .cipher import VERSION as CIPHER_VERSION
from .keyfile import NO_KEYS, ArchiveKeys
from .members import Members, Packer, damaged

FORMAT = "baileys-resilience/cleanup-archive"
VERSION = 1
SUFFIX = ".jsonl.gz"
ENCRYPTED_SUFFIX = f"{SUFFIX}.enc"
COMMITTED, ROLLED_BACK = "committed", "rolled_back"
KEEP_DAYS = 90.0

_RUN = re.compile(r"cleanup-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")
#: fast, and keys are random bytes that no level makes much smaller
_LEVEL = 3

Row = List[Optional[str]]
_in_quotes = json.JSONEncoder(ensure_ascii=False).encode
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
class BatchHeader:
    """Of a batch: keys of one company and type that were deleted in one transaction (``xid``), if it committed.
    ``identity`` and ``epoch`` tell whose keys they were.
    """

    number: int
    company: str
    key_type: str
    identity: str
    epoch: int
    xid: str


@dataclass
class Batch(BatchHeader):
    rows: List[Row]


class Rows:
    """Rows of a batch that is to be written. ``count`` of them, ``size`` in bytes as lines."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._sum = hashlib.sha256()
        self._packer = Packer(_LEVEL)

    def add(self, rows: Sequence[Sequence[Optional[str]]]) -> None:
        content = "".join([_line(row) for row in rows]).encode("utf-8", "surrogatepass")
        self.count, self.size = self.count + len(rows), self.size + len(content)
        self._sum.update(content)
        self._packer.add(content)

    def member(self, header: BatchHeader) -> bytes:
        head = {
            "batch": header.number,
            "company": header.company,
            "type": header.key_type,
            "identity": header.identity,
            "epoch": header.epoch,
            "xid": header.xid,
            "rows": self.count,
            "sha256": self._sum.hexdigest(),
        }
        return self._packer.member(_dump(head))


Sink = Callable[[Batch], None]


@dataclass
class Archive:
    """``keys``: number of keys that were deleted. ``ended``: how the run came to its end, empty where a kill was that.
    ``undecided``: the batch of which nobody has found out what became of it. ``good_bytes``: up to where it is whole.
    ``key``: id of the key that it is encrypted with, empty where it is not.
    """

    path: Path
    header: Header
    keys: int = 0
    ended: str = ""
    undecided: Optional[Batch] = None
    good_bytes: int = 0
    key: str = ""
    cipher: Optional[Cipher] = field(default=None, compare=False, repr=False)


def new_run(at: str) -> str:
    """``at``: the server's clock, which also says when the archive has expired."""
    return f"cleanup-{from_iso(at):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def path_of(directory: Path, run: str) -> Path:
    """Of the archive that is there, or would be in the clear. Raises UsageError for what is no run: it becomes a file's
    name.
    """
    if not _RUN.fullmatch(run):
        raise UsageError(
            "is no run of a cleanup",
            operation="find archive",
            subject=repr(run),
            hint="baileys-resilience cleanup archives lists those that are there",
        )
    encrypted = directory / f"{run}{ENCRYPTED_SUFFIX}"
    return encrypted if os.path.lexists(encrypted) else directory / f"{run}{SUFFIX}"


def runs(directory: Path) -> List[str]:
    """Oldest first."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise translate_os_error(exc, "list archives", directory) from exc
    found = {name.split(".")[0] for name in names if name.endswith((SUFFIX, ENCRYPTED_SUFFIX))}
    return sorted(name for name in found if _RUN.fullmatch(name))


class Writer:
    """Appends to one archive. When :meth:`batch` and :meth:`line` return, that is on disk."""

    def __init__(self, path: Path, stream: BinaryIO, cipher: Optional[Cipher] = None) -> None:
        self.path = path
        self._stream = stream
        self._cipher = cipher

    @staticmethod
    def create(directory: Path, header: Header, keys: ArchiveKeys = NO_KEYS) -> Writer:
        """Encrypted with the first of ``keys``. Raises NotWritable or NoSpace while nothing is deleted yet."""
        head = {"format": FORMAT, "version": VERSION, **asdict(header)}
        cipher = None
        if keys.first is not None:
            head["encryption"] = encryption_with(keys.first)
            cipher = Cipher(keys.first, head["encryption"], _member(_dump(head)))
        suffix = SUFFIX if cipher is None else ENCRYPTED_SUFFIX
        path = path_of(make_private_directory(directory), header.run).with_name(f"{header.run}{suffix}")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            writer = Writer(path, os.fdopen(descriptor, "wb", buffering=0))
            writer.line(head)
            writer._cipher = cipher
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
        return Writer(archive.path, stream, archive.cipher)

    def batch(self, header: BatchHeader, rows: Rows) -> None:
        self._write(rows.member(header))

    def outcome(self, number: int, outcome: str) -> None:
        """On disk with whatever is written next: where it is lost, PostgreSQL is asked for it again."""
        self._write(_member(_dump({"ended": number, "outcome": outcome})), durably=False)

    def line(self, content: Mapping[str, Any]) -> None:
        self._write(_member(_dump(content)), kind=END if "run_ended" in content else CONTENT)

    def _write(self, content: bytes, *, durably: bool = True, kind: int = CONTENT) -> None:
        member = memoryview(content if self._cipher is None else self._cipher.seal(content, kind))
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
    return Packer(_LEVEL).member(content)


def _dump(content: Any) -> bytes:
    return _ENCODER.encode(content).encode("utf-8", "surrogatepass") + b"\n"


def _line(row: Sequence[Optional[str]]) -> str:
    """The same of a row, in two thirds of the time."""
    return "[" + ",".join(["null" if text is None else _in_quotes(text) for text in row]) + "]\n"


def look(path: Path) -> Archive:
    """What everybody may read: the header, and which key it takes to read the rest. Raises VerificationFailed."""
    for _end, lines in Members(path):
        return _begun(path, _head_of(path, lines))
    raise damaged(path, "it has no beginning")


def read(path: Path, sink: Optional[Sink] = None, keys: ArchiveKeys = NO_KEYS) -> Archive:
    """Read all of an archive; ``sink`` gets each batch that was committed, one at a time. Raises VerificationFailed
    where it is damaged anywhere but at a cut end, Misconfigured where ``keys`` lack its key.
    """
    archive: Optional[Archive] = None
    members = Members(path)
    number = 0
    for end, lines in members:
        content = [_parsed(path, line) for line in lines]
        head: Dict[str, Any] = content[0] if content and isinstance(content[0], dict) else {}
        if archive is None:
            archive = _begun(path, head)
            archive.cipher = members.cipher = _cipher(archive, head, members.first, keys)
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


def _head_of(path: Path, lines: Sequence[bytes]) -> Dict[str, Any]:
    head = _parsed(path, lines[0]) if lines else {}
    return head if isinstance(head, dict) else {}


def _begun(path: Path, head: Mapping[str, Any]) -> Archive:
    header, encryption = _header(path, head), head.get("encryption")
    if encryption is None:
        return Archive(path, header)
    if not isinstance(encryption, dict) or not isinstance(encryption.get("key"), str):
        raise damaged(path, "its beginning does not say with which key it is encrypted")
    known = {"cipher": CIPHER, "version": CIPHER_VERSION}
    if {name: encryption.get(name) for name in known} != known:
        raise _of_another_version(path, "another encryption than this version knows")
    return Archive(path, header, key=encryption["key"])


def _cipher(archive: Archive, head: Mapping[str, Any], first: bytes, keys: ArchiveKeys) -> Optional[Cipher]:
    """None for an archive in the clear."""
    if not archive.key:
        return None
    key = keys.get(archive.key)
    if key is None:
        raise Misconfigured(
            f"it is encrypted with key {archive.key}, and {keys.described()}",
            operation="read archive",
            subject=str(archive.path),
            hint="name the file that holds this key (archive_key_file, --archive-key), or put the key into that file as"
            " a further line. Where it is lost, so is what this archive holds: move the file away, and cleanups go on",
        )
    try:
        return Cipher(key, head["encryption"], first)
    except ValueError as exc:
        raise damaged(archive.path, str(exc)) from exc


def _parsed(path: Path, line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8", "surrogatepass"))
    except ValueError as exc:
        raise damaged(path, str(exc)) from exc


def _header(path: Path, head: Mapping[str, Any]) -> Header:
    if head.get("format") != FORMAT:
        raise damaged(path, f"it is no {FORMAT}")
    if head.get("version") != VERSION:
        raise _of_another_version(path, f"version {head.get('version')}, this is version {VERSION}")
    names = ("run", "at", "policy", "database", "table")
    try:
        columns = [(str(name), str(kind)) for name, kind in head["columns"]]
        return Header(**{name: str(head[name]) for name in names}, columns=columns)
    except (KeyError, TypeError, ValueError) as exc:
        raise damaged(path, f"its beginning lacks {exc}") from exc


def _of_another_version(path: Path, what: str) -> StoreError:
    return StoreError(
        f"it is of {what}",
        operation="read archive",
        subject=str(path),
        hint="use the version of baileys-resilience that wrote it, or a later one",
    )


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


def expire(directory: Path, keep_days: float, at: str) -> List[str]:
    """Remove archives of runs that are older than that ``at`` (the server's clock). Returns their runs."""
    removed = []
    for run in runs(directory):
        stamp = run.split("-")[1]
        began = from_iso(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}Z")
        if (from_iso(at) - began).total_seconds() <= keep_days * 86400:
            continue
        for suffix in (SUFFIX, ENCRYPTED_SUFFIX):
            path = directory / f"{run}{suffix}"
            if os.path.lexists(path):
                remove(path)
        removed.append(run)
    return removed


def remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as exc:
        raise translate_os_error(exc, "remove archive", path) from exc
