# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was, as a chart takes it: from a real file, in few points, and what cannot be meant is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import Clock
from baileys_resilience.errors import StoreError, UsageError
from baileys_resilience.health.alerts.model import DATABASE, Subject
from baileys_resilience.health.history import Event, HistorySettings, Recorder
from baileys_resilience.health.history.model import MOST_POINTS, MOST_TIMES, RANGES
from baileys_resilience.health.monitor import memory as memory_module
from baileys_resilience.health.monitor import past as past_module
from baileys_resilience.health.monitor.memory import HISTORY_FILE, Memory
from baileys_resilience.health.monitor.past import Past
from tests.support.bodies import body

DB = Subject(DATABASE, "db:5432/whatsapp")
HOUR = 3600.0


class Hands(Clock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.boot, self.seconds = "test", 1_800_000_000.0

    def wall(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds - 1_799_000_000.0


class Desk:
    def __init__(self, directory: Path) -> None:
        self.clock = Hands()
        path = directory / HISTORY_FILE
        self.recorder, _warnings = Recorder.open(path, HistorySettings(), self.clock)
        self.memory = Memory(self.recorder, path, DB)
        self.past = Past(self.memory)

    def see(self, seconds: float = 0.004, used: float = 7) -> None:
        self.recorder.time(str(DB), "read", seconds)
        self.recorder.figure(str(DB), "connections used", used)

    def write(self) -> None:
        """The minute is over, and the monitor's next look writes it."""
        self.clock.seconds += 60.0
        self.memory.look()

    def ask(self, **query: str) -> dict[str, Any]:
        page = self.past.show(query)
        assert page.status == 200
        return body(page)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    made = Desk(tmp_path)
    monkeypatch.setattr(memory_module, "_FLUSH_SECONDS", 0.0)
    for module in (memory_module, past_module):
        monkeypatch.setattr(module, "utc_now", lambda: datetime.fromtimestamp(made.clock.seconds, UTC))
    yield made
    made.memory.close()


def test_each_range_is_few_points_with_nothing_where_nothing_is_known(desk: Desk) -> None:
    desk.see(seconds=0.004, used=5)
    desk.clock.seconds += 20 * 60.0
    desk.see(seconds=0.250, used=9)
    desk.write()
    for name, wanted in RANGES.items():
        found = desk.ask(range=name)
        assert found["range"] == name
        assert found["step"] == wanted.step
        assert len(found["at"]) == wanted.seconds / wanted.step <= MOST_POINTS
        assert found["at"][0] == found["start"]
        assert found["at"][-1] + found["step"] == found["end"]
        (times,), (figures,) = found["times"], found["figures"]
        columns = [times["p50_ms"], times["p95_ms"], times["p99_ms"], *(figures[each] for each in ("mean", "most"))]
        assert {len(each) for each in columns} == {len(found["at"])}
        assert times["total"]["samples"] == 2
        assert times["total"]["max_ms"] == 250.0
        assert max(each for each in figures["most"] if each is not None) == 9
    hour = desk.ask(range="1h")
    known = [each for each in hour["times"][0]["p50_ms"] if each is not None]
    assert known == pytest.approx([4.0, 250.0], rel=0.01)
    assert [each for each in hour["figures"][0]["mean"] if each is not None] == [5, 9]


def test_without_a_range_it_is_the_last_hour(desk: Desk) -> None:
    assert desk.ask()["range"] == "1h"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"range": "2y"}, "'2y' is no range. HINT: choose among 1h, 24h, 7d, 30d"),
        ({"range": ""}, "'' is no range"),
        ({"rage": "1h"}, "rage: there is no such parameter. HINT: give range or subject"),
    ],
)
def test_what_cannot_be_meant_is_refused(desk: Desk, query: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        desk.past.show(query)
    assert said in str(caught.value)


def test_alerts_and_their_ends_are_told_the_newest_first(desk: Desk) -> None:
    desk.recorder.event(Event("alert", str(DB), "down", "critical", "PostgreSQL takes no connections"))
    desk.write()
    desk.recorder.event(Event("recovery", str(DB), "down", "critical", "it is back", duration_seconds=60.0))
    desk.write()
    found = desk.ask(range="24h")["events"]
    assert [each["kind"] for each in found] == ["recovery", "alert"]
    assert found[0]["duration_seconds"] == 60.0
    assert found[1]["at"] == "2027-01-15T08:00:00.000000Z"
    desk.clock.seconds += 2 * HOUR
    assert desk.ask(range="1h")["events"] == []


def test_one_subject_can_be_asked_for_and_many_are_left_off_by_number(desk: Desk) -> None:
    for number in range(MOST_TIMES + 3):
        desk.recorder.time(f"company {number:02}", "read", 0.004)
    desk.write()
    found = desk.ask()
    assert len(found["times"]) == MOST_TIMES
    assert found["left_off"] == 3
    found = desk.ask(subject=f"company {MOST_TIMES + 2:02}")
    assert [each["subject"] for each in found["times"]] == [f"company {MOST_TIMES + 2:02}"]
    assert found["left_off"] == 0
    assert desk.ask(subject="nobody")["times"] == []


def test_an_answer_is_read_again_only_after_the_history_was_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.see()
    desk.write()
    asked: list[object] = []
    charts = desk.memory.reader.charts
    monkeypatch.setattr(desk.memory.reader, "charts", lambda *given: asked.append(given) or charts(*given))
    first = desk.ask(range="24h")
    assert desk.ask(range="24h") == first
    assert len(asked) == 1
    desk.see(seconds=0.5)
    desk.write()
    second = desk.ask(range="24h")
    assert second["end"] == first["end"]
    assert second["times"][0]["total"]["samples"] == 2
    desk.clock.seconds += 600.0
    assert desk.ask(range="24h")["end"] == first["end"] + 600
    assert len(asked) == 3


def test_without_a_history_it_says_so_and_a_damaged_one_is_an_error(desk: Desk, tmp_path: Path) -> None:
    found = body(Past(None).show({"range": "7d"}))
    assert found["problem"] == "no history is kept"
    assert found["times"] == found["events"] == []
    desk.memory.close()
    (tmp_path / HISTORY_FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError) as caught:
        desk.past.show({})
    assert "HINT" in str(caught.value)


def test_it_is_json_that_any_program_reads(desk: Desk) -> None:
    desk.recorder.event(Event("alert", "client <b>", title="</script>\n", text="\u2028"))
    desk.write()
    assert json.loads(desk.past.show({}).content)["events"][0]["title"] == "</script>\n"
