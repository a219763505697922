# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the monitor calls: it collects in memory, and writes each minute that is over in one transaction.

A kill loses the minute that is under way. Minutes are those of the wall clock: one that comes twice, because the clock
was set back, is merged with what is there.
"""

from __future__ import annotations

import fcntl
import math
import os
import sqlite3
import threading
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple

from ... import files
from ..._thirdparty import require
from ...clock import Clock
from ...errors import Busy, ResilienceError
from . import database
from .model import FOLDED, OTHERS, UNWRITTEN, Event, HistorySettings, HistoryStatus, HistoryWarning
from .rows import FIGURE, TIME, Minute, Series
from .tiers import MINUTE, floor
from .writing import Writing

#: minutes that are kept in memory while the file cannot be written
_MOST_PENDING = 120
_MOST_CHARACTERS = 200
_MOST_TEXT = 2000
#: clocks that differ by more have been set
_STEP_SECONDS = 60.0
#: nothing is purged by a wall clock that was set within so long: it may be a year ahead by mistake
_TRUSTED_AFTER_SECONDS = 3600.0


class Recorder:
    """Any thread may call it. :meth:`time`, :meth:`figure` and :meth:`event` touch no disk; an event is written with
    the next :meth:`flush`.
    """

    def __init__(
        self, path: Path, settings: HistorySettings, clock: Clock, connection: sqlite3.Connection, lock_file: int
    ) -> None:
        self._path, self._settings, self._clock = path, settings, clock
        self._lock_file = lock_file
        self._memory_lock, self._disk_lock = threading.Lock(), threading.RLock()
        self._minutes: Dict[int, Minute] = {}
        self._events: List[Event] = []
        self._known: Dict[str, Set[Series]] = {TIME: set(), FIGURE: set()}
        self._folded = 0
        self._begin(connection)
        self._offset = clock.wall() - clock.monotonic()
        self._trusted_from = clock.monotonic() + _TRUSTED_AFTER_SECONDS
        self._told: Set[str] = set()

    @staticmethod
    def open(
        path: files.PathLike, settings: Optional[HistorySettings] = None, clock: Optional[Clock] = None
    ) -> Tuple[Recorder, List[HistoryWarning]]:
        """Raises Busy while another process records there, Misconfigured for a file of a newer release or of somebody
        else, StoreError for a disk that refuses, ToolMissing without the package hdrhistogram.
        """
        require("hdrh.histogram")
        place = Path(path)
        files.make_private_directory(place.parent)
        lock_file = _take_lock(place)
        try:
            connection, warnings = database.open_for_writing(place)
            return Recorder(place, settings or HistorySettings(), clock or Clock(), connection, lock_file), warnings
        except BaseException:
            os.close(lock_file)
            raise

    def time(self, subject: str, operation: str, seconds: float, count: int = 1) -> None:
        """How long something took; ``count`` of them. What is no time is left out."""
        if not (math.isfinite(seconds) and seconds >= 0) or count < 1:
            return
        with self._memory_lock:
            series = self._series(TIME, subject, operation)
            if series is not None:
                self._minute().add_time(series, round(seconds * 1e6), count)

    def figure(self, subject: str, name: str, value: float) -> None:
        """What something is now: a count, a size, an age. What is no number is left out."""
        if not math.isfinite(value):
            return
        with self._memory_lock:
            series = self._series(FIGURE, subject, name)
            if series is not None:
                self._minute().add_figure(series, float(value))

    def event(self, event: Event) -> None:
        """Something that happened now."""
        whole = Event(
            event.kind[:_MOST_CHARACTERS],
            event.subject[:_MOST_CHARACTERS],
            event.cause[:_MOST_CHARACTERS],
            event.severity[:_MOST_CHARACTERS],
            event.title[:_MOST_TEXT],
            event.text[:_MOST_TEXT],
            event.duration_seconds if math.isfinite(event.duration_seconds) else 0.0,
            self._clock.wall(),
        )
        with self._memory_lock:
            self._events.append(whole)
            del self._events[: -self._settings.most_events]

    def flush(self, *, everything: bool = False) -> List[HistoryWarning]:
        """Write the minutes that are over and all events, merge what can be merged, and once a day purge. Call it about
        once a minute, and after an alert if that should not wait. Never raises for the disk: what could not be written
        is kept for two hours and tried again, and that is a warning.
        """
        with self._disk_lock:
            minutes, events = self._take(everything)
            self._watch_clocks()
            warnings = self._write(minutes, events)
        return [*warnings, *self._folding()]

    def close(self) -> List[HistoryWarning]:
        """Write all of it, the minute under way too."""
        with self._disk_lock:
            if self._lock_file < 0:
                return []
            warnings = self.flush(everything=True)
            self._connection.close()
            os.close(self._lock_file)
            self._lock_file = -1
        return warnings

    def status(self) -> HistoryStatus:
        with self._memory_lock:
            folded, pending = self._folded, sum(1 for each in self._minutes if each != self._current())
        with self._disk_lock:
            return self._writing.status(folded, pending)

    def _begin(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._writing = Writing(connection, self._settings)
        for kind in self._known:
            self._known[kind] = {each for each in self._writing.ids if each.kind == kind}

    def _series(self, kind: str, subject: str, name: str) -> Optional[Series]:
        series, known = Series(kind, subject[:_MOST_CHARACTERS], name[:_MOST_CHARACTERS]), self._known[kind]
        if series in known:
            return series
        if len(known) >= self._settings.most_series and subject != OTHERS:
            self._folded += 1
            return self._series(kind, OTHERS, name) if kind == TIME else None
        known.add(series)
        return series

    def _current(self) -> int:
        return floor(self._clock.wall(), MINUTE)

    def _minute(self) -> Minute:
        return self._minutes.setdefault(self._current(), Minute())

    def _take(self, everything: bool) -> Tuple[Dict[int, Minute], List[Event]]:
        with self._memory_lock:
            # Not only those before: the clock may have been set back, and that minute is over as well.
            over = [each for each in self._minutes if everything or each != self._current()]
            minutes = {each: self._minutes.pop(each) for each in sorted(over)[-_MOST_PENDING:]}
            for each in over:
                self._minutes.pop(each, None)
            events, self._events = self._events, []
        return minutes, events

    def _write(self, minutes: Dict[int, Minute], events: List[Event]) -> List[HistoryWarning]:
        now = self._current()
        try:
            try:
                return self._done(self._writing.write(minutes, events, now, purge=self._clocks_agree()))
            except sqlite3.Error as exc:
                if not database.is_damage(exc):
                    raise
                # It was damaged while it was in use: a new one, and these minutes into it.
                warnings = self._begin_anew(str(exc))
                return [*warnings, *self._done(self._writing.write(minutes, events, now, purge=False))]
        except sqlite3.Error as exc:
            return self._keep(minutes, events, str(exc))
        except ResilienceError as exc:
            return self._keep(minutes, events, exc.cause)

    def _done(self, warnings: List[HistoryWarning]) -> List[HistoryWarning]:
        self._told.discard(UNWRITTEN)
        with self._memory_lock:  # what was purged makes room for others
            collected = [series for each in self._minutes.values() for series in (*each.times, *each.figures)]
            for kind in self._known:
                self._known[kind] = {each for each in (*self._writing.ids, *collected) if each.kind == kind}
        return warnings

    def _begin_anew(self, damage: str) -> List[HistoryWarning]:
        self._connection.close()
        warning = database.set_aside(self._path, damage)
        connection, more = database.open_for_writing(self._path)
        self._begin(connection)
        return [warning, *more]

    def _keep(self, minutes: Dict[int, Minute], events: List[Event], cause: str) -> List[HistoryWarning]:
        with self._memory_lock:
            for at, minute in minutes.items():
                minute.add(self._minutes.get(at, Minute()))
                self._minutes[at] = minute
            self._events[:0] = events
        if UNWRITTEN in self._told:
            return []
        self._told.add(UNWRITTEN)
        return [
            HistoryWarning(UNWRITTEN, f"the history cannot be written: {cause}; the last two hours are kept in memory")
        ]

    def _folding(self) -> List[HistoryWarning]:
        if not self._folded or FOLDED in self._told:
            return []
        self._told.add(FOLDED)
        most = self._settings.most_series
        return [
            HistoryWarning(FOLDED, f"there are more than {most} series; the times of the rest are recorded as {OTHERS}")
        ]

    def _watch_clocks(self) -> None:
        offset = self._clock.wall() - self._clock.monotonic()
        if abs(offset - self._offset) > _STEP_SECONDS:
            self._trusted_from = self._clock.monotonic() + _TRUSTED_AFTER_SECONDS
        self._offset = offset

    def _clocks_agree(self) -> bool:
        return self._clock.monotonic() >= self._trusted_from


def _take_lock(path: Path) -> int:
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE)
    except OSError as exc:
        raise files.translate_os_error(exc, "open history", path) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise Busy(
            "another process records there",
            operation="open history",
            subject=str(path),
            hint="one monitor a host; see: systemctl status baileys-resilience-monitor",
        ) from exc
    return descriptor
