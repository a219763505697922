# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""All keys together: verdicts in, notices out; what explains what; silence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional

from ...errors import UsageError
from .causes import CAUSES, CONCERNS, Concern
from .machine import OK, SUSPECT, Condition, advance, grow_old
from .model import ASIDE, BAD, DATABASE, Key, Moment, Notice, Step, Subject, Verdict
from .settings import AlertSettings
from .telling import Quiet, Telling, tell


@dataclass(frozen=True)
class Silence:
    """Until ``until`` (monotonic) nothing is told: of ``subject``, or of anything."""

    until: float
    subject: Optional[Subject] = None


@dataclass
class Watched:
    """``ill_at`` is when it was last seen otherwise than OK: it explains what depends on it, for a while afterwards."""

    condition: Condition
    telling: Telling = field(default_factory=Telling)
    ill_at: float = -math.inf

    @property
    def has_nothing_to_tell(self) -> bool:
        """Thousands of keys are like that in each round."""
        return (
            self.condition.state == OK
            and self.telling.open is None
            and not self.telling.damped
            and not self.condition.changes
        )


class Board:
    """The alerts of one monitor. Moments must not run backwards; :mod:`saved` carries the board over a restart."""

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self.keys: Dict[Key, Watched] = {}
        self.silences: List[Silence] = []

    def step(self, verdicts: Iterable[Verdict], now: Moment) -> Step:
        """One round. Call it with no verdicts too: time alone makes things unknown, and repeats due."""
        for verdict in verdicts:
            self._take(verdict, now)
        for key, watched in self.keys.items():
            grow_old(watched.condition, CONCERNS[key.concern], self.settings, now)
        self.silences = [each for each in self.silences if each.until > now.monotonic]
        return Step(tuple(self._told(now)), self._look_again())

    def silence(self, seconds: float, now: Moment, subject: Optional[Subject] = None) -> None:
        """Tell nothing for so long; another silence of the same subject is replaced, and 0 ends it."""
        if not 0 <= seconds <= 31 * 86400:
            raise UsageError(
                f"{seconds:g} s is no silence", operation="silence", hint="give between 0 and 2678400 seconds"
            )
        self.silences = [each for each in self.silences if each.subject != subject]
        if seconds:
            self.silences.append(Silence(now.monotonic + seconds, subject))

    def retire(self, subject: Subject) -> List[Key]:
        """Forget what is no longer watched. Returns the keys that were told as wrong, and now get no recovery."""
        gone = [key for key in self.keys if key.subject == subject]
        return [key for key in gone if self.keys.pop(key).telling.open is not None]

    def _take(self, verdict: Verdict, now: Moment) -> None:
        concern = _concern_of(verdict)
        watched = self.keys.get(verdict.key)
        if watched is None and verdict.state == ASIDE:
            return
        if watched is None:
            watched = self.keys[verdict.key] = Watched(Condition(now.monotonic))
        advance(watched.condition, verdict, concern, self.settings, now)

    def _told(self, now: Moment) -> List[Notice]:
        ill_bases: Dict[str, float] = {}
        for key, watched in self.keys.items():
            if watched.condition.state != OK:
                watched.ill_at = now.monotonic
            if key.subject.kind == DATABASE:
                ill_bases[key.concern] = max(watched.ill_at, ill_bases.get(key.concern, -math.inf))
        notices = []
        for key, watched in self.keys.items():
            if watched.has_nothing_to_tell:
                continue
            quiet = self._quiet(key, ill_bases, now)
            notice = tell(key, watched.condition, watched.telling, self.settings, now, quiet)
            if notice is not None:
                notices.append(notice)
        return notices

    def _quiet(self, key: Key, ill_bases: Dict[str, float], now: Moment) -> Quiet:
        if any(each.subject in (None, key.subject) for each in self.silences):
            return Quiet.SILENCED
        if self.keys[key].condition.aside:
            return Quiet.EXPLAINED
        since = now.monotonic - self.settings.grace_seconds
        for name in CONCERNS[key.concern].explained_by:
            greater = self.keys.get(Key(key.subject, name))
            if ill_bases.get(name, -math.inf) >= since or (greater is not None and greater.ill_at >= since):
                return Quiet.EXPLAINED
        return Quiet.NO

    def _look_again(self) -> Optional[float]:
        suspects = (key for key, each in self.keys.items() if each.condition.state == SUSPECT)
        return self.settings.recheck_seconds if any(CONCERNS[key.concern].quick for key in suspects) else None


def _concern_of(verdict: Verdict) -> Concern:
    """Raises UsageError for a verdict that no rule may make."""
    concern = CONCERNS.get(verdict.key.concern)
    cause = CAUSES.get(verdict.cause)
    if concern is None:
        raise UsageError("there is no such concern", operation="judge", subject=str(verdict.key))
    if verdict.state == BAD and (cause is None or cause.concern != concern.name):
        raise UsageError(f"{verdict.cause!r} is no cause of it", operation="judge", subject=str(verdict.key))
    return concern
