# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A history on a simulated clock, and everything that was put into it."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from pathlib import Path

from baileys_resilience.health.history import HistorySettings, HistoryWarning, Reader, Recorder, Window
from baileys_resilience.health.history.histograms import ERROR
from baileys_resilience.health.history.model import Percentiles
from baileys_resilience.health.percentiles import nearest_rank
from tests.support.outboxes import SimulatedClock

SUBJECT, OPERATION = "company 962301", "read"


class History:
    """`values` holds the seconds that were recorded, by the minute of the wall clock."""

    def __init__(self, folder: Path, settings: HistorySettings | None = None) -> None:
        self.path = folder / "history.sqlite"
        self.settings = settings
        self.clock = SimulatedClock()
        self.values: dict[int, list[float]] = defaultdict(list)
        self.warnings: list[HistoryWarning] = []
        self.open()

    def open(self) -> None:
        self.recorder, warnings = Recorder.open(self.path, self.settings, self.clock)
        self.warnings.extend(warnings)

    def restart(self) -> None:
        self.warnings.extend(self.recorder.close())
        self.open()

    def record(self, *seconds: float, subject: str = SUBJECT) -> None:
        for each in seconds:
            self.recorder.time(subject, OPERATION, each)
            self.values[int(self.clock.wall() // 60) * 60].append(each)

    def flush(self) -> list[HistoryWarning]:
        warnings = self.recorder.flush()
        self.warnings.extend(warnings)
        return warnings

    def pass_minutes(self, number: float = 1) -> None:
        self.clock.advance(60 * number)
        self.flush()

    @property
    def reader(self) -> Reader:
        return Reader(self.path)

    def expect(self, found: Percentiles, window: Window) -> None:
        """The percentiles are those of all values of the window."""
        seconds = [each for at, values in self.values.items() if window.start <= at < window.end for each in values]
        assert found.samples == len(seconds)
        for percent, told in ((50, found.p50_ms), (95, found.p95_ms), (99, found.p99_ms)):
            exact = nearest_rank([round(each * 1e6) for each in seconds], percent)
            if exact is None:
                assert told is None
            else:
                assert told is not None
                assert exact <= round(told * 1000) <= exact * (1 + ERROR) + 1

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            found = connection.execute(statement, values).fetchall()
            connection.commit()
            return found
        finally:
            connection.close()
