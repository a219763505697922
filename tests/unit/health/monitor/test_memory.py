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
from baileys_resilience.health.alerts.model import CLIENT, DATABASE, Moment, Subject
from baileys_resilience.health.alerts.readings import Latencies
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.history import HistorySettings, Reader, Recorder
from baileys_resilience.health.monitor import memory as memory_module
from baileys_resilience.health.monitor.client_times import ClientTimes
from baileys_resilience.health.monitor.clients import ClientFigure
from baileys_resilience.health.monitor.database import DatabaseFigure
from baileys_resilience.health.monitor.memory import HISTORY_FILE, Memory

DB, APP = Subject(DATABASE, "db:5432/whatsapp"), Subject(CLIENT, "app")


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
        self.memory = Memory(recorder, path, DB, [APP])
        self.counted: dict[float, float] = dict.fromkeys((0.01, 0.05, 0.1, 0.25, float("inf")), 0.0)
        self.reader = Reader(path)

    def see(self, looks: int, **seconds: float) -> None:
        for _each in range(looks):
            self.clock.seconds += 5.0
            self.memory.seen("database", DatabaseFigure(seconds), Moment(0.0, datetime.now(UTC)))

    def ask(self, looks: int, queries: int, seconds: float) -> None:
        """So many looks at an application, each with so many more queries of that length."""
        for _each in range(looks):
            self.clock.seconds += 5.0
            for limit in self.counted:
                self.counted[limit] += queries if seconds <= limit else 0
            self.show()

    def show(self) -> None:
        times = {"load": sorted(self.counted.items())}
        self.memory.seen("client app", ClientFigure("app", True, times=times), Moment(0.0, datetime.now(UTC)))

    def look(self, subject: Subject = DB) -> Latencies:
        look = self.memory.look()
        assert look.degraded == ()
        found = {each.subject: each for each in look.readings if isinstance(each, Latencies)}
        return found[subject]


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


def test_the_queries_of_an_application_are_slower_than_on_other_days(desk: Desk) -> None:
    alerts, told = Alerts(AlertSettings()), []
    desk.show()
    desk.ask(300, 10, 0.03)
    desk.clock.seconds += timedelta(days=1).total_seconds()
    for seconds in (0.03, 0.2):
        for _each in range(40):
            desk.ask(12, 10, seconds)
            now = Moment(desk.clock.monotonic(), datetime.fromtimestamp(desk.clock.seconds, UTC))
            told += [(each.kind, str(each.key)) for each in alerts.step([desk.look(APP)], now).notices]
    assert told[0] == ("alert", "client app: latency")
    assert {kind for kind, _key in told} == {"alert", "repeat"}
    assert desk.look(DB).operations == {}
    desk.clock.seconds += 60.0
    desk.look()
    hour = {each["operation"]: each for each in desk.memory.latency() if each["subject"] == "client app"}
    assert hour["load"]["p95_ms"] > 150.0


def test_what_an_application_counted_before_the_first_look_is_not_of_now(desk: Desk) -> None:
    desk.counted[float("inf")] = 1_000_000.0
    desk.show()
    desk.clock.seconds += 60.0
    assert desk.look(APP).operations == {}


def counted(**numbers: float) -> ClientFigure:
    """Cumulative numbers at 10 ms, 100 ms and beyond."""
    buckets = list(zip((0.01, 0.1, float("inf")), numbers.values(), strict=True))
    return ClientFigure("app", True, times={"load": buckets})


def test_only_what_was_added_counts_also_behind_a_restart_of_the_application() -> None:
    times = ClientTimes()
    assert list(times.since_last(counted(a=5, b=9, c=9))) == []
    assert list(times.since_last(counted(a=5, b=9, c=9))) == []
    assert list(times.since_last(counted(a=6, b=11, c=12))) == [
        ("load", 0.005, 1), ("load", pytest.approx(0.055), 1), ("load", 0.1, 1),
    ]  # fmt: skip
    assert sum(count for _operation, _seconds, count in times.since_last(counted(a=2, b=2, c=3))) == 3


def test_many_of_a_bucket_are_laid_evenly_into_it() -> None:
    times = ClientTimes()
    list(times.since_last(counted(a=0, b=0, c=0)))
    found = [(seconds, count) for _operation, seconds, count in times.since_last(counted(a=0, b=25, c=25))]
    assert sum(count for _seconds, count in found) == 25
    assert {count for _seconds, count in found} == {2, 3}
    assert 0.01 < min(found)[0] < max(found)[0] < 0.1


def test_an_operation_that_an_application_begins_with_later_counts_from_its_first(desk: Desk) -> None:
    times = ClientTimes()
    list(times.since_last(counted(a=1, b=1, c=1)))
    more = ClientFigure("app", True, times={"list": [(0.01, 2.0), (float("inf"), 2.0)]})
    assert [operation for operation, _seconds, _count in times.since_last(more)] == ["list", "list"]


def test_a_hostile_application_makes_no_thousand_series() -> None:
    times = ClientTimes()
    for number in (1.0, 2.0):
        many = {f"o{each}": [(0.01, number), (float("inf"), number)] for each in range(1000)}
        found = list(times.since_last(ClientFigure("app", True, times=many)))
    assert len(found) == 20


def test_names_that_an_application_no_longer_has_are_not_kept_for_ever() -> None:
    times = ClientTimes()
    for look in range(50):
        named = {f"o{look}-{each}": [(0.01, 1.0), (float("inf"), 1.0)] for each in range(20)}
        list(times.since_last(ClientFigure("app", True, times=named)))
    assert sum(len(each) for each in times._last.values()) == 20


def test_a_look_that_failed_loses_no_count() -> None:
    times = ClientTimes()
    list(times.since_last(counted(a=5, b=9, c=9)))
    assert list(times.since_last(ClientFigure("app", answers=False))) == []
    assert [count for _operation, _seconds, count in times.since_last(counted(a=6, b=10, c=10))] == [1]


@pytest.mark.parametrize("limit", [1e14, 1e305, float("inf")])
def test_a_limit_that_no_query_can_have_ends_neither_the_monitor_nor_its_history(desk: Desk, limit: float) -> None:
    for number in (0.0, 10.0):
        buckets = [(0.01, 0.0), (limit, number), (float("inf"), number)]
        figure = ClientFigure("app", True, times={"load": buckets})
        desk.memory.seen("client app", figure, Moment(0.0, datetime.now(UTC)))
    desk.clock.seconds += 60.0
    desk.look(APP)
    assert [each["max_ms"] for each in desk.memory.latency()] == [10.0]


def test_a_histogram_with_a_hundred_thousand_limits_is_not_looked_at() -> None:
    times = ClientTimes()
    for number in (0.0, 100.0):
        many = {"load": [(each / 1000.0, number) for each in range(1, 100_001)]}
        found = list(times.since_last(ClientFigure("app", True, times={**many, "list": [(0.01, number)]})))
    assert {operation for operation, _seconds, _count in found} == {"list"}
