# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the session client of an application keeps on disk: the cache and journal of each company (docs/formats.md).

The cache is the whole session as it was when an outage began, or when its process ended in order; the journal is what
was written since. Together they are what the process has in memory, whether it lives or not. The directory is that of
the application's user: nothing in it is followed, and nothing is believed without its checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote, unquote

from .. import guarded
from ..clock import from_iso, now_iso, to_iso
from ..errors import ResilienceError, StoreError, UsageError
from ..files import translate_os_error
from .model import KeySink, RawCreds, RawKey, SourceInfo

JOURNAL_FORMAT = "baileys-resilience/client-journal"
CACHE_FORMAT = "baileys-resilience/client-cache"
COPY_FORMAT = "baileys-resilience/client-copy"
#: behind the name of the company's directory
COPY_SUFFIX = ".copy"
VERSION = 1

#: a client that ends an outage removes both files, and one that begins the next makes both: between two looks
_LOOKS = 3
_CHECKSUM_LENGTH = 16
_HOST_LENGTH = 30
_NAME_LENGTH = 32
# encodeURIComponent leaves these as they are
_PLAIN = "!'()*~"

Name = Tuple[str, str]
_CREDS: Name = ("creds", "")


@dataclass(frozen=True)
class ClientCopy:
    """One company as its client left it.

    ``outage`` is empty where there was none: then it is a session that ended in order, while its database served.
    ``tokens`` are those under which it may have written to PostgreSQL. ``written_at`` is when the newest of it was
    written; ``alive`` whether the process is there that writes it.
    """

    company: str
    epoch: int
    outage: str
    tokens: Tuple[str, ...]
    began_at: str
    written_at: str
    alive: bool
    creds: bytes
    keys: Mapping[Name, bytes] = field(repr=False)
    #: everything that was written since the outage began, older versions too; ("creds", "") are the creds
    written: Sequence[Tuple[Name, bytes]] = field(repr=False, default=())

    @property
    def counts(self) -> Dict[str, int]:
        counts: Dict[str, int] = {}
        for key_type, _id in self.keys:
            counts[key_type] = counts.get(key_type, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def snapshot_at(self) -> str:
        """Until when nothing of this session is missing here."""
        return now_iso() if self.alive else self.written_at


class ClientFiles:
    """The directory of one application's client as a :class:`model.SessionSource`. Each company is read once."""

    def __init__(self, directory: Path, epochs: Optional[Mapping[str, int]] = None) -> None:
        self.directory = directory
        self._epochs = dict(epochs or {})
        self._read: Dict[str, ClientCopy] = {}

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("journal", str(self.directory), now_iso())

    def info_of(self, company: str) -> SourceInfo:
        copy = self.copy(company)
        epoch = self._epochs.get(company, copy.epoch)
        return SourceInfo("journal", str(self.directory), copy.snapshot_at, None, epoch)

    def companies(self) -> List[str]:
        """Companies of which there is a cache or a journal."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise translate_os_error(exc, "look into", self.directory) from exc
        found = {name.rpartition(".")[0] for name in names if name.endswith((".cache", ".journal"))}
        return sorted(unquote(name) for name in found)

    def copy(self, company: str) -> ClientCopy:
        """Raises StoreError for what is missing, damaged, or not of one outage."""
        if company not in self._read:
            self._read[company] = read_copy(self.directory, company)
        return self._read[company]

    def creds(self, company: str) -> Optional[RawCreds]:
        copy = self.copy(company)
        return RawCreds(copy.creds, copy.written_at)

    def stream_keys(self, company: str, sink: KeySink) -> None:
        for (key_type, key_id), content in self.copy(company).keys.items():
            sink(RawKey(key_type, key_id, content, None))


def read_copy(directory: Path, company: str) -> ClientCopy:
    """The session of one company from its cache and journal, while its process may be writing them."""
    stem = quote(company, safe=_PLAIN)
    try:
        descriptor = guarded.open_directory(directory)
    except OSError as exc:
        raise translate_os_error(exc, "open directory of the client", directory) from exc
    try:
        for look in range(1, _LOOKS + 1):
            try:
                return _read_once(descriptor, stem, company)
            except _Changing as exc:
                if look == _LOOKS:
                    raise _refused(company, str(exc)) from exc
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
                # Whole by its checksum, and yet of another shape: no client of ours wrote it. Not its text, which may
                # be a key.
                raise _refused(company, f"cache or journal cannot be read: {type(exc).__name__}") from None
    finally:
        os.close(descriptor)
    raise AssertionError("unreachable")


@dataclass(frozen=True)
class HandedOver:
    """A copy in one file that a client made when it was asked for one."""

    sha256: str
    epoch: int
    snapshot_at: str
    creds: bytes
    keys: Mapping[Name, bytes] = field(repr=False)


def read_handed_over(directory: Path, company: str) -> HandedOver:
    """Raises StoreError for what is missing, damaged, or no copy of this company."""
    name = f"company_{quote(company, safe=_PLAIN)}{COPY_SUFFIX}"
    try:
        descriptor = guarded.open_directory(directory)
        try:
            first, _newline, body = guarded.read_at(descriptor, name).partition(b"\n")
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise translate_os_error(exc, "read the client's copy", directory / name) from exc
    try:
        header = _header(first, COPY_FORMAT, company, "copy")
        creds, keys = _read_body(header, body, company, "copy")
        moment = str(header["snapshot_at"])  # as it is: its client is held to that word
        from_iso(moment)
        return HandedOver(str(header["sha256"]), int(header["epoch"]), moment, creds, keys)
    except (UsageError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _refused(company, f"the copy cannot be read: {type(exc).__name__}") from None


class _Changing(Exception):
    """The two files are not of one moment."""


def _read_once(directory: int, stem: str, company: str) -> ClientCopy:
    cache, cache_at = _content(directory, f"{stem}.cache")
    journal, journal_at = _content(directory, f"{stem}.journal")
    if cache is None and journal is None:
        raise StoreError(
            "its client has left no cache and no journal",
            operation="read what the client left of company",
            subject=company,
            hint="there is one during an outage, and after an end in order; otherwise the database has everything",
        )
    if cache is None:
        raise _Changing("there is a journal without the cache that it goes on from")
    header, creds, keys = _read_cache(cache, company)
    outage = header["outage"] or ""
    written: List[Tuple[Name, bytes]] = []
    tokens = list(header["tokens"])
    # Who starts from the cache of an end in order names its outage so, and may end before it has replaced that cache.
    begun = _digest(f"{header['last_contact']} {header['sha256']}".encode())[:_NAME_LENGTH]
    if outage and journal is None:
        raise _Changing("the journal of its outage is gone")
    if journal is not None:
        first, lines = _read_journal(journal, company)
        if first["outage"] != (outage or begun):
            raise _Changing("cache and journal are not of one outage")
        outage = first["outage"]
        tokens += first["tokens"]
        written = _replay(lines, keys, tokens)
        creds = dict(written).get(_CREDS, creds)
        header = {**first, "last_contact": header["last_contact"]}
    return ClientCopy(
        company, int(header["epoch"]), outage, tuple(dict.fromkeys(tokens)),
        _iso(header.get("began_at") or header["last_contact"]), _moment(max(cache_at, journal_at)),
        _is_alive(directory, stem), creds, keys, written,
    )  # fmt: skip


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(directory: int, name: str) -> Tuple[Optional[bytes], float]:
    """A file's bytes and when it was last written; (None, 0) where there is none."""
    try:
        written = os.lstat(name, dir_fd=directory).st_mtime
        return guarded.read_at(directory, name), written
    except FileNotFoundError:
        return None, 0.0
    except OSError as exc:
        raise translate_os_error(exc, "read what the client left", name) from exc


def _read_cache(content: bytes, company: str) -> Tuple[Dict[str, Any], bytes, Dict[Name, bytes]]:
    first, _newline, body = content.partition(b"\n")
    header = _header(first, CACHE_FORMAT, company, "cache")
    return (header, *_read_body(header, body, company, "cache"))


def _read_body(header: Mapping[str, Any], body: bytes, company: str, what: str) -> Tuple[bytes, Dict[Name, bytes]]:
    if _digest(body) != header.get("sha256"):
        raise _refused(company, f"the {what} was cut off or changed after it was written")
    creds = b""
    keys: Dict[Name, bytes] = {}
    for line in body.split(b"\n")[:-1]:
        key_type, key_id, text = json.loads(line)
        if key_type == "creds" and not key_id:
            creds = _bytes(text, company)
        else:
            keys[(key_type, key_id)] = _bytes(text, company)
    if not creds or len(keys) != header.get("keys"):
        raise _refused(company, f"the {what} holds no whole session")
    return creds, keys


def _read_journal(content: bytes, company: str) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """The first line and the others. A last one that a crash cut off counts as not written; nothing after a damaged one
    is believed, so that damage elsewhere refuses the journal.
    """
    lines = content.split(b"\n")[:-1]
    good = [_journal_line(line) for line in lines]
    while good and good[-1] is None:
        good.pop()
        if len(lines) - len(good) > 1:
            raise _refused(company, f"the journal was damaged or changed in line {len(good) + 1}")
    if None in good:
        raise _refused(company, f"the journal was damaged or changed in line {good.index(None) + 1}")
    if not good:
        raise _Changing("the journal has no first line")
    texts = [text for text in good if text is not None]
    return _header(texts[0], JOURNAL_FORMAT, company, "journal"), [json.loads(text) for text in texts[1:]]


def _journal_line(line: bytes) -> Optional[bytes]:
    checksum, space, text = line.partition(b" ")
    whole = space and hashlib.sha256(text).hexdigest()[:_CHECKSUM_LENGTH] == checksum.decode("ascii", "replace")
    return text if whole else None


def _header(line: bytes, expected: str, company: str, what: str) -> Dict[str, Any]:
    try:
        header = json.loads(line)
        known = header.get("format") == expected and header.get("version") == VERSION
    except (ValueError, AttributeError) as exc:
        raise _refused(company, f"the {what} has no first line that can be read") from exc
    if not known:
        raise _refused(company, f"the {what} is not {expected} of version {VERSION}")
    if header["company"] != company:
        raise _refused(company, f"the {what} is of company {header['company']}")
    return dict(header)


def _replay(lines: List[Dict[str, Any]], keys: Dict[Name, bytes], tokens: List[str]) -> List[Tuple[Name, bytes]]:
    """Brings ``keys`` up to the journal's end; returns what was written, in order."""
    written: List[Tuple[Name, bytes]] = []
    for line in lines:
        for key_type, key_id, text, *_base in line.get("changes") or ():
            if text is None:
                keys.pop((key_type, key_id), None)
            else:
                keys[(key_type, key_id)] = _bytes(text, key_type)
                written.append(((key_type, key_id), keys[(key_type, key_id)]))
        if line.get("creds") is not None:
            written.append((_CREDS, _bytes(line["creds"], "creds")))
        if line.get("token"):
            tokens.append(line["token"])
    return written


def _bytes(text: str, subject: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise _refused(subject, "it holds text that is no Unicode") from exc


def _is_alive(directory: int, stem: str) -> bool:
    """Whether the process of this host lives that has the session: ``wa-session/<host>/<pid>/<random>``."""
    try:
        owner = guarded.read_at(directory, f"{stem}.owner").decode("utf-8")
        _prefix, host, pid, _random = owner.split("/")
        # After a boot the number may be that of any other process: one that began before it wrote this is not.
        began = _began_at(int(pid))
        return host == _this_host() and began <= os.lstat(f"{stem}.owner", dir_fd=directory).st_mtime + 1.0
    except (OSError, ValueError, IndexError, ResilienceError):
        return False


def _began_at(pid: int) -> float:
    """When a process of this host began, in seconds since 1970. Raises OSError when it is gone."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
        ticks = int(stream.read().rpartition(")")[2].split()[19])
    with open("/proc/stat", encoding="ascii") as stream:
        booted = next(int(line.split()[1]) for line in stream if line.startswith("btime "))
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def _this_host() -> str:
    """As the client writes it."""
    return re.sub(r"[^\w.-]", "_", socket.gethostname(), flags=re.ASCII)[:_HOST_LENGTH]


def _iso(text: str) -> str:
    return to_iso(from_iso(text))


def _moment(seconds: float) -> str:
    return to_iso(datetime.fromtimestamp(seconds, timezone.utc))


def _refused(company: str, why: str) -> StoreError:
    return StoreError(
        why,
        operation="read what the client left of company",
        subject=company,
        hint="it is not used; another source has to serve",
    )
