# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is seen goes into the history, which says what is usual. Its disk is waited for in a lane of its own."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...clock import utc_now
from ...errors import ResilienceError
from ...progress import Progress
from ...sessions.backup_age import BackupAges
from ...sessions.mirror_age import MirrorAge
from ..alerts.model import BACKUP, CLIENT, DATABASE, PGBOUNCER, REPLICA, Moment, Notice, Subject
from ..alerts.readings import P95, Latencies, Reading
from ..history import RANGES, Event, HistorySettings, HistoryWarning, Reader, Recorder, Window
from ..history.model import Percentiles
from ..key_ages import KeyAges
from .bouncer import BouncerFigure
from .client_times import ClientTimes
from .clients import ClientFigure
from .configuration import MonitorSettings
from .database import DatabaseFigure
from .source import Look
from .surroundings import DiskFigure

HISTORY_FILE = "history.sqlite3"
#: often enough that one look which fails is not yet a lack of data
_LOOK_SECONDS = 20.0
_FLUSH_SECONDS = 60.0
#: what was usual is asked for so often
_USUAL_EVERY_SECONDS = 600.0
#: what is now; what was usual in the week before the last day, which hours of slowness have not made usual yet; and how
#: many values make something usual
_NOW_SECONDS = 900.0
_DAY_SECONDS = 86400.0
_USUAL_SECONDS = 8 * _DAY_SECONDS
_LEAST_USUAL = 720
Figure = Tuple[str, str, float]


class Memory:
    """An observer of the watch, and a source: its look writes what was seen since the last one."""

    name = "history"
    quick = False
    interval_seconds = _LOOK_SECONDS
    limit_seconds = 30.0

    def __init__(self, recorder: Recorder, path: Path, database: Subject, clients: Sequence[Subject] = ()) -> None:
        self._recorder, self._database = recorder, database
        self._subjects, self._client_times = (database, *clients), ClientTimes()
        self.path, self.reader = path, Reader(path)
        #: how often it was written: what was read since the last time is still true
        self.written = 0
        self._flushed_at = self._asked_at = -_DAY_SECONDS
        self._usual: Dict[Tuple[str, str], Percentiles] = {}

    @staticmethod
    def open(
        directory: Path, days: int, database: Subject, clients: Sequence[Subject] = ()
    ) -> Tuple[Memory, List[HistoryWarning]]:
        """Raises what :meth:`Recorder.open` raises."""
        path = directory / HISTORY_FILE
        recorder, warnings = Recorder.open(path, HistorySettings(days=days))
        return Memory(recorder, path, database, clients), warnings

    def seen(self, name: str, figure: Any, now: Moment) -> None:
        if isinstance(figure, DatabaseFigure):
            for operation, seconds in figure.seconds.items():
                self._recorder.time(str(self._database), operation, seconds)
        elif isinstance(figure, ClientFigure):
            client = str(Subject(CLIENT, figure.name))
            for operation, seconds, count in self._client_times.since_last(figure):
                self._recorder.time(client, operation, seconds, count)
        for subject, what, value in _figures_of(figure, str(self._database)):
            self._recorder.figure(subject, what, value)

    def told(self, notice: Notice, now: Moment) -> None:
        self._recorder.event(
            Event(
                kind=notice.kind,
                subject=str(notice.key.subject),
                cause=notice.cause,
                severity=notice.severity,
                title=notice.title,
                text=notice.evidence,
                duration_seconds=notice.duration_seconds,
            )
        )
        self._flushed_at = -_DAY_SECONDS  # who reads of an alert looks it up at once

    def latency(self) -> List[Dict[str, Any]]:
        """Percentiles of the last hour, of each subject and operation. From any thread. Raises StoreError."""
        found = self.reader.totals(RANGES["1h"].until(utc_now().timestamp()))
        return [
            {"subject": subject, "operation": operation, **percentiles._asdict()}
            for (subject, operation), percentiles in sorted(found.items())
        ]

    def look(self) -> Look:
        warnings = self._flushed()
        said = tuple(f"history: {each.detail}" for each in warnings)
        try:
            return Look(self._latencies(), degraded=said)
        except ResilienceError as error:
            return Look(self.failed(str(error)), degraded=(*said, f"history: {error}"))

    def failed(self, problem: str) -> List[Reading]:
        return [Latencies(each, problem=problem) for each in self._subjects]

    def close(self) -> None:
        self._recorder.close()

    def _flushed(self) -> List[HistoryWarning]:
        if time.monotonic() - self._flushed_at < _FLUSH_SECONDS:
            return []
        self._flushed_at = time.monotonic()
        warnings = self._recorder.flush()
        self.written += 1
        return warnings

    def _latencies(self) -> List[Reading]:
        now = utc_now().timestamp()
        recent = self.reader.totals(Window.between(now - _NOW_SECONDS, now))
        if time.monotonic() - self._asked_at >= _USUAL_EVERY_SECONDS:
            self._usual = self.reader.totals(Window.between(now - _USUAL_SECONDS, now - _DAY_SECONDS))
            self._asked_at = time.monotonic()
        return [Latencies(each, self._operations(str(each), recent)) for each in self._subjects]

    def _operations(self, wanted: str, recent: Mapping[Tuple[str, str], Percentiles]) -> Dict[str, P95]:
        operations: Dict[str, P95] = {}
        for (subject, operation), found in recent.items():
            if subject != wanted or found.p95_ms is None:
                continue
            usual: Optional[float] = None
            earlier = self._usual.get((subject, operation))
            if earlier is not None and earlier.samples >= _LEAST_USUAL:
                usual = earlier.p95_ms
            operations[operation] = P95(found.p95_ms, found.samples, usual)
        return operations


