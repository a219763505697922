# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is collected in a minute, and how rows become one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, NamedTuple, Sequence, Tuple

from .histograms import Histogram

TIME, FIGURE = "time", "figure"


class Series(NamedTuple):
    kind: str
    subject: str
    name: str


class FigureRow(NamedTuple):
    samples: int
    total: float
    least: float
    most: float
    last: float

    def with_value(self, value: float) -> FigureRow:
        return FigureRow(self.samples + 1, self.total + value, min(self.least, value), max(self.most, value), value)


def merged_figures(rows: Sequence[FigureRow]) -> FigureRow:
    """Of rows in the order of time."""
    return FigureRow(
        sum(each.samples for each in rows),
        sum(each.total for each in rows),
        min(each.least for each in rows),
        max(each.most for each in rows),
        rows[-1].last,
    )


@dataclass
class Minute:
    """One minute of the wall clock. Times are counted by microseconds: a histogram each would be 26 kB."""

    times: Dict[Series, Dict[int, int]] = field(default_factory=dict)
    figures: Dict[Series, FigureRow] = field(default_factory=dict)

    def add_time(self, series: Series, microseconds: int, count: int) -> None:
        counts = self.times.setdefault(series, {})
        counts[microseconds] = counts.get(microseconds, 0) + count

    def add_figure(self, series: Series, value: float) -> None:
        row = self.figures.get(series)
        self.figures[series] = row.with_value(value) if row else FigureRow(1, value, value, value, value)

    def add(self, later: Minute) -> None:
        """What came in the same minute, later."""
        for series, counts in later.times.items():
            for microseconds, count in counts.items():
                self.add_time(series, microseconds, count)
        for series, row in later.figures.items():
            there = self.figures.get(series)
            self.figures[series] = merged_figures([there, row]) if there else row

    def time_rows(self) -> Iterator[Tuple[Series, Histogram]]:
        return ((series, Histogram.of(counts)) for series, counts in self.times.items())


def histogram_values(histogram: Histogram) -> Tuple[Any, ...]:
    return histogram.samples, histogram.most_us, histogram.encoded()
