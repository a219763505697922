# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One transaction of the history: minutes, what they close, what goes."""

from __future__ import annotations

import itertools
import sqlite3
from typing import Any, Dict, Iterable, List, Sequence, Set, Tuple

from .database import bytes_used, transaction
from .histograms import Damaged, Histogram, merged
from .model import Event, HistorySettings, HistoryStatus, HistoryWarning
from .room import Room
from .rows import FigureRow, Minute, Series, histogram_values, merged_figures
from .tiers import FINER, MINUTE, TIERS, Known, floor

_TIMES = "samples, most_us, histogram"
_FIGURES = "samples, total, least, most, last"
_DAY = 86400


class Writing:
    """Not for several threads at once. Raises sqlite3.Error; nothing of the transaction is there then."""

    def __init__(self, connection: sqlite3.Connection, settings: HistorySettings) -> None:
        self._connection, self._settings = connection, settings
        rows = connection.execute("SELECT id, kind, subject, name FROM series").fetchall()
        self.ids: Dict[Series, int] = {Series(*row[1:]): row[0] for row in rows}
        self._room = Room(connection, settings)

    def write(
        self, minutes: Dict[int, Minute], events: Sequence[Event], now: int, *, purge: bool
    ) -> List[HistoryWarning]:
        """``now`` is the minute that is under way: what ends before it can be closed. ``purge``: the clock may be
        believed.
        """
        ids = dict(self.ids)
        try:
            with transaction(self._connection):
                closed = dict(self._known().closed)
                for at, minute in minutes.items():
                    self._add_minute(at, minute, closed)
                self._add_events(events)
                self._close(closed, minutes, now)
                if purge:
                    self._purge(now)
        except BaseException:
            self.ids = ids  # those that were new are not there
            raise
        return self._room.make(now)

    def status(self, folded: int, pending: int) -> HistoryStatus:
        known = self._known()
        oldest = {tier: self._oldest(tier) for tier in TIERS}
        return HistoryStatus(
            bytes=bytes_used(self._connection)[0],
            most_bytes=self._settings.most_bytes,
            series=len(self.ids),
            events=int(self._one("SELECT count(*) FROM events") or 0),
            oldest={tier: at for tier, at in oldest.items() if at is not None},
            trimmed={tier: at for tier, at in known.trimmed.items() if at},
            folded=folded,
            pending_minutes=pending,
        )

    # Minutes

    def _add_minute(self, at: int, minute: Minute, closed: Dict[int, int]) -> None:
        """Into its own rows, and into those of tiers that are closed there already: it comes late, since the clock was
        set back or the disk refused.
        """
        places = [(MINUTE, at)] + [(tier, floor(at, tier)) for tier in FINER if at < closed.get(tier, 0)]
        for series, histogram in minute.time_rows():
            for tier, start in places:
                self._add_time(tier, start, self._id(series), histogram)
        for series, row in minute.figures.items():
            for tier, start in places:
                self._add_figure(tier, start, self._id(series), row)

    def _add_time(self, tier: int, at: int, series: int, histogram: Histogram) -> None:
        values = histogram_values(histogram)
        there = self._row("times", _TIMES, tier, at, series)
        if there is not None:
            values = self._merged_values([there, values])
        self._put_time(tier, at, series, values)

    def _add_figure(self, tier: int, at: int, series: int, row: FigureRow) -> None:
        there = self._row("figures", _FIGURES, tier, at, series)
        self._put_figure(tier, at, series, row if there is None else merged_figures([FigureRow(*there), row]))

    def _id(self, series: Series) -> int:
        if series not in self.ids:
            statement = "INSERT INTO series (kind, subject, name) VALUES (?, ?, ?)"
            self.ids[series] = int(self._connection.execute(statement, series).lastrowid or 0)
        return self.ids[series]

    # Closing

    def _close(self, closed: Dict[int, int], minutes: Iterable[int], now: int) -> None:
        """Make the rows of each tier up to where it is whole now, out of those of the next finer one."""
        first = self._oldest(MINUTE)
        for tier, finer in FINER.items():
            until = floor(now, tier)
            since = closed.get(tier)
            if since is None:
                since = until if first is None else floor(min(first, until), tier)
            if since < until:
                self._merge_rows(tier, finer, since, until)
            closed[tier] = max(since, until)
            self._connection.execute(
                "INSERT INTO tiers (tier, closed, trimmed) VALUES (?, ?, 0)"
                " ON CONFLICT (tier) DO UPDATE SET closed = excluded.closed",
                (tier, closed[tier]),
            )

    def _merge_rows(self, tier: int, finer: int, since: int, until: int) -> None:
        for at, series, rows in self._grouped("times", _TIMES, tier, finer, since, until):
            self._put_time(tier, at, series, self._merged_values(rows))
        for at, series, rows in self._grouped("figures", _FIGURES, tier, finer, since, until):
            self._put_figure(tier, at, series, merged_figures([FigureRow(*row) for row in rows]))

    def _grouped(
        self, table: str, columns: str, tier: int, finer: int, since: int, until: int
    ) -> Iterable[Tuple[int, int, List[Tuple[Any, ...]]]]:
        found = self._connection.execute(
            f"SELECT at / ? * ?, series, {columns} FROM {table} WHERE tier = ? AND at >= ? AND at < ?"  # noqa: S608
            " ORDER BY 1, 2, at",
            (tier, tier, finer, since, until),
        ).fetchall()
        for (at, series), rows in itertools.groupby(found, key=lambda row: (row[0], row[1])):
            yield at, series, [row[2:] for row in rows]

    @staticmethod
    def _merged_values(rows: Sequence[Tuple[Any, ...]]) -> Tuple[Any, ...]:
        if len(rows) == 1:
            return rows[0]
        try:
            histogram = merged(rows)
        except Damaged as exc:
            raise sqlite3.DatabaseError(f"a row is malformed: {exc}") from exc
        return histogram_values(histogram or Histogram())

    # What goes

    def _purge(self, now: int) -> None:
        day = now // _DAY
        if self._one("SELECT value FROM facts WHERE name = 'purged'") == day:
            return
        limit = now - self._settings.days * _DAY
        for tier in TIERS:
            for table in ("times", "figures"):
                statement = f"DELETE FROM {table} WHERE tier = ? AND at < ?"  # noqa: S608
                self._connection.execute(statement, (tier, floor(limit, tier)))
        self._connection.execute("DELETE FROM events WHERE at < ?", (limit,))
        self._connection.execute("INSERT OR REPLACE INTO facts (name, value) VALUES ('purged', ?)", (day,))
        self._forget_series()

    def _forget_series(self) -> None:
        """Those of which nothing is left: a company that is gone, or names that changed."""
        closed = self._known().closed
        alive: Set[int] = set()
        for tier, coarser in itertools.zip_longest(TIERS, TIERS[1:]):
            since = closed.get(coarser, 0) if coarser else 0  # the rest is in the coarser rows, which are few
            for table in ("times", "figures"):
                statement = f"SELECT DISTINCT series FROM {table} WHERE tier = ? AND at >= ?"  # noqa: S608
                alive.update(row[0] for row in self._connection.execute(statement, (tier, since)))
        for series, number in list(self.ids.items()):
            if number not in alive:
                self._connection.execute("DELETE FROM series WHERE id = ?", (number,))
                del self.ids[series]

    def _add_events(self, events: Sequence[Event]) -> None:
        self._connection.executemany(
            "INSERT INTO events (at, kind, subject, cause, severity, title, text, duration)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(e.at, e.kind, e.subject, e.cause, e.severity, e.title, e.text, e.duration_seconds) for e in events],
        )
        if events:
            self._connection.execute(
                "DELETE FROM events WHERE id <= (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (self._settings.most_events,),
            )

    # Statements

    def _known(self) -> Known:
        return known(self._connection)

    def _row(self, table: str, columns: str, tier: int, at: int, series: int) -> Any:
        statement = f"SELECT {columns} FROM {table} WHERE tier = ? AND at = ? AND series = ?"  # noqa: S608
        return self._connection.execute(statement, (tier, at, series)).fetchone()

    def _put_time(self, tier: int, at: int, series: int, values: Tuple[Any, ...]) -> None:
        self._connection.execute("INSERT OR REPLACE INTO times VALUES (?, ?, ?, ?, ?, ?)", (tier, at, series, *values))

    def _put_figure(self, tier: int, at: int, series: int, row: FigureRow) -> None:
        statement = "INSERT OR REPLACE INTO figures VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        self._connection.execute(statement, (tier, at, series, *row))

    def _oldest(self, tier: int) -> Any:
        return oldest(self._connection, tier)

    def _one(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return None if row is None else row[0]


def known(connection: sqlite3.Connection) -> Known:
    rows = connection.execute("SELECT tier, closed, trimmed FROM tiers").fetchall()
    return Known({row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows})


def oldest(connection: sqlite3.Connection, tier: int) -> Any:
    """The begin of the oldest row of a tier, or None."""
    found = [
        connection.execute(f"SELECT min(at) FROM {table} WHERE tier = ?", (tier,)).fetchone()[0]  # noqa: S608
        for table in ("times", "figures")
    ]
    return min((each for each in found if each is not None), default=None)
