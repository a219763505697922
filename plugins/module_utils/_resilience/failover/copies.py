# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Every copy of session data that this library keeps on the host: where, whose, how open, until when."""

from __future__ import annotations

import os
import pwd
import stat
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator, List, Mapping, NamedTuple, Optional

from ..clock import from_iso, to_iso
from ..errors import NotWritable
from ..sessions.directory_store import SessionsHome, replaced_at
from ..sessions.manifest import MANIFEST_FILE
from ..sessions.record import CLEANUP_ARCHIVES, FILES, StoreOfRecord, StoreRecord
from ..steps.lease import HostLease
from .envfile import EnvFile
from .settings import FailoverSettings

ABANDONED_SECONDS = 24 * 3600.0
#: a write of .env takes milliseconds
UNFINISHED_SECONDS = 60.0


@dataclass(frozen=True)
class Copy:
    """``kind``: live (the store of record), exported, previous, staging, mirror, client (what the application's client
    keeps), archive (what a cleanup deleted), or env (what a killed write of .env left). ``expires_at`` is empty for
    what stays; ``rule`` says why it stays, or what it waits for.
    """

    kind: str
    path: str
    files: int
    bytes: int
    owner: str
    mode: str
    expires_at: str = ""
    rule: str = ""


class _Place(NamedTuple):
    """``ends`` in seconds since 1970; None for what stays."""

    kind: str
    path: Path
    ends: Optional[float]
    rule: str


def list_copies(settings: FailoverSettings) -> List[Copy]:
    return [_describe(each) for each in _places(settings)]


def expire_copies(settings: FailoverSettings) -> List[Path]:
    """Remove what is past its expiry. Returns what was removed. Of the sessions nothing is removed while a run is open:
    its copies may be the only ones. Raises NotWritable when something that has expired cannot be removed, Busy during
    an export.
    """
    home = settings.home()
    removed = EnvFile(settings.application.env_path).remove_leftovers(UNFINISHED_SECONDS)
    if not home.private.is_dir() or HostLease(settings.state).current() is not None:
        return removed
    with home.locked():
        # Looked at under the lock: an export that ends meanwhile puts a new directory in an old one's place.
        now = time.time()
        expired = [each.path for each in _places(settings) if each.ends is not None and each.ends < now]
        for path in expired:
            home.remove(path)
    left = [path for path in expired if path.exists()]
    if left:
        raise NotWritable(
            "has expired and cannot be removed",
            operation="expire copies",
            subject=str(left[0]),
            hint="remove it as root, or let this command write there (ReadWritePaths of its unit, owner and mode)",
        )
    return [*removed, *expired]


def _places(settings: FailoverSettings) -> Iterator[_Place]:
    home = settings.home()
    stores = StoreRecord(settings.state).all()
    for company in home.companies():
        yield _company_place(settings, home, company, stores)
    for path in _entries(home.private / "previous"):
        replaced = replaced_at(path)
        if replaced is None:
            yield _Place("previous", path, None, "stays: its name has no time, so it is not of this library")
        else:
            yield _Place("previous", path, replaced + home.previous_expiry_seconds, "a week after it was replaced")
    for name in ("staging", "runs"):
        for path in _entries(home.private / name):
            yield _Place("staging", path, path.stat().st_mtime + ABANDONED_SECONDS, "with its run, at most a day")
    if settings.mirror_dir and Path(settings.mirror_dir).is_dir():
        rule = "follows PostgreSQL; of a company on files a week, of a lost one until acknowledged"
        yield _Place("mirror", Path(settings.mirror_dir), None, rule)
    if settings.client_dir and Path(settings.client_dir).is_dir():
        yield from _client_places(Path(settings.client_dir))
    for path in _entries(settings.state / CLEANUP_ARCHIVES):
        how = "encrypted; " if path.suffix == ".enc" else ""
        rule = f"{how}a later cleanup removes it: 90 days after its run, or as it is told"
        yield _Place("archive", path, None, rule)
    for left in EnvFile(settings.application.env_path).leftovers():
        ends = left.lstat().st_mtime + UNFINISHED_SECONDS
        yield _Place("env", left, ends, "what a killed write left: a minute")


def _client_places(directory: Path) -> Iterator[_Place]:
    """Never removed here: journal and cache are the client's, and what it has put aside is for a human."""
    for path in _entries(directory):
        if ".refused-" in path.name:
            yield _Place("client", path, None, "stays until a human has looked: the client would not replay it")
        elif path.name.endswith((".cache", ".journal")):
            yield _Place("client", path, None, "until the client's database is equal to its memory")
        elif path.name == "exports":
            for export in _entries(path):
                yield _Place("client", export, None, "until the client is asked for the next one")


def _company_place(
    settings: FailoverSettings, home: SessionsHome, company: str, stores: Mapping[str, StoreOfRecord]
) -> _Place:
    """A directory in an application's sight is removed only when everything says that it is a leftover of ours."""
    path, entry = home.directory(company), stores.get(company)
    if entry is not None and entry.store == FILES:
        return _Place("live", path, None, "stays: the store of record")
    why = ""
    if entry is None or not entry.since:
        # An empty record is also what a host has that lost it: then these files may be the session itself.
        why = "nothing records where this company lives"
    elif company not in settings.companies:
        why = "the company is not on this host's list"
    elif not (path / MANIFEST_FILE).exists():
        why = "it has no manifest, so it is not of this library"
    if why or entry is None:
        return _Place("exported", path, None, f"stays: {why}")
    # Whoever still writes there keeps it.
    used = max(from_iso(entry.since).timestamp(), _last_change(path))
    return _Place("exported", path, used + home.previous_expiry_seconds, "a week after its last use")


def _last_change(path: Path) -> float:
    return max(each.lstat().st_mtime for each in (path, *path.iterdir()))


def _entries(place: Path) -> List[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def _describe(place: _Place) -> Copy:
    path = place.path
    status = path.lstat()
    number, size = (0, 0) if stat.S_ISDIR(status.st_mode) else (1, status.st_size)
    for directory, _directories, names in os.walk(path):
        for name in names:
            number += 1
            size += os.lstat(os.path.join(directory, name)).st_size
    ends = "" if place.ends is None else to_iso(datetime.fromtimestamp(place.ends, timezone.utc))
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return Copy(place.kind, str(place.path), number, size, _owner(status.st_uid), mode, ends, place.rule)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
