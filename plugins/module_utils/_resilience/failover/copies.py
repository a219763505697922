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
from typing import Iterator, List, Tuple

from .. import guarded
from ..clock import to_iso
from ..sessions.guarded_home import PRIVATE_DIRECTORY, RUNS
from ..sessions.record import FILES, StoreRecord
from .envfile import EnvFile
from .settings import FailoverSettings

ABANDONED_SECONDS = 24 * 3600.0
#: a write of .env takes milliseconds
UNFINISHED_SECONDS = 60.0


@dataclass(frozen=True)
class Copy:
    """``kind``: live (the store of record), exported, previous, staging, mirror, or env (what a killed write of .env
    left). ``expires_at`` is empty for what stays.
    """

    kind: str
    path: str
    files: int
    bytes: int
    owner: str
    mode: str
    expires_at: str = ""


def list_copies(settings: FailoverSettings) -> List[Copy]:
    return [_describe(kind, path, expires_at) for kind, path, expires_at in _places(settings)]


def expire_copies(settings: FailoverSettings) -> List[Path]:
    """Remove replaced directories past their expiry, staging that a day-old run left, and what killed writes of .env
    left. Returns what was removed.
    """
    home = settings.home()
    removed = EnvFile(settings.application.env_path).remove_leftovers(UNFINISHED_SECONDS)
    if not home.private.is_dir():
        return removed
    with home.locked():
        removed.extend(home.expire_previous())
        with home.opened(PRIVATE_DIRECTORY, RUNS) as runs:
            for name in os.listdir(runs):
                if time.time() - os.lstat(name, dir_fd=runs).st_mtime > ABANDONED_SECONDS:
                    guarded.remove(runs, name)
                    removed.append(home.private / RUNS / name)
    return removed


def _places(settings: FailoverSettings) -> Iterator[Tuple[str, Path, str]]:
    home = settings.home()
    stores = StoreRecord(settings.state).all()
    for company in home.companies():
        entry = stores.get(company)
        yield ("live" if entry and entry.store == FILES else "exported"), home.directory(company), ""
    for name, kind in (("previous", "previous"), ("staging", "staging"), ("runs", "staging")):
        place = home.private / name
        for each in sorted(place.iterdir()) if place.is_dir() else ():
            if kind == "previous" and not each.name.rsplit(".", 1)[-1].isdigit():
                yield kind, each, ""  # without a time in its name nothing removes it
            else:
                seconds = home.previous_expiry_seconds if kind == "previous" else ABANDONED_SECONDS
                yield kind, each, _expiry(each, seconds)
    if settings.mirror_dir and Path(settings.mirror_dir).is_dir():
        yield "mirror", Path(settings.mirror_dir), ""
    for left in EnvFile(settings.application.env_path).leftovers():
        yield "env", left, _expiry(left, UNFINISHED_SECONDS)


def _expiry(path: Path, seconds: float) -> str:
    moment = path.name.rsplit(".", 1)[-1]
    born = int(moment) / 1e9 if moment.isdigit() else path.stat().st_mtime
    return to_iso(datetime.fromtimestamp(born + seconds, timezone.utc))


def _describe(kind: str, path: Path, expires_at: str) -> Copy:
    status = path.lstat()
    number, size = (0, 0) if stat.S_ISDIR(status.st_mode) else (1, status.st_size)
    for directory, _directories, names in os.walk(path):
        for name in names:
            number += 1
            size += os.lstat(os.path.join(directory, name)).st_size
    return Copy(kind, str(path), number, size, _owner(status.st_uid), f"{stat.S_IMODE(status.st_mode):04o}", expires_at)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
