# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded is what is read, for any window, whatever clocks and restarts do; and it stays within its bounds."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baileys_resilience.errors import UsageError
from baileys_resilience.health.history import RANGES, Event, HistorySettings, Reader, Window
from baileys_resilience.health.history.model import FOLDED, NO_ROOM, OTHERS, TRIMMED, UNWRITTEN
from baileys_resilience.health.history.rows import TIME, Series
from tests.support.histories import OPERATION, SUBJECT, History

DAY = 86400


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_a_minute_is_read_once_it_is_over(history: History) -> None:
    history.record(0.004, 0.006, 0.1)
    history.flush()
    window = RANGES["1h"].until(history.clock.wall())
    assert history.reader.times(SUBJECT, OPERATION, window).points == ()
    history.pass_minutes()
    window = RANGES["1h"].until(history.clock.wall())
    found = history.reader.times(SUBJECT, OPERATION, window)
    history.expect(found.total, window)
    (point,) = found.points
    assert (point.values.samples, point.values.max_ms) == (3, 100.0)
    assert window.start <= point.at < window.end
    assert history.reader.series(TIME) == [Series(TIME, SUBJECT, OPERATION)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_window_of_any_past_tells_the_percentiles_of_all_its_values(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Gaps of days, clocks that are set back, restarts: what was recorded under a minute is read there."""
    history = History(tmp_path_factory.mktemp("history"))
    steps = st.sampled_from([1, 1, 1, 7, 61, 400, 3000, -3, -90, -2000])
    for _ in range(data.draw(st.integers(1, 25), label="rounds")):
        history.record(*data.draw(st.lists(st.floats(0, 2), min_size=1, max_size=5)))
        minutes = data.draw(steps)
        if minutes < 0:
            history.clock.step_wall(60 * minutes)
        history.pass_minutes(max(minutes, 0))
        if data.draw(st.booleans()):
            history.restart()
    history.recorder.close()
    moments = sorted(history.values)
    start = data.draw(st.integers(moments[0] - 4000, moments[-1]))
    length = data.draw(st.integers(60, 3 * DAY))
    window = Window.between(start, start + length, data.draw(st.integers(1, 200)))
    found = history.reader.times(SUBJECT, OPERATION, window)
    assert found.window == window
    history.expect(found.total, window)
    for point in found.points:
        history.expect(point.values, Window(point.at, point.at + window.step, window.step))
    totals = history.reader.totals(window)
    assert totals.get((SUBJECT, OPERATION), found.total) == found.total
    assert not history.warnings


def test_thirty_days_are_answered_from_a_hundred_and_twenty_points(history: History) -> None:
    for _ in range(31 * 24):
        history.record(0.01, 0.02)
        history.pass_minutes(60)
    window = RANGES["30d"].until(history.clock.wall())
    found = history.reader.times(SUBJECT, OPERATION, window)
    history.expect(found.total, window)
    assert len(found.points) == 120


def test_a_minute_that_comes_twice_is_merged(history: History) -> None:
    for _ in range(3):
        history.record(0.01)
        history.recorder.figure("client app1", "waiting", 4)
        history.pass_minutes()
        history.clock.step_wall(-60)
    window = Window.between(history.clock.wall() - 60, history.clock.wall() + 120)
    assert history.reader.times(SUBJECT, OPERATION, window).total.samples == 3
    (point,) = history.reader.figures("client app1", "waiting", window).points
    assert (point.samples, point.mean) == (3, 4.0)


def test_figures_keep_mean_extremes_and_the_last_at_every_step(history: History) -> None:
    for minute in range(3000):
        for value in (minute % 100, minute % 100 + 10):
            history.recorder.figure("client app1", "waiting", value)
        history.pass_minutes()
    now = history.clock.wall()
    for name, each in RANGES.items():
        points = history.reader.figures("client app1", "waiting", each.until(now)).points
        whole = [point for point in points if point.samples == 2 * each.step // 60]
        assert whole, name
        for point in whole:
            minutes = [(point.at - history_start(history, now)) // 60 + number for number in range(each.step // 60)]
            lows = [minute % 100 for minute in minutes]
            assert point.least == min(lows)
            assert point.most == max(lows) + 10
            assert point.last == lows[-1] + 10
            assert point.mean == pytest.approx(sum(lows) / len(lows) + 5)


def history_start(history: History, now: float) -> int:
    return int(now) - 3000 * 60


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -0.1])
def test_what_is_no_time_or_no_number_is_left_out(history: History, nonsense: float) -> None:
    history.recorder.time(SUBJECT, OPERATION, nonsense)
    history.recorder.time(SUBJECT, OPERATION, 0.1, count=0)
    if nonsense != -0.1:
        history.recorder.figure(SUBJECT, "age", nonsense)
    history.pass_minutes()
    assert history.reader.series() == []


# Events


def test_events_are_read_newest_first_by_kind_and_window(history: History) -> None:
    for kind, title in (("alert", "down"), ("error", "x"), ("recovery", "over")):
        history.recorder.event(Event(kind, "database db", "down", "critical", title, "text", 12.5))
        history.clock.advance(3600)
    history.flush()
    window = RANGES["24h"].until(history.clock.wall())
    assert [each.title for each in history.reader.events(window)] == ["over", "x", "down"]
    (alert,) = history.reader.events(window, kinds=["alert"], subject="database db")
    assert alert.as_dict() == {
        "kind": "alert", "subject": "database db", "cause": "down", "severity": "critical", "title": "down",
        "text": "text", "duration_seconds": 12.5, "at": history.clock.wall() - 3 * 3600,
    }  # fmt: skip
    assert len(history.reader.events(window, limit=2)) == 2
    assert len(history.reader.events(RANGES["1h"].until(history.clock.wall()))) == 0
    assert history.reader.events(window, subject="company 1") == []


def test_of_too_many_events_the_newest_are_kept_and_long_texts_are_cut(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(most_events=10))
    for number in range(25):
        history.recorder.event(Event("error", "s" * 500, text="t" * 5000, title=str(number)))
        history.flush()
    window = RANGES["1h"].until(history.clock.wall())
    events = history.reader.events(window)
    assert [each.title for each in events] == [str(number) for number in range(24, 14, -1)]
    assert (len(events[0].subject), len(events[0].text)) == (200, 2000)


# What goes


def test_what_is_older_than_the_days_goes_once_a_day(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(days=3))
    for hour in range(24 * 8):
        history.record(0.01)
        history.recorder.figure("client app1", "waiting", hour)
        history.recorder.event(Event("error", "database db", title=str(hour)))
        if hour < 24:
            history.recorder.time("company 1", OPERATION, 0.01)
        history.pass_minutes(60)
    oldest = min(history.recorder.status().oldest.values())
    age = history.clock.wall() - oldest
    assert 3 * DAY <= age <= 5 * DAY
    assert len(history.reader.events(Window.between(0.001, 400 * DAY - 1), limit=1000)) == 0
    assert history.sql("SELECT count(*) FROM events")[0][0] < 24 * 5
    assert Series(TIME, "company 1", OPERATION) not in history.reader.series(), "nothing is left of it"


def test_a_clock_that_jumps_ahead_purges_nothing_until_it_is_believed(history: History) -> None:
    for _ in range(70):
        history.record(0.01)
        history.pass_minutes()
    before = history.sql("SELECT count(*) FROM times WHERE tier = 60")
    history.clock.step_wall(400 * DAY)
    for _ in range(30):
        history.pass_minutes()
    assert history.sql("SELECT count(*) FROM times WHERE tier = 60") == before
    history.clock.step_wall(-400 * DAY)
    for _ in range(70):
        history.pass_minutes()
    assert history.sql("SELECT count(*) FROM times WHERE tier = 60") == before, "it was a mistake of half an hour"
    history.clock.step_wall(400 * DAY)
    for _ in range(70):
        history.pass_minutes()
    assert history.sql("SELECT count(*) FROM times WHERE tier = 60") == [(0,)], "an hour is no mistake"


def test_the_file_stays_below_its_limit_and_what_goes_first_is_what_no_chart_needs(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(most_bytes=1024 * 1024))
    values = [0.001 * (1 + number % 37) for number in range(60)]
    sizes, number = [], 0
    for _ in range(3 * 24 * 60):
        for company in range(6):
            for each in range(6):
                number += 1
                history.recorder.time(f"company {company}", OPERATION, values[(number * 7 + each) % 60])
        history.pass_minutes()
        sizes.append(history.recorder.status().bytes)
    assert max(sizes) <= 1024 * 1024
    status, now = history.recorder.status(), history.clock.wall()
    assert set(status.trimmed) == {60}
    assert now - status.trimmed[60] >= 2 * 3600
    warned = [each for each in history.warnings if each.kind == TRIMMED]
    assert len(warned) == 1, "said once"
    assert "1 MB" in warned[0].detail
    for name in ("1h", "24h", "30d"):
        window = RANGES[name].until(now)
        found = history.reader.times("company 1", OPERATION, window)
        assert found.window == window
        assert found.total.samples == 6 * min((now - window.start) // 60, 3 * 24 * 60)
    old = Window.between(status.trimmed[60] - 3600, status.trimmed[60], 60)
    found = history.reader.times("company 1", OPERATION, old)
    assert found.window.step == 600, "coarser, and it says so"
    assert found.total.samples == 6 * (found.window.end - found.window.start) // 60


def test_a_limit_that_is_too_small_for_anything_is_said(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(most_bytes=1024 * 1024, most_series=9000))
    for minute in range(3):
        for company in range(8000):
            history.recorder.time(f"company {company} of a name that takes some room in its table", OPERATION, 0.01)
        history.recorder.event(Event("error", "x", title=str(minute)))
        history.pass_minutes()
    assert NO_ROOM in {each.kind for each in history.warnings}


def test_too_many_series_are_recorded_as_one_and_that_is_said_once(tmp_path: Path) -> None:
    history = History(tmp_path, HistorySettings(most_series=10))
    for _ in range(2):
        for company in range(30):
            history.recorder.time(f"company {company}", OPERATION, 0.01)
            history.recorder.figure(f"client {company}", "waiting", 1)
        history.pass_minutes()
    window = RANGES["1h"].until(history.clock.wall())
    assert history.reader.times(OTHERS, OPERATION, window).total.samples == 40
    assert len(history.reader.series(TIME)) == 11
    assert [each.kind for each in history.warnings] == [FOLDED]
    assert history.recorder.status().folded == 80


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        HistorySettings(days=0)
    assert "at least 1" in refused.value.hint


# Disks and threads


def test_what_cannot_be_written_is_kept_and_written_later_and_told_once(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_keywords: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(history.recorder._writing), "write", full)
        for _ in range(3):
            history.record(0.01)
            history.recorder.event(Event("alert", "database db", title="down"))
            history.pass_minutes()
        assert [each.kind for each in history.warnings] == [UNWRITTEN]
        assert "disk is full" in history.warnings[0].detail
        assert history.recorder.status().pending_minutes == 3
    history.pass_minutes()
    window = RANGES["1h"].until(history.clock.wall())
    history.expect(history.reader.times(SUBJECT, OPERATION, window).total, window)
    assert len(history.reader.events(window)) == 3
    assert history.recorder.status().pending_minutes == 0


def test_a_transaction_that_fails_half_way_leaves_nothing_of_itself(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_arguments: Any) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(type(history.recorder._writing), "_close", locked)
        history.record(0.01)
        history.pass_minutes()
    assert history.sql("SELECT count(*) FROM times") == [(0,)]
    assert history.sql("SELECT count(*) FROM series") == [(0,)]
    history.pass_minutes()
    assert history.sql("SELECT count(*) FROM times WHERE tier = 60") == [(1,)]


def test_many_threads_record_and_read_at_once(history: History) -> None:
    window = RANGES["1h"].until(history.clock.wall())
    failed: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(200):
                history.recorder.time(SUBJECT, OPERATION, 0.01)
                history.recorder.flush()
                Reader(history.path).times(SUBJECT, OPERATION, window)
        except Exception as exc:  # noqa: BLE001 - it is shown
            failed.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    history.pass_minutes()
    assert history.reader.times(SUBJECT, OPERATION, window).total.samples == 800
