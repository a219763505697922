# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds on every time line, however wild: thousands of random ones, seeded, with silences, restarts, reboots and
clocks that step.
"""

from __future__ import annotations

import random
from collections import deque

import pytest

from baileys_resilience.health.alerts.machine import OK
from baileys_resilience.health.alerts.model import CLIENT, Subject
from baileys_resilience.health.alerts.settings import AlertSettings
from tests.support.time_lines import KEY, SUBJECT, TimeLine

LINES, LOOKS = 2000, 160
WORDS = ("ok", "refused", "hang", "readonly", "none", "gone")
SEEDS = range(4)


class Random:
    """One random line, looked at after each of its looks."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.line = TimeLine(AlertSettings(unknown_after_seconds=20, repeat_seconds=(60.0, 180.0)))
        self.last_heard: deque[str] = deque(maxlen=3)
        self.silent_until = float("-inf")
        self.is_open = self.alerted = False
        self.seen = 0

    def live(self) -> None:
        word = "ok"
        for _look in range(LOOKS):
            if self.chance.random() < 0.3:
                word = self.chance.choice(WORDS)
            self.happen()
            self.line.every = self.chance.choice((0.5, 1.0, 5.0, 5.0, 5.0, 30.0))
            self.line.run(word)
            if word not in ("none", "gone"):
                self.last_heard.append(word)
            self.check()

    def happen(self) -> None:
        """Now and then, what an operator or a host does."""
        line, kind = self.line, self.chance.random()
        if kind < 0.02:
            subject, seconds = self.chance.choice((None, SUBJECT)), self.chance.choice((0.0, 10.0, 60.0, 300.0))
            # Another silence of the other kind stays; to know when all are over, these lines have one at a time.
            line.silence(0, None).silence(0, SUBJECT).silence(seconds, subject)
            self.silent_until = line.seconds + seconds
        elif kind < 0.03:
            line.silence(300, Subject(CLIENT, "somebody else"))
        elif kind < 0.06:
            line.restart(away=self.chance.choice((0.0, 3.0, 90.0)))
        elif kind < 0.07 and line.boot == "boot-1" and line.wall_step == 0:
            line.restart(away=10.0, reboot=True)
        elif kind < 0.09 and line.boot == "boot-1":
            line.wall_step = self.chance.choice((0.0, -86400.0, 3600.0))

    def check(self) -> None:
        for _at, notice in self.line.told[self.seen :]:
            assert self.line.seconds >= self.silent_until, "told in a silence"
            assert notice.duration_seconds >= 0
            if notice.kind == "recovery":
                assert self.is_open, "a recovery of what was never told"
                self.is_open = self.alerted = False
            elif notice.kind == "repeat":
                assert self.is_open, "a repeat of what was never told"
            else:
                assert not (notice.kind == "alert" and self.alerted), "two alerts without a recovery between them"
                self.is_open = True
                self.alerted = self.alerted or notice.kind == "alert"
        self.seen = len(self.line.told)
        watched = self.line.alerts.board.keys.get(KEY)
        if watched and watched.condition.state == OK and watched.condition.last is not None:
            now = self.line.now.monotonic
            if watched.condition.ended == now:
                assert list(self.last_heard) == ["ok"] * 3, "an incident ended without three good looks"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_holds_on_every_time_line(seed: int) -> None:
    chance = random.Random(seed)
    told = recoveries = 0
    for _number in range(LINES // len(SEEDS)):
        one = Random(chance)
        one.live()
        line = one.line
        line.every = 5.0
        fingerprints = [each.fingerprint for _at, each in line.told]
        assert len(set(fingerprints)) == len(fingerprints)
        # In the end all is well for long: nothing is left open, and each incident that was told has its end.
        line.run("ok*260")
        watched = line.alerts.board.keys[KEY]
        assert (watched.condition.state, watched.telling.open, watched.telling.damped) == (OK, None, False)
        assert not line.kinds or line.kinds[-1] == "recovery"
        # And a fault after that is told as ever.
        before = len(line.told)
        assert line.run("refused*3").kinds[before:] == ["alert"]
        told, recoveries = told + len(line.told), recoveries + line.kinds.count("recovery")
    assert told > LINES, "these lines are too tame to show anything"
    assert recoveries > LINES // len(SEEDS) / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_is_told_forty_times(seed: int) -> None:
    """In any ten minutes of the wildest line: what opens, ends, flaps and is repeated is a handful."""
    chance = random.Random(seed)
    for _number in range(50):
        line = TimeLine()
        for _look in range(700):
            line.run(chance.choice(WORDS) + f"*{chance.randrange(1, 6)}")
        times = [at for at, _notice in line.told]
        for position, at in enumerate(times):
            within = [each for each in times[position:] if each < at + 600]
            assert len(within) <= 7, line.said[position : position + 8]
