# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Questions about the history. Any process of the same user may ask while the monitor writes; each question opens the
file anew, since it may have been put aside.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ... import files
from ...errors import StoreError
from .database import open_for_reading
from .histograms import Damaged, Histogram
from .model import (
    MOST_FIGURES,
    MOST_TIMES,
    Charts,
    Event,
    Figures,
    FiguresPoint,
    Percentiles,
    Times,
    TimesPoint,
    Window,
)
from .rows import FIGURE, TIME, FigureRow, Series, merged_figures
from .tiers import TIERS, Known, Segment, ceil, cover, floor
from .writing import known

_MOST_EVENTS = 1000


class Reader:
    """Raises StoreError where there is no history, or none that can be read."""

    def __init__(self, path: files.PathLike) -> None:
        self._path = Path(path)

    def series(self, kind: str = "") -> List[Series]:
        """All that there are, of one kind (``time``, ``figure``) or of both."""
        with self._asking() as connection:
            rows = connection.execute("SELECT kind, subject, name FROM series ORDER BY 1, 2, 3").fetchall()
        return [Series(*row) for row in rows if not kind or row[0] == kind]

    def times(self, subject: str, operation: str, window: Window) -> Times:
        """Percentiles of each point of a window, and of all of it."""
        with self._asking() as connection:
            known_now = known(connection)
            series = _id(connection, Series(TIME, subject, operation))
            return _times(connection, series, _readable(window, known_now), known_now)

    def charts(self, window: Window, subject: Optional[str] = None) -> Charts:
        """All series of a subject, or of every one, at one moment. Those whose names come last are left off where there
        are more than MOST_TIMES and MOST_FIGURES.
        """
        with self._asking() as connection:
            known_now = known(connection)
            window = _readable(window, known_now)
            times, figures = (_series_of(connection, kind, subject) for kind in (TIME, FIGURE))
            return Charts(
                window,
                {names: _times(connection, each, window, known_now) for each, names in times[:MOST_TIMES]},
                {names: _figures(connection, each, window, known_now) for each, names in figures[:MOST_FIGURES]},
                left_off=len(times[MOST_TIMES:]) + len(figures[MOST_FIGURES:]),
            )

    def totals(self, window: Window) -> Dict[Tuple[str, str], Percentiles]:
        """Percentiles of all of a window, by subject and operation."""
        with self._asking() as connection:
            known_now = known(connection)
            window = _readable(window, known_now)
            names = _names(connection, TIME)
            found: Dict[int, Histogram] = {}
            for segment in cover(window.start, window.end, TIERS[-1], known_now):
                for _at, series, *row in _all_rows(connection, segment):
                    _merge(found.setdefault(series, Histogram()), row)
        return {names[series]: histogram.percentiles() for series, histogram in found.items() if series in names}

    def figures(self, subject: str, name: str, window: Window) -> Figures:
        """Mean, least, most and last of each point of a window."""
        with self._asking() as connection:
            known_now = known(connection)
            series = _id(connection, Series(FIGURE, subject, name))
            return _figures(connection, series, _readable(window, known_now), known_now)

    def events(
        self, window: Window, kinds: Sequence[str] = (), subject: Optional[str] = None, limit: int = 100
    ) -> List[Event]:
        """The newest first."""
        clauses, values = ["at >= ?", "at < ?"], [window.start, window.end]
        if kinds:
            clauses.append(f"kind IN ({', '.join('?' * len(kinds))})")
        if subject is not None:
            clauses.append("subject = ?")
        statement = (
            "SELECT kind, subject, cause, severity, title, text, duration, at FROM events"  # noqa: S608
            f" WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT ?"
        )
        asked = [*values, *kinds, *([subject] if subject is not None else []), max(0, min(limit, _MOST_EVENTS))]
        with self._asking() as connection:
            return [Event(*row) for row in connection.execute(statement, asked)]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        connection = open_for_reading(self._path)
        try:
            connection.execute("BEGIN")  # one snapshot: a tier must not be closed between two questions
            yield connection
        except (sqlite3.Error, Damaged) as exc:
            raise StoreError(
                str(exc),
                operation="read history",
                subject=str(self._path),
                hint="the monitor puts a damaged file aside when it starts: restart it",
            ) from exc
        finally:
            connection.close()


