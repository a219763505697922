# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fair comparisons: both sides in each round, in alternating order, medians of all rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Side = Callable[[], float]


@dataclass(frozen=True)
class Result:
    """One line of the table. `ratio` is our figure over theirs unless `of_speed`: then it is our speed over theirs."""

    name: str
    ours: str
    theirs: str
    ratio: float | None
    floor: str
    met: bool
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Seconds of each round, in order."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: two neighbours in time share what else the machine was doing."""
        return statistics.median(one / two for one, two in zip(self.ours, self.theirs, strict=True))

    def spread(self) -> str:
        ratios = sorted(one / two for one, two in zip(self.ours, self.theirs, strict=True))
        return f"{ratios[0]:.2f} to {ratios[-1]:.2f}"


def compare(ours: Side, theirs: Side, rounds: int) -> Comparison:
    """Each side returns the seconds it took; one unmeasured round first, for caches and compilers."""
    ours(), theirs()
    found = Comparison([], [])
    for number in range(rounds):
        if number % 2:
            found.theirs.append(theirs())
            found.ours.append(ours())
        else:
            found.ours.append(ours())
            found.theirs.append(theirs())
    return found


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def human(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.3g} µs"
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def median(values: list[float]) -> str:
    return human(statistics.median(values))
