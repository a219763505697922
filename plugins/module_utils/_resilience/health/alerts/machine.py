# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is: the state of one key, moved by verdicts and by time. Nothing here decides what is told.

::

    OK -- bad --> SUSPECT -- as often as it takes --> DOWN -- good --> RECOVERING -- as often as it takes --> OK
    any of them -- nothing heard for long --> UNKNOWN -- good --> RECOVERING, bad --> SUSPECT or DOWN
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import List, Optional, Tuple

from .causes import NO_DATA_CAUSE, Concern
from .model import ASIDE, BAD, GOOD, MISSING, Moment, Verdict
from .settings import AlertSettings

OK, SUSPECT, DOWN, RECOVERING, UNKNOWN = "OK", "SUSPECT", "DOWN", "RECOVERING", "UNKNOWN"
STATES = (OK, SUSPECT, DOWN, RECOVERING, UNKNOWN)


@dataclass
class Trouble:
    """What is wrong since when. ``began`` is monotonic, ``began_wall`` what the clock showed then."""

    began: float
    began_wall: datetime
    cause: str
    evidence: str = ""
    command: str = ""
    companies: Tuple[str, ...] = ()

    def update(self, verdict: Verdict) -> None:
        self.cause, self.evidence = verdict.cause, verdict.evidence
        self.command, self.companies = verdict.command, verdict.companies


@dataclass
class Condition:
    """The state of one key. Times are monotonic.

    ``heard`` is of the last look that said good or bad, ``silence`` why there is none since, ``aside``
    whether there need be none just now. ``suspicion`` is what
    failed but not often enough, ``trouble`` the incident: from its first failure until enough good looks in a row,
    whatever comes between. ``was_down``: the incident is more than missing data. ``changes`` are the times at which an
    incident was established or ended, as far back as flapping is judged; ``last`` is the one that ended at ``ended``.
    """

    heard: float
    state: str = OK
    failures: int = 0
    successes: int = 0
    suspicion: Optional[Trouble] = None
    trouble: Optional[Trouble] = None
    was_down: bool = False
    last: Optional[Trouble] = None
    ended: float = 0.0
    changes: List[float] = field(default_factory=list)
    silence: str = ""
    aside: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether it is wrong, or not known, and not just on its way out of that."""
        return self.state in (DOWN, UNKNOWN)


def advance(condition: Condition, verdict: Verdict, concern: Concern, settings: AlertSettings, now: Moment) -> None:
    """One look. Missing data change no state here: for how long they are missing does, in :func:`grow_old`."""
    condition.aside = verdict.state == ASIDE
    if verdict.state == MISSING:
        condition.silence = verdict.evidence
        return
    condition.heard, condition.silence = now.monotonic, ""
    if verdict.state == GOOD:
        _good(condition, concern, settings, now)
    elif verdict.state == BAD:
        _bad(condition, verdict, concern, settings, now)


def grow_old(condition: Condition, concern: Concern, settings: AlertSettings, now: Moment) -> None:
    """What was not heard of for long is unknown. That never makes it well."""
    limit = settings.unknown_after_slow_seconds if concern.slow_data else settings.unknown_after_seconds
    if condition.state == UNKNOWN or now.monotonic - condition.heard < limit:
        return
    if condition.trouble is None:
        began = condition.suspicion.began if condition.suspicion else condition.heard
        condition.trouble = Trouble(began, _wall_at(began, now), NO_DATA_CAUSE)
        condition.changes.append(now.monotonic)
    condition.state, condition.suspicion, condition.aside = UNKNOWN, None, False
    condition.failures = condition.successes = 0


def _good(condition: Condition, concern: Concern, settings: AlertSettings, now: Moment) -> None:
    condition.failures, condition.suspicion = 0, None
    if condition.trouble is None:
        condition.state = OK
        return
    condition.successes += 1
    if condition.successes < (1 if concern.proven else settings.successes):
        condition.state = RECOVERING
        return
    condition.last, condition.ended = condition.trouble, now.monotonic
    condition.state, condition.trouble, condition.was_down, condition.successes = OK, None, False, 0
    condition.changes.append(now.monotonic)


def _bad(condition: Condition, verdict: Verdict, concern: Concern, settings: AlertSettings, now: Moment) -> None:
    condition.successes = 0
    if condition.trouble is not None and condition.was_down:
        condition.state = DOWN
        condition.trouble.update(verdict)
        return
    if condition.suspicion is None:
        condition.suspicion = Trouble(now.monotonic, now.wall, verdict.cause)
    condition.suspicion.update(verdict)
    condition.failures += 1
    condition.state = SUSPECT
    lasted = now.monotonic - condition.suspicion.began
    if condition.failures < (1 if concern.proven else settings.failures):
        return
    if not concern.held or lasted >= settings.hold_seconds:
        _establish(condition, condition.suspicion, now)


def _establish(condition: Condition, found: Trouble, now: Moment) -> None:
    if condition.trouble is None:
        condition.changes.append(now.monotonic)
    else:  # it began when nothing was known any more: one incident
        found.began, found.began_wall = condition.trouble.began, condition.trouble.began_wall
    condition.state, condition.trouble, condition.suspicion = DOWN, found, None
    condition.was_down, condition.failures = True, 0


def _wall_at(monotonic: float, now: Moment) -> datetime:
    return now.wall - timedelta(seconds=now.monotonic - monotonic)