def _figures_of(figure: Any, database: str) -> Iterator[Figure]:
    if isinstance(figure, DatabaseFigure):
        if figure.pool is not None:
            yield database, "connections used", figure.pool.used
            yield database, "connections free", figure.pool.free
        for each in figure.replicas:
            yield str(Subject(REPLICA, each.name or "")), "behind bytes", each.behind_bytes
    elif isinstance(figure, ClientFigure) and figure.pool is not None:
        client = str(Subject(CLIENT, figure.name))
        yield client, "pool active", figure.pool.active
        yield client, "pool idle", figure.pool.idle
        yield client, "pool waiting", figure.pool.waiting
    elif isinstance(figure, KeyAges):
        yield database, "keys", figure.total("count")
        yield database, "keys old", figure.total("older")
        yield database, "keys removable", figure.total("removable")
        yield database, "bytes", figure.total_bytes
    elif isinstance(figure, DiskFigure):
        yield database, "disk used percent", figure.used_percent
    elif isinstance(figure, MirrorAge) and figure.age_seconds is not None:
        yield database, "mirror age seconds", figure.age_seconds
    elif isinstance(figure, BouncerFigure):
        for pool in figure.pools:
            yield f"{PGBOUNCER} {pool.name}", "pool active", pool.servers_active
            yield f"{PGBOUNCER} {pool.name}", "pool waiting", pool.clients_waiting
    elif isinstance(figure, BackupAges):
        for kind, age in figure.ages.items():
            yield str(Subject(BACKUP, database.partition(" ")[2])), f"{kind} age seconds", age


@contextlib.contextmanager
def opened_memory(settings: MonitorSettings, progress: Progress) -> Iterator[Optional[Memory]]:
    """None where no history is wanted, or where it cannot be kept: the watch goes on without."""
    memory: Optional[Memory] = None
    if settings.history_days:
        try:
            database = Subject(DATABASE, settings.database.where)
            clients = [Subject(CLIENT, each.name) for each in settings.clients]
            memory, warnings = Memory.open(Path(settings.state_dir), settings.history_days, database, clients)
            for each in warnings:
                progress.note("history", what=each.detail)
        except ResilienceError as error:
            progress.note("no history is kept", why=str(error))
    try:
        yield memory
    finally:
        if memory is not None:
            memory.close()