def _times(connection: sqlite3.Connection, series: int, window: Window, known_now: Known) -> Times:
    by_point: Dict[int, Histogram] = {}
    for segment in cover(window.start, window.end, window.step, known_now):
        for at, *row in _rows(connection, "times", "samples, most_us, histogram", segment, series):
            _merge(by_point.setdefault(_point(at, window), Histogram()), row)
    total = Histogram()
    for each in by_point.values():
        total.take(each)
    points = tuple(TimesPoint(at, by_point[at].percentiles()) for at in sorted(by_point))
    return Times(window, total.percentiles(), points)


def _figures(connection: sqlite3.Connection, series: int, window: Window, known_now: Known) -> Figures:
    by_point: Dict[int, List[FigureRow]] = {}
    for segment in cover(window.start, window.end, window.step, known_now):
        for at, *row in _rows(connection, "figures", "samples, total, least, most, last", segment, series):
            by_point.setdefault(_point(at, window), []).append(FigureRow(*row))
    rows = {at: merged_figures(by_point[at]) for at in sorted(by_point)}
    points = (
        FiguresPoint(at, row.samples, row.total / row.samples, row.least, row.most, row.last)
        for at, row in rows.items()
    )
    return Figures(window, tuple(points))


def _readable(window: Window, known_now: Known) -> Window:
    """With a step for which there are rows at its begin, and a begin and an end that are whole points."""
    step = max(window.step, known_now.finest_at(window.start))
    step = next((tier for tier in TIERS if tier >= step), ceil(step, TIERS[-1]))
    return Window(floor(window.start, step), ceil(window.end, step), step)


def _point(at: int, window: Window) -> int:
    return window.start + (at - window.start) // window.step * window.step


def _id(connection: sqlite3.Connection, series: Series) -> int:
    row = connection.execute("SELECT id FROM series WHERE kind = ? AND subject = ? AND name = ?", series).fetchone()
    return -1 if row is None else int(row[0])


def _names(connection: sqlite3.Connection, kind: str) -> Dict[int, Tuple[str, str]]:
    rows = connection.execute("SELECT id, subject, name FROM series WHERE kind = ?", (kind,))
    return {number: (subject, name) for number, subject, name in rows}


def _series_of(connection: sqlite3.Connection, kind: str, subject: Optional[str]) -> List[Tuple[int, Tuple[str, str]]]:
    """Numbers with subject and name, in the order of these."""
    found = sorted(_names(connection, kind).items(), key=lambda each: each[1])
    return [each for each in found if subject is None or each[1][0] == subject]


def _rows(
    connection: sqlite3.Connection, table: str, columns: str, segment: Segment, series: int
) -> Iterator[Tuple[Any, ...]]:
    """Rows lie in the order of time, so those of one series are looked up one by one: when they begin is known."""
    yield from connection.execute(
        "WITH RECURSIVE grid (at) AS (SELECT ? UNION ALL SELECT at + ? FROM grid WHERE at + ? < ?)"  # noqa: S608
        f" SELECT grid.at, {columns} FROM grid CROSS JOIN {table} AS found"
        " WHERE found.tier = ? AND found.at = grid.at AND found.series = ?",
        (segment.start, segment.tier, segment.tier, segment.end, segment.tier, series),
    )


def _all_rows(connection: sqlite3.Connection, segment: Segment) -> Iterator[Tuple[Any, ...]]:
    yield from connection.execute(
        "SELECT at, series, samples, most_us, histogram FROM times WHERE tier = ? AND at >= ? AND at < ?", segment
    )


def _merge(histogram: Histogram, row: Sequence[Any]) -> None:
    samples, most_us, encoded = row
    histogram.add(encoded, samples, most_us)
