# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is looked at beside the database and the applications: keys that may go, the disk, the ages of copies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ...errors import ResilienceError
from ...postgres import ConnectParams
from ...sessions.backup_age import BackupAges, read_backup_age
from ...sessions.mirror_age import MirrorAge, read_mirror_age
from ...sessions.model import TableMapping
from ...sessions.record import StoreRecord
from ..alerts.causes import MIRROR
from ..alerts.model import BACKUP, DATABASE, Subject
from ..alerts.readings import Aside, Backup, Disk, Keys, Mirror, Reading
from ..key_ages import KeyAges, read_key_ages
from .source import Look

#: after a count that failed; the next one would otherwise be an hour later
_KEYS_AGAIN_SECONDS = 300.0


class KeysSource:
    """Counts all keys, which takes the database a while: hourly, and within ``seconds`` for each answer."""

    name = "keys"
    quick = False

    def __init__(
        self,
        params: ConnectParams,
        tables: TableMapping,
        state_dir: Path,
        *,
        interval_seconds: float = 3600.0,
        older_than_days: float = 30.0,
        seconds: float = 60.0,
    ) -> None:
        self.subject = Subject(DATABASE, params.where)
        self.interval_seconds = interval_seconds
        self.limit_seconds = 10 * seconds
        self._params, self._tables, self._days, self._seconds = params, tables, older_than_days, seconds
        # The application's record is not ours to read; its copy in the database says the same.
        self._record = StoreRecord(state_dir / "no-record")

    def look(self) -> Look:
        try:
            found = read_key_ages(
                self._params, self._tables, self._record, older_than_days=self._days, seconds=self._seconds
            )
        except ResilienceError as error:
            return Look(self.failed(str(error)), again_seconds=min(_KEYS_AGAIN_SECONDS, self.interval_seconds))
        return Look([self._reading(found)], found)

    def _reading(self, found: KeyAges) -> Keys:
        removable = {
            company: sum(kind.removable for kind in each.keys.values()) for company, each in found.companies.items()
        }
        return Keys(self.subject, removable, found.total("older"), self._days, found.total_bytes)

    def failed(self, problem: str) -> List[Reading]:
        return [Keys(self.subject, problem=problem)]


@dataclass(frozen=True)
class DiskFigure:
    """Of the fullest of the file systems."""

    path: str
    used_percent: float
    free_bytes: int


class DiskSource:
    """File systems of a data directory on this host. Only statvfs sees a disk that fills: the server says nothing
    before it is full, and then stops.
    """

    name = "disk"
    quick = True
    limit_seconds = 3.0

    def __init__(self, subject: Subject, paths: Tuple[str, ...], *, interval_seconds: float = 5.0) -> None:
        self.subject = subject
        self.interval_seconds = interval_seconds
        self._paths = paths

    def look(self) -> Look:
        found = []
        for path in self._paths:
            try:
                found.append(disk_of(path))
            except OSError as error:
                return Look(self.failed(f"{path}: {error.strerror}"))
        fullest = max(found, key=lambda each: each.used_percent)
        return Look([Disk(self.subject, fullest.used_percent)], fullest)

    def failed(self, problem: str) -> List[Reading]:
        return [Disk(self.subject, problem=problem)]


def disk_of(path: str) -> DiskFigure:
    """As ``df`` counts it: of what anybody but root may use. Raises OSError."""
    status = os.statvfs(path)
    used = status.f_blocks - status.f_bfree
    usable = used + status.f_bavail
    percent = round(100.0 * used / usable, 1) if usable else 100.0
    return DiskFigure(path, percent, status.f_bavail * status.f_frsize)


class MirrorSource:
    """The age of the live mirror, by the file that the mirror publishes: this service may read nothing else of it."""

    name = "mirror"
    quick = False
    limit_seconds = 3.0

    def __init__(self, subject: Subject, status_file: str, *, interval_seconds: float = 5.0) -> None:
        self.subject = subject
        self.interval_seconds = interval_seconds
        self._file = Path(status_file)

    def look(self) -> Look:
        try:
            found: Optional[MirrorAge] = read_mirror_age(self._file)
        except ResilienceError as error:
            return Look(self.failed(str(error)))
        if found is None:
            return Look(self.failed(f"{self._file} is not there: the mirror never ran here, or does not publish it"))
        if found.aside:
            return Look([Aside(self.subject, (MIRROR,))], found)
        return Look([Mirror(self.subject, found.age_seconds, found.unusable)], found)

    def failed(self, problem: str) -> List[Reading]:
        return [Mirror(self.subject, problem=problem)]


class BackupSource:
    """The ages of backups, by the file that whatever makes them writes. ``usual_seconds`` is the limit of a kind that
    brings none of its own.
    """

    name = "backup"
    quick = False
    limit_seconds = 3.0

    def __init__(self, where: str, age_file: str, usual_seconds: float, *, interval_seconds: float = 5.0) -> None:
        self.subject = Subject(BACKUP, where)
        self.interval_seconds = interval_seconds
        self._file, self._usual_seconds = Path(age_file), usual_seconds

    def look(self) -> Look:
        try:
            found = read_backup_age(self._file)
        except ResilienceError as error:
            return Look(self.failed(str(error)))
        if found is None:
            return Look(self.failed(f"{self._file} is not there: no backup was made yet, or nothing writes its age"))
        return Look([self._worst(found)], found)

    def _worst(self, found: BackupAges) -> Backup:
        """That which is nearest to its limit, or furthest beyond it."""
        judged = [
            (age / (found.limits.get(kind) or self._usual_seconds), kind, age)
            for kind, age in sorted(found.ages.items())
        ]
        if not judged:
            return Backup(self.subject)
        _ratio, kind, age = max(judged)
        return Backup(self.subject, age, kind=kind, limit_seconds=found.limits.get(kind))

    def failed(self, problem: str) -> List[Reading]:
        return [Backup(self.subject, problem=problem)]
