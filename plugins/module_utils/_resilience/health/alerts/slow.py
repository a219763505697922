# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Slow queries of one subject within a window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional, Tuple


@dataclass
class SlowQueries:
    """``marks`` are (monotonic time, number), ``total`` is where the counter of the subject was last."""

    marks: List[Tuple[float, int]] = field(default_factory=list)
    total: Optional[int] = None

    def counter(self, total: int, now: float) -> None:
        """What a counter shows. The first value says nothing: those may be of last week. A smaller one is that of a
        process that was started anew.
        """
        if self.total is not None:
            self.add(total - self.total if total >= self.total else total, now)
        self.total = total

    def add(self, number: int, now: float) -> None:
        if number > 0:
            self.marks.append((now, number))

    def within(self, seconds: float, now: float) -> int:
        self.marks = [each for each in self.marks if now - each[0] < seconds]
        return sum(number for _at, number in self.marks)
