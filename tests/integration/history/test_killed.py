# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A recorder that is killed at any time leaves a whole file with every minute that it had written."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from baileys_resilience.health.history import Reader, Recorder, Window
from tests.integration.history.program import MINUTE_VALUES

KILLS = 12
#: a multiple of all tiers
FIRST_MINUTE = 20_000 * 1440


def run_and_kill(path: Path, first: int, minutes: int, wait_seconds: float) -> list[int]:
    """The minutes that were written."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.history.program", str(path), str(first)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout
    lines = [int(line) for line in itertools.islice(program.stdout, minutes)]
    time.sleep(wait_seconds)  # where in the work the kill falls is what chance is for
    program.send_signal(signal.SIGKILL)
    lines += [int(line) for line in program.stdout.read().split("\n")[:-1]]
    assert program.wait() == -signal.SIGKILL
    return lines


def test_kills_at_any_time_lose_no_minute_that_was_written(tmp_path: Path) -> None:
    """Minutes follow each other, over the ends of ten minutes, hours and days; after a kill a minute is never half."""
    chance, path, minute = random.Random(20260131), tmp_path / "history.sqlite", FIRST_MINUTE
    written: list[int] = []
    for _ in range(KILLS):
        lines = run_and_kill(path, minute, chance.randrange(1, 260), chance.random() * 0.02)
        written += lines
        # The kill may fall between the commit and the word of it: the next process begins behind both.
        minute = lines[-1] + 2
    window = Window(60 * FIRST_MINUTE, 60 * (minute + 1), 60)
    reader = Reader(path)
    for company in ("company 0", "company 19"):
        times = reader.times(company, "read", Window.between(window.start, window.end, 300))
        fine = {}
        for start in range(window.start, window.end, 3600 * 4):  # by minute: as many points as one answer gives
            part = reader.times(company, "read", Window(start, start + 3600 * 4, 60))
            fine.update({point.at // 60: point.values for point in part.points})
        assert set(written) <= set(fine)
        assert len(fine) - len(set(written)) <= KILLS
        assert {values.samples for values in fine.values()} == {MINUTE_VALUES}
        assert times.total.samples == MINUTE_VALUES * len(fine), "the coarser rows say the same"
        assert times.total.max_ms == 10.0
    totals = reader.totals(window)
    assert {totals[f"company {number}", "read"].samples for number in range(20)} == {MINUTE_VALUES * len(fine)}
    titles = {int(each.title) for each in reader.events(window, limit=1000)}
    assert titles <= set(fine)
    assert set(sorted(written)[-900:]) <= titles
    recorder, warnings = Recorder.open(path)
    assert warnings == []
    recorder.close()
