# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources look in threads of their own: one that hangs, breaks or is slow is its own affair."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from baileys_resilience.health.alerts.model import DATABASE, Subject
from baileys_resilience.health.alerts.readings import Probe, Reading
from baileys_resilience.health.monitor import lanes as lanes_module
from baileys_resilience.health.monitor.lanes import Arrivals, Finished, Lane
from baileys_resilience.health.monitor.once import looked_at
from baileys_resilience.health.monitor.source import Look

SUBJECT = Subject(DATABASE, "db")


@dataclass
class Stand:
    """A source that does what a test says."""

    name: str = "stand"
    work: Callable[[], Look] = Look
    interval_seconds: float = 5.0
    limit_seconds: float = 10.0
    quick: bool = True
    looks: int = field(default=0)

    def look(self) -> Look:
        self.looks += 1
        return self.work()

    def failed(self, problem: str) -> list[Reading]:
        return [Probe(SUBJECT, problem=problem)]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Closed until the test ends, so that nothing that hangs outlives it."""
    event = threading.Event()
    yield event
    event.set()


class Track:
    """A lane under a clock of the test's."""

    def __init__(self, source: Stand) -> None:
        self.arrivals: Arrivals = queue.SimpleQueue()
        self.lane = Lane(source, self.arrivals, lambda: 1.0)

    def next(self) -> Finished:
        found = self.arrivals.get(timeout=30)
        assert found is not None
        return found

    def problem(self) -> str:
        finished = self.next()
        assert self.lane.is_current(finished)
        self.lane.ended(finished, self.lane.running_since or 0.0, None)
        reading = finished.look.readings[0]
        assert isinstance(reading, Probe)
        return reading.problem


def test_the_next_look_is_due_an_interval_after_the_last_began() -> None:
    track = Track(Stand())
    track.lane.turn(100.0)
    track.lane.ended(track.next(), 100.5, None)
    assert track.lane.due_at == 105.0
    track.lane.turn(104.9)
    assert track.lane.running_since is None


@pytest.mark.parametrize(("quick", "ended", "due"), [(True, 100.5, 101.0), (True, 102.0, 102.0), (False, 100.5, 105.0)])
def test_after_a_first_failure_it_is_due_a_second_after_that_began_where_it_is_quick(
    quick: bool, ended: float, due: float
) -> None:
    track = Track(Stand(quick=quick))
    track.lane.turn(100.0)
    track.lane.ended(track.next(), ended, 1.0)
    assert track.lane.due_at == due


def test_a_look_longer_than_its_interval_leaves_a_pause() -> None:
    track = Track(Stand())
    track.lane.turn(100.0)
    track.lane.ended(track.next(), 109.0, None)
    assert track.lane.due_at == 110.0


def test_a_look_may_name_its_own_time_of_return() -> None:
    track = Track(Stand(work=lambda: Look(again_seconds=300.0), interval_seconds=3600.0))
    track.lane.turn(100.0)
    track.lane.ended(track.next(), 101.0, None)
    assert track.lane.due_at == 400.0


def test_a_look_that_hangs_is_given_up_and_what_it_brings_later_counts_no_more(gate: threading.Event) -> None:
    def hang() -> Look:
        gate.wait()
        return Look(figure="late")

    track = Track(Stand(work=hang))
    track.lane.turn(100.0)
    track.lane.turn(110.0)
    assert track.arrivals.empty()
    track.lane.turn(110.1)
    assert track.problem() == "a look at it was given up after 10 s"
    gate.set()
    late = track.next()
    assert late.look.figure == "late"
    assert not track.lane.is_current(late)


def test_looks_that_hang_are_bounded(gate: threading.Event) -> None:
    def hang() -> Look:
        gate.wait()
        return Look()

    source = Stand(work=hang)
    track = Track(source)
    problems = []
    for number in range(6):
        began = 1000.0 * number
        track.lane.due_at = 0.0
        track.lane.turn(began)
        if track.arrivals.empty():
            track.lane.turn(began + 10.1)
        problems.append(track.problem())
    assert problems[:3] == ["a look at it was given up after 10 s"] * 3
    assert problems[3:] == ["3 looks at it hang"] * 3
    assert source.looks == 3


def test_a_source_that_breaks_is_missing_data_and_says_so() -> None:
    def broken() -> Look:
        raise KeyError("ours")

    track = Track(Stand(work=broken))
    track.lane.turn(0.0)
    assert track.problem() == "the monitor failed to look: KeyError: 'ours'"


def test_a_process_at_its_limit_of_threads_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lanes_module.threading, "Thread", NoThread)
    track = Track(Stand())
    track.lane.turn(0.0)
    assert "no thread could be started" in track.problem()


def test_one_look_at_everything_does_not_wait_for_one_that_hangs(gate: threading.Event) -> None:
    def hang() -> Look:
        gate.wait()
        return Look()

    found = looked_at([Stand("a", lambda: Look(figure=1)), Stand("b", hang, limit_seconds=0.2)])
    assert found["a"].figure == 1
    assert "given up" in found["b"].degraded[0]


def test_the_spread_is_ten_percent() -> None:
    found = [lanes_module.jitter() for _each in range(1000)]
    assert 0.9 <= min(found) < 0.95
    assert 1.05 < max(found) <= 1.1
