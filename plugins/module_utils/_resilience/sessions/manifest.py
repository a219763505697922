# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The manifest of one exported company: JSON lines, a header, one line a file, a footer (docs/formats.md).

It lives in the company's directory, so that one rename moves files and manifest together and a plain copy of the
directory keeps it. A manifest without its footer, or whose footer does not match, was cut off and counts as none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .. import guarded
from ..errors import VerificationFailed
from ..files import translate_os_error
from .model import SourceInfo

FORMAT = "baileys-resilience/manifest"
VERSION = 1
MANIFEST_FILE = ".resilience-manifest.jsonl"
CREDS_TYPE = "creds"
#: lines that are written and read together: quicker than one by one, and memory stays flat
LINES_AT_ONCE = 512
#: of one file; a session of 100,000 keys that is a single row is less
_LARGEST_FILE = 256 * 1024 * 1024
# Entries are encoded many at once, which takes half the time of one by one. No string in JSON holds a line break as it
# stands, so this separator can be told from whatever an entry holds.
_SEPARATOR = ",\n"
_ENTRIES_ENCODER = json.JSONEncoder(separators=(_SEPARATOR, ":"))


class Entry(NamedTuple):
    """One file: ``sha256`` and ``size`` (bytes) are of the file's content; ``updated_at`` is the row's, ISO 8601 or
    None.
    """

    type: str
    id: str
    file: str
    sha256: str
    size: int
    updated_at: Optional[str]


@dataclass(frozen=True)
class Header:
    company: str
    source: SourceInfo
    exported_at: str


@dataclass
class Totals:
    """What the footer holds: ``counts`` by key type (creds not counted), ``keys`` their sum, ``bytes`` of all files
    with creds.
    """

    counts: Dict[str, int] = field(default_factory=dict)
    keys: int = 0
    bytes: int = 0

    def add(self, entry: Entry) -> None:
        self.bytes += entry.size
        if entry.type != CREDS_TYPE:
            self.counts[entry.type] = self.counts.get(entry.type, 0) + 1
            self.keys += 1


class ManifestWriter:
    """Writes the lines as files are written; :meth:`finish` seals it and returns the SHA256 of the whole manifest."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.totals = Totals()
        first = {"format": FORMAT, "version": VERSION, "company": header.company, "exported_at": header.exported_at}
        self._pending: List[Entry] = []
        self._write(json.dumps({**first, "source": asdict(header.source)}, sort_keys=True) + "\n")

    def add(self, entry: Entry) -> None:
        self.totals.add(entry)
        self._pending.append(entry)
        if len(self._pending) >= LINES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand what was added to the stream."""
        if self._pending:
            self._write(_lines(self._pending))
            self._pending.clear()

    def _write(self, text: str) -> None:
        lines = text.encode("ascii")
        self._hash.update(lines)
        self._stream.write(lines)

    def finish(self) -> str:
        self.flush()
        digest = self._hash.hexdigest()
        footer = {
            "end": True,
            "counts": self.totals.counts,
            "keys": self.totals.keys,
            "bytes": self.totals.bytes,
            "sha256": digest,
        }
        self._stream.write(json.dumps(footer, sort_keys=True).encode() + b"\n")
        return digest


def _lines(entries: List[Entry]) -> str:
    """A line for each entry, an array without spaces."""
    lines = _ENTRIES_ENCODER.encode(entries)[1:-1].replace(f"]{_SEPARATOR}[", "]\n[")
    return lines.replace(_SEPARATOR, ",") + "\n"


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read whole and checked."""

    path: Path
    header: Header
    totals: Totals
    sha256: str

    def entries(self) -> Iterator[Entry]:
        """The entries in file order, read again from disk so that memory stays flat."""
        with guarded.open_file(self.path) as stream:
            stream.readline()
            for lines, _footers in _chunks(stream):
                yield from _entries(lines)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises VerificationFailed when it is missing, cut off, changed or of another kind."""
    return _read_checked(path, lambda _entry: None)


def read_entries(path: Path) -> Tuple[Manifest, List[Entry]]:
    """The same with all entries, read once: for one company at a time, since they are all in memory."""
    entries: List[Entry] = []
    return _read_checked(path, entries.append), entries


def _read_checked(path: Path, see: Callable[[Entry], None]) -> Manifest:
    try:
        with guarded.open_file(path) as stream:
            return _read(path, stream, see)
    except FileNotFoundError as exc:
        raise _bad(path, "there is no manifest") from exc
    except OSError as exc:
        raise translate_os_error(exc, "read manifest", path) from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _bad(path, f"the manifest cannot be read: {exc}") from exc


def _read(path: Path, stream: BinaryIO, see: Callable[[Entry], None]) -> Manifest:
    digest = hashlib.sha256()
    first = stream.readline()
    header = json.loads(first or b"{}")
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise _bad(path, f"not a {FORMAT} of version {VERSION}")
    digest.update(first)
    totals = Totals()
    footer: Dict[str, Any] = {}
    for lines, others in _chunks(stream):
        digest.update(b"".join(lines))
        for entry in _entries(lines):
            totals.add(entry)
            see(entry)
        for line in others:
            footer = json.loads(line)
    if not footer.get("end"):
        raise _bad(path, "the manifest was cut off")
    if footer["sha256"] != digest.hexdigest() or footer["keys"] != totals.keys:
        raise _bad(path, "the manifest was changed after it was written")
    source = SourceInfo(**header["source"])
    company, exported_at = header["company"], header["exported_at"]
    if not isinstance(source.epoch, int) or not all(isinstance(each, str) for each in (company, exported_at)):
        raise ValueError("a value of the header is of another type")
    return Manifest(path, Header(company, source, exported_at), totals, footer["sha256"])


def _chunks(stream: BinaryIO) -> Iterator[Tuple[List[bytes], List[bytes]]]:
    """Some lines at a time: those of entries, and others."""
    while True:
        lines = list(islice(stream, LINES_AT_ONCE))
        if not lines:
            return
        yield [line for line in lines if line[:1] == b"["], [line for line in lines if line[:1] != b"["]


def _entries(lines: List[bytes]) -> Iterator[Entry]:
    """Parsed as one array: a call of the parser for each line would cost more than the parsing.

    Whoever may write to the directory may have written this, and root opens what it names: names in that directory.
    """
    for fields in json.loads(b"[" + b",".join(lines) + b"]"):
        entry = Entry(*fields)
        if "/" in entry.file or "\0" in entry.file or not 0 <= entry.size <= _LARGEST_FILE:
            raise ValueError("an entry is of no file of the directory")
        yield entry


def _bad(path: Path, cause: str) -> VerificationFailed:
    return VerificationFailed(
        cause,
        operation="read manifest",
        subject=str(path),
        hint="export again; to import files that have no manifest set accept_without_manifest",
    )
