# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program with a history, to be killed: one simulated minute after the other, each with the same values. Prints the
number of each minute for which flush has returned.
"""

from __future__ import annotations

import sys
from pathlib import Path

from baileys_resilience.clock import Clock
from baileys_resilience.health.history import Event, Recorder

MINUTE_VALUES = 10


class Simulated(Clock):
    def __init__(self, minute: int) -> None:
        self.boot, self.seconds = "boot", 60.0 * minute

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return self.seconds


def main() -> None:
    minute = int(sys.argv[2])
    clock = Simulated(minute)
    recorder, warnings = Recorder.open(Path(sys.argv[1]), clock=clock)
    assert not warnings, warnings
    while True:
        for company in range(20):
            for value in range(MINUTE_VALUES):
                recorder.time(f"company {company}", "read", 0.001 * (value + 1))
        recorder.figure("client app1", "waiting", minute)
        recorder.event(Event("error", "database db", title=str(minute)))
        minute += 1
        clock.seconds += 60
        warnings = recorder.flush()
        assert not warnings, warnings
        print(minute - 1, flush=True)


if __name__ == "__main__":
    main()
