# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is judged, what came of it, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Optional, Tuple

from ...clock import in_words, to_iso
from ...notify import Notification
from ..findings import CRITICAL, UNKNOWN, WARNING

#: kinds of subjects
DATABASE, CLIENT, COMPANY, REPLICA, BACKUP = "database", "client", "company", "replica", "backup"
PGBOUNCER = "pgbouncer"
SUBJECT_KINDS = (DATABASE, CLIENT, COMPANY, REPLICA, BACKUP, PGBOUNCER)
#: what a look at a subject says. ASIDE: nothing was to be judged now, which is no lack: all stays as it is
GOOD, BAD, MISSING, ASIDE = "good", "bad", "missing", "aside"
#: kinds of notices
ALERT, REPEAT, RECOVERY, FLAPPING, NO_DATA = "alert", "repeat", "recovery", "flapping", "unknown"

_LEVELS = {CRITICAL: "error", WARNING: "warning", UNKNOWN: "warning"}


class Moment(NamedTuple):
    """``monotonic`` (seconds) is for every duration, ``wall`` (UTC) for texts only: a wall clock steps."""

    monotonic: float
    wall: datetime


class Subject(NamedTuple):
    """Whom it is about. A company that is called "database" is another subject than the database."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Key(NamedTuple):
    """What has one state, and one incident at a time. Causes that follow each other in one incident share a concern: a
    database that first refuses and then hangs is one trouble.
    """

    subject: Subject
    concern: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.concern}"


@dataclass(frozen=True)
class Verdict:
    """One look at one key. ``cause`` (of causes.CAUSES) belongs to BAD; ``evidence`` is what was seen, or why nothing
    could be. ``companies`` are those that the evidence names.
    """

    key: Key
    state: str
    cause: str = ""
    evidence: str = ""
    command: str = ""
    companies: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """One thing to tell. ``since`` is when it began, by the wall clock of then; ``duration_seconds`` until now, or
    until it was well again. Two notices with one ``fingerprint`` are the same news. ``services`` are those
    of :mod:`notify` that are told, all of them where there is none.
    """

    kind: str
    key: Key
    cause: str
    severity: str
    title: str
    since: datetime
    duration_seconds: float
    evidence: str
    command: str
    note: str
    fingerprint: str
    companies: Tuple[str, ...] = ()
    services: Tuple[str, ...] = ()

    def as_notification(self) -> Notification:
        """What :mod:`notify` sends."""
        return Notification(
            title=self._headline(),
            text="\n".join(self._lines()),
            level="info" if self.kind == RECOVERY else _LEVELS[self.severity],
            tags={
                "subject": str(self.key.subject),
                "cause": self.cause,
                "kind": self.kind,
                "severity": self.severity,
            },
            fingerprint=self.fingerprint,
            companies=self._companies(),
        )

    def _headline(self) -> str:
        heads = {RECOVERY: "over: ", REPEAT: "still: ", FLAPPING: "comes and goes: "}
        return f"{heads.get(self.kind, '')}{self.key.subject}: {self.title}"

    def _lines(self) -> Tuple[str, ...]:
        lasted = "lasted" if self.kind == RECOVERY else "for"
        lines: Tuple[str, ...] = (
            self.evidence,
            f"since {to_iso(self.since)[:19]}Z, {lasted} {in_words(self.duration_seconds)}",
        )
        if self.kind != RECOVERY:
            lines += (f"Run: {self.command}", f"Note: {self.note}" if self.note else "")
        return tuple(each for each in lines if each)

    def _companies(self) -> Tuple[str, ...]:
        own = (self.key.subject.name,) if self.key.subject.kind == COMPANY else ()
        return own + self.companies


@dataclass(frozen=True)
class Step:
    """What came of one round. ``look_again_seconds``: a first failure wants to be looked at again so soon; None when
    the next round is soon enough.
    """

    notices: Tuple[Notice, ...] = ()
    look_again_seconds: Optional[float] = None
