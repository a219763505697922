# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat: never more often than Sentry takes, always the newest, and silent when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from baileys_resilience.errors import UsageError
from baileys_resilience.notify import Delivery
from baileys_resilience.notify.heartbeat import Heartbeat, HeartbeatSettings
from baileys_resilience.notify.model import LATER
from tests.support.outboxes import DOWN, OK, SimulatedClock


class Crons:
    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.answer: Delivery = OK
        self.asked: list[tuple[float, str, str]] = []

    def check_in(self, slug: str, status: str, config: dict[str, Any]) -> Delivery:
        assert config["schedule"] == {"type": "interval", "value": 1, "unit": "minute"}
        self.asked.append((self.clock.monotonic(), slug, status))
        return self.answer


def made(every_seconds: float = 10.0) -> tuple[Heartbeat, Crons]:
    clock = SimulatedClock()
    crons = Crons(clock)
    return Heartbeat(crons, HeartbeatSettings("prod", every_seconds), clock), crons  # type: ignore[arg-type]


def test_of_many_beats_six_a_minute_are_sent_and_the_last_word_counts() -> None:
    heartbeat, crons = made()
    for second in range(60):
        heartbeat.beat("error" if second == 59 else "ok")
        heartbeat.step()
        crons.clock.advance(1)
    assert len(crons.asked) == 6
    heartbeat.step()
    assert crons.asked[-1][1:] == ("prod", "error")
    assert heartbeat.step() is None, "a loop that stands still is not told as alive"
    assert heartbeat.status().sent == 7


def test_what_fails_is_seen_in_the_status_and_not_tried_again() -> None:
    heartbeat, crons = made()
    crons.answer = DOWN
    heartbeat.beat()
    heartbeat.step()
    crons.clock.advance(60)
    assert heartbeat.step() is None
    status = heartbeat.status()
    assert (status.sent, status.failed, status.last_error, len(crons.asked)) == (0, 1, "connection refused", 1)
    crons.answer = OK
    heartbeat.beat()
    heartbeat.step()
    crons.clock.advance(5)
    assert heartbeat.status().as_dict() == {"sent": 1, "failed": 1, "last_success_seconds": 5.0, "last_error": ""}


def test_sentrys_wish_to_be_left_alone_is_kept() -> None:
    heartbeat, crons = made()
    crons.answer = Delivery(False, "HTTP 429", "sentry", LATER, 120.0)
    heartbeat.beat()
    heartbeat.step()
    crons.clock.advance(119)
    heartbeat.beat()
    assert heartbeat.step() == pytest.approx(1.0)


def test_more_than_six_a_minute_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        HeartbeatSettings(every_seconds=9.9)
    assert "at least 10" in refused.value.hint


def test_the_thread_sends_and_ends() -> None:
    heartbeat, crons = made()
    heartbeat.start()
    heartbeat.beat()
    heartbeat.close(5.0)
    heartbeat.close(0.0)
    assert len(crons.asked) <= 1
