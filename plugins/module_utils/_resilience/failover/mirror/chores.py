# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the mirror's service does between two scans, because it is the one that runs all the time: it keeps the copy of
the store of record in PostgreSQL up to date, and removes copies of sessions that have expired.
"""

from __future__ import annotations

import time
from typing import Any, List

from ...errors import Busy, ResilienceError
from ...progress import Progress
from ...sessions.directory_store import PREVIOUS_EXPIRY_SECONDS
from ...sessions.published import reconcile
from ...sessions.record import StoreRecord
from ...steps.lease import HostLease
from ..copies import expire_copies
from ..settings import FailoverSettings
from .loop import Mirror

#: a new connection each time, so not in every scan; a change of the record does not wait for it
RECONCILE_EVERY_SECONDS = 60.0
EXPIRE_EVERY_SECONDS = 3600.0


class Chores:
    """Called after each scan. Nothing here may end the mirror: what does not work is told and tried again."""

    def __init__(self, settings: FailoverSettings, mirror: Mirror, progress: Progress) -> None:
        self._settings = settings
        self._mirror = mirror
        self._progress = progress
        self._record = StoreRecord(settings.state)
        self._told: Any = None
        self._reconcile_at = 0.0
        self._expire_at = 0.0
        self._problems = {"publish": "", "expire": ""}

    @property
    def problem(self) -> str:
        """What does not work, for the mirror's status."""
        return "; ".join(filter(None, self._problems.values()))

    def after_scan(self, *, answered: bool) -> bool:
        """``answered``: the database did. Returns whether the next scan is due at once."""
        now = time.monotonic()
        again = False
        if answered and (now >= self._reconcile_at or self._record.version() != self._told):
            self._reconcile_at = now + RECONCILE_EVERY_SECONDS
            again = self._reconcile()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_SECONDS
            self._expire()
        return again

    def _reconcile(self) -> bool:
        before = self._record.version()
        try:
            companies = sorted({*self._settings.companies, *self._record.all()})
            done = reconcile(self._record, self._settings.database, self._settings.host, companies)
        except ResilienceError as exc:
            self._tell("publish", exc.cause, exc.hint)
            return False
        finally:
            self._told = before
        first = next(iter(done.conflicts.values()), None)
        self._tell("publish", first.cause if first else "", first.hint if first else "")
        if done.published:
            self._progress.note("store of record published", companies=len(done.published))
        # Copies carry the epoch that they were made in: until the next scan the mirror's would count as too old.
        return bool(done.adopted)

    def _expire(self) -> None:
        if HostLease(self._settings.state).current() is not None:
            return  # its undo may need what has expired
        try:
            removed: List[str] = [str(path) for path in expire_copies(self._settings)]
            removed += [f"mirror of company {each}" for each in self._mirror.expire_aside(PREVIOUS_EXPIRY_SECONDS)]
        except Busy:
            self._expire_at = 0.0  # a run or an export is at work: after the next scan
            return
        except ResilienceError as exc:
            self._tell("expire", f"{exc.subject} {exc.cause}", exc.hint)
            return
        self._tell("expire", "", "")
        for each in removed:
            self._progress.note("expired copy removed", what=each)

    def _tell(self, what: str, cause: str, hint: str) -> None:
        if cause and cause != self._problems[what]:
            self._progress.note(f"{what} did not work", cause=cause, hint=hint)
        self._problems[what] = cause
