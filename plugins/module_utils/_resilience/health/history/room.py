# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Keeping the file below its limit: what goes first is what the charts of today need least."""

from __future__ import annotations

import sqlite3
from typing import Any, List, Optional

from ...clock import from_seconds, to_iso
from .database import bytes_used, transaction
from .model import NO_ROOM, TRIMMED, HistorySettings, HistoryWarning
from .tiers import TIERS, floor

_HOUR, _DAY = 3600, 86400
#: what stays of each tier as long as there is a finer or coarser row that may go: what the four ranges show
_KEPT_SECONDS = {60: 2 * _HOUR, 600: 26 * _HOUR, 3600: 8 * _DAY, 21600: 0, 86400: 0}
#: after it had to make room there is so much of it, or each minute would have to
_FILLED = 0.95
_PIECES = 24
#: a minute, since they pass through the log
_VACUUM_PAGES = 2000


class Room:
    def __init__(self, connection: sqlite3.Connection, settings: HistorySettings) -> None:
        self._connection, self._most = connection, settings.most_bytes
        self._told: set[str] = set()

    def make(self, now: int) -> List[HistoryWarning]:
        """Remove the oldest rows until the file is below its limit. Raises sqlite3.Error."""
        size, used = bytes_used(self._connection)
        warnings: List[HistoryWarning] = []
        if used > self._most * _FILLED and size > self._most * _FILLED:
            warnings = self._trim(now)
            size, used = bytes_used(self._connection)
        if size > self._most:
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return warnings

    def _trim(self, now: int) -> List[HistoryWarning]:
        told: List[HistoryWarning] = []
        for tier in TIERS:
            until = self._trim_tier(tier, now)
            if until is not None and str(tier) not in self._told:
                self._told.add(str(tier))
                told.append(
                    HistoryWarning(
                        TRIMMED,
                        f"the history has reached {self._most / 1024 / 1024:.0f} MB: figures of each {tier // 60} min"
                        f" before {to_iso(from_seconds(until))[:16]}Z are no longer there, coarser ones are",
                    )
                )
            if self._has_room():
                return told
        self._connection.execute("DELETE FROM events WHERE id <= (SELECT (min(id) + max(id)) / 2 FROM events)")
        if not self._has_room() and NO_ROOM not in self._told:
            self._told.add(NO_ROOM)
            told.append(HistoryWarning(NO_ROOM, "the history is full, and nothing in it may go: raise its limit"))
        return told

    def _trim_tier(self, tier: int, now: int) -> Optional[int]:
        """Remove its oldest pieces until there is room. Returns until when, or None where nothing went."""
        coarser = next((each for each in TIERS if each > tier), tier)
        closed = self._value("SELECT closed FROM tiers WHERE tier = ?", coarser) or 0
        limit = floor(min(now - _KEPT_SECONDS[tier], closed), coarser)
        trimmed = None
        while not self._has_room():
            oldest = self._oldest(tier)
            if oldest is None or oldest >= limit:
                break
            piece = max(coarser, floor((limit - oldest) / _PIECES, coarser))
            trimmed = min(limit, floor(oldest, coarser) + piece)
            self._remove(tier, trimmed)
        return trimmed

    def _remove(self, tier: int, until: int) -> None:
        with transaction(self._connection):
            for table in ("times", "figures"):
                self._connection.execute(f"DELETE FROM {table} WHERE tier = ? AND at < ?", (tier, until))  # noqa: S608
            self._connection.execute(
                "INSERT INTO tiers (tier, closed, trimmed) VALUES (?, 0, ?)"
                " ON CONFLICT (tier) DO UPDATE SET trimmed = max(trimmed, excluded.trimmed)",
                (tier, until),
            )

    def _has_room(self) -> bool:
        return bytes_used(self._connection)[1] <= self._most * _FILLED

    def _oldest(self, tier: int) -> Optional[int]:
        found = [
            self._value(f"SELECT min(at) FROM {table} WHERE tier = ?", tier)  # noqa: S608
            for table in ("times", "figures")
        ]
        return min((each for each in found if each is not None), default=None)

    def _value(self, statement: str, tier: int) -> Any:
        row = self._connection.execute(statement, (tier,)).fetchone()
        return None if row is None else row[0]
