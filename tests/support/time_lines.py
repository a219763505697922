# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time lines for alerts, in words: ``TimeLine().run("ok*3 refused*3 ok*4")`` is one look each five seconds.

``ok`` is well; ``refused``, ``hang``, ``readonly`` are failures of the database; ``none`` is a look without data,
``gone`` a round in which nobody looked, ``aside`` a look with nothing to judge. ``*N`` is so often.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from baileys_resilience.health.alerts.causes import SERVES
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import (
    ASIDE,
    BAD,
    DATABASE,
    GOOD,
    MISSING,
    Key,
    Moment,
    Notice,
    Subject,
    Verdict,
)
from baileys_resilience.health.alerts.settings import AlertSettings

EPOCH = datetime(2026, 1, 31, 3, 0, 0, tzinfo=UTC)
#: a monotonic clock does not begin at 0
BOOTED = 1000.0
SUBJECT = Subject(DATABASE, "db")
KEY = Key(SUBJECT, SERVES)
FAILURES = {"refused": "down", "hang": "frozen", "readonly": "read_only"}


def words(text: str) -> list[str]:
    found = []
    for each in text.split():
        word, _star, number = each.partition("*")
        found += [word] * int(number or 1)
    return found


class TimeLine:
    """One board and its clock. ``told`` are all notices with the second at which they came."""

    def __init__(self, settings: AlertSettings | None = None, *, key: Key = KEY, every: float = 5.0) -> None:
        self.settings = settings or AlertSettings()
        self.alerts = Alerts(self.settings)
        self.key = key
        self.every = every
        self.seconds = -every
        self.wall_step = 0.0
        self.boot = "boot-1"
        self.monotonic_step = 0.0
        self.told: list[tuple[float, Notice]] = []
        self.states: list[str] = []
        self.look_again: list[float | None] = []

    @property
    def now(self) -> Moment:
        wall = EPOCH + timedelta(seconds=self.seconds + self.wall_step)
        return Moment(BOOTED + self.seconds + self.monotonic_step, wall)

    def run(self, text: str, *, causes: dict[str, str] | None = None) -> TimeLine:
        for word in words(text):
            self.seconds += self.every
            self.look(() if word == "gone" else [self.verdict(word, causes or FAILURES)])
        return self

    def verdict(self, word: str, causes: dict[str, str]) -> Verdict:
        if word == "ok":
            return Verdict(self.key, GOOD)
        if word == "aside":
            return Verdict(self.key, ASIDE)
        if word == "none":
            return Verdict(self.key, MISSING, evidence="no data")
        return Verdict(self.key, BAD, causes[word], f"seen: {word}")

    def look(self, verdicts: Iterable[Verdict]) -> None:
        step = self.alerts.board.step(verdicts, self.now)
        self.told += [(self.seconds, each) for each in step.notices]
        self.look_again.append(step.look_again_seconds)
        watched = self.alerts.board.keys.get(self.key)
        self.states.append(watched.condition.state if watched else "")

    def silence(self, seconds: float, subject: Subject | None = None) -> TimeLine:
        self.alerts.board.silence(seconds, self.now, subject)
        return self

    def restart(self, *, away: float = 0.0, reboot: bool = False, wall_step: float = 0.0) -> TimeLine:
        """The monitor ends, its state goes through a file, and ``away`` seconds later it is back."""
        content = json.loads(json.dumps(self.alerts.to_dict(self.now, self.boot)))
        self.seconds += away
        self.wall_step += wall_step
        if reboot:
            self.boot = "boot-2"
            self.monotonic_step = -BOOTED - self.seconds + 7.0
        self.alerts = Alerts.from_dict(content, self.settings, self.now, self.boot)
        return self

    @property
    def said(self) -> list[str]:
        """``kind cause @second`` of all that was told."""
        return [f"{each.kind} {each.cause} @{at:g}" for at, each in self.told]

    @property
    def kinds(self) -> list[str]:
        return [each.kind for _at, each in self.told]
