# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated monitor: how soon a fault is told, and that a noisy but healthy week tells nothing. All times are
simulated, all randomness is seeded.

The loop is the one of the budget: an interval of 5 s with 10% jitter, a deadline of 2 s, a look again 0.75 s after
the one that failed first began.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from datetime import timedelta

import pytest

from baileys_resilience.errors import DeadlineExceeded, Unavailable
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import CLIENT, DATABASE, Moment, Notice, Subject
from baileys_resilience.health.alerts.readings import P95, Client, Connections, Latencies, Mirror, Probe, Reading
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.client_metrics import ClientPool
from tests.support.time_lines import BOOTED, EPOCH

INTERVAL, JITTER, DEADLINE = 5.0, 0.1, 2.0
WEEK = 7 * 86400.0
TRIALS = 2000
DB, APP = Subject(DATABASE, "db"), Subject(CLIENT, "app")

#: from the second in which it begins, what it sees and how long that took
Look = Callable[[float], tuple[list[Reading], float]]


def monitor(
    look: Look, chance: random.Random, seconds: float, *, until_told: bool = False
) -> list[tuple[float, Notice]]:
    alerts = Alerts(AlertSettings())
    told: list[tuple[float, Notice]] = []
    at = chance.uniform(0, INTERVAL)
    while at < seconds:
        readings, took = look(at)
        done = at + took
        step = alerts.step(readings, Moment(BOOTED + done, EPOCH + timedelta(seconds=done)))
        told += [(done, each) for each in step.notices]
        if until_told and told:
            break
        regular = at + INTERVAL * chance.uniform(1 - JITTER, 1 + JITTER)
        again = regular if step.look_again_seconds is None else at + step.look_again_seconds
        at = max(done, min(regular, again))
    return told


def detection_times(broken: Probe, took: float) -> list[float]:
    chance, found = random.Random(5), []
    for _trial in range(TRIALS):
        fault = chance.uniform(60, 90)

        def look(at: float, fault: float = fault) -> tuple[list[Reading], float]:
            # A fault in the middle of a probe meets that probe.
            return ([broken], took) if at + 0.02 >= fault else ([Probe(DB, slowest_ms=5)], 0.02)

        told = monitor(look, chance, 300, until_told=True)
        assert [each.kind for _at, each in told] == ["alert"]
        found.append(told[0][0] - fault)
    return found


@pytest.mark.parametrize(
    ("error", "took", "median"),
    [(Unavailable("refused"), 0.02, 5.0), (DeadlineExceeded("no answer within 2.0 s"), DEADLINE, 12.0)],
    ids=["refused", "hang"],
)
def test_a_fault_is_told_within_the_budget(error: Unavailable, took: float, median: float) -> None:
    found = detection_times(Probe(DB, error, "connect"), took)
    assert statistics.median(found) <= median
    assert max(found) <= 15.0
    assert min(found) >= 1.5  # three looks and two pauses: faster would be a look that was not taken


def healthy_week(chance: random.Random) -> Look:
    """Single failures, hangs of one look, queries just fast enough, a full pool for a moment, scrapes that fail."""
    slow = 0
    last_slow = -300.0

    def look(at: float) -> tuple[list[Reading], float]:
        nonlocal slow, last_slow
        took, probe = 0.02, Probe(DB, slowest_ms=min(499.0, chance.lognormvariate(3, 1)))
        if chance.random() < 0.003:
            probe = Probe(DB, Unavailable("reset"), "read")
        elif chance.random() < 0.001:
            probe, took = Probe(DB, DeadlineExceeded("no answer within 2.0 s"), "connect"), DEADLINE
        if at - last_slow > 160:  # at most two in five minutes
            slow, last_slow = slow + 1, at
        busy = chance.random() < 0.01
        client = Client(
            APP,
            pool=ClientPool(0, 10, 9, 10) if busy else ClientPool(5, chance.randrange(8), chance.randrange(6), 10),
            slow_total=slow,
            cached={"962301": 0.0},
            problem="no answer" if chance.random() < 0.005 else "",
        )
        usual = {"get": P95(chance.uniform(5, 140), 200, 50.0)}
        readings = [probe, client, Connections(DB, chance.uniform(20, 80), 9), Mirror(DB, chance.uniform(0, 30))]
        return [*readings, Latencies(APP, usual)], took

    return look


def test_a_noisy_healthy_week_tells_nothing() -> None:
    chance = random.Random(7)
    assert monitor(healthy_week(chance), chance, WEEK) == []


def test_the_same_week_with_one_outage_tells_that() -> None:
    chance = random.Random(7)
    week, began = healthy_week(chance), 3 * 86400.0

    def look(at: float) -> tuple[list[Reading], float]:
        readings, took = week(at)
        if began <= at < began + 120:
            return [Probe(DB, Unavailable("refused"), "connect"), *readings[1:]], took
        return readings, took

    told = monitor(look, chance, began + 3600)
    assert [(each.kind, each.cause) for _at, each in told] == [("alert", "down"), ("recovery", "down")]
    assert told[0][0] - began <= 15
    assert 110 <= told[1][1].duration_seconds <= 140
