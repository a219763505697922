# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen is remembered, and what is remembered says what is usual."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from baileys_resilience.clock import Clock
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import DATABASE, Moment, Subject
from baileys_resilience.health.alerts.readings import Latencies
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.history import HistorySettings, Reader, Recorder
from baileys_resilience.health.monitor import memory as memory_module
from baileys_resilience.health.monitor.database import DatabaseFigure
from baileys_resilience.health.monitor.memory import HISTORY_FILE, Memory

DB = Subject(DATABASE, "db:5432/whatsapp")


class Hands(Clock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def wall(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds - 1_799_000_000.0


class Desk:
    def __init__(self, directory: Path) -> None:
        self.clock = Hands()
        path = directory / HISTORY_FILE
        recorder, _warnings = Recorder.open(path, HistorySettings(), self.clock)
        self.memory = Memory(recorder, path, DB)
        self.reader = Reader(path)

    def see(self, looks: int, **seconds: float) -> None:
        for _each in range(looks):
            self.clock.seconds += 5.0
            self.memory.seen("database", DatabaseFigure(seconds), Moment(0.0, datetime.now(UTC)))

    def look(self) -> Latencies:
        look = self.memory.look()
        assert look.degraded == ()
        reading = look.readings[0]
        assert isinstance(reading, Latencies)
        return reading


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path)
    monkeypatch.setattr(memory_module, "_FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(memory_module, "_USUAL_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(memory_module, "utc_now", lambda: datetime.fromtimestamp(made.clock.seconds, UTC))
    yield made
    made.memory.close()


def test_without_a_past_nothing_is_usual(desk: Desk) -> None:
    desk.see(200, read=0.004)
    found = desk.look().operations["read"]
    assert found.usual_ms is None
    assert found.samples >= 100


def test_what_is_three_times_slower_than_on_other_days_is_told_for_as_long_as_it_lasts(desk: Desk) -> None:
    alerts, told = Alerts(AlertSettings()), []

    def judge(minutes: int, **seconds: float) -> None:
        for _each in range(minutes):
            desk.see(12, **seconds)
            now = Moment(desk.clock.monotonic(), datetime.fromtimestamp(desk.clock.seconds, UTC))
            told.extend((each.kind, each.cause, each.evidence) for each in alerts.step([desk.look()], now).notices)

    desk.see(1000, read=0.030, write=0.030)
    desk.clock.seconds += timedelta(days=1).total_seconds()
    judge(20, read=0.030, write=0.030)
    assert told == []
    judge(120, read=0.150, write=0.030)
    assert [each[:2] for each in told if each[0] != "repeat"] == [("alert", "slower_than_usual")]
    assert "P95 of read is 15" in told[0][2]
    judge(60, read=0.030, write=0.030)
    assert [each[0] for each in told if each[0] != "repeat"] == ["alert", "recovery"]


def test_a_week_is_read_in_few_rows(desk: Desk) -> None:
    desk.see(1000, read=0.004)
    desk.clock.seconds += timedelta(days=6).total_seconds()
    desk.see(200, read=0.004)
    found = desk.look().operations["read"]
    assert found.usual_ms == pytest.approx(4.0, rel=0.02)


def test_its_looks_come_often_enough_that_one_that_fails_is_no_lack_of_data() -> None:
    assert 2 * Memory.interval_seconds * 1.1 < AlertSettings().unknown_after_seconds
