# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What became of a look: judged, told, saved, published. One thread does all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Protocol, Sequence, Set, Tuple

from ...clock import in_words
from ...errors import ResilienceError
from ...notify import Notification
from ...progress import Progress
from ..alerts.core import Alerts
from ..alerts.model import REPLICA, Moment, Notice, Subject
from ..alerts.overview import KeyState, overview
from ..findings import STATUSES, UNKNOWN
from .requesting import AutoFailover
from .saved import AlertFile
from .source import Look

#: a crash may lose what was suspected, never what was told
_SAVE_EVERY_SECONDS = 60.0
#: what could not be handed over waits here; more is a disk that is full for days
_MOST_WAITING = 1000
#: sentences that are written to the log once
_MOST_SAID = 100
#: a replica that is away comes back, one that was dropped does not
_FORGET_SECONDS = 3600.0


class Delivery(Protocol):
    """Takes what is to be told and keeps it; sending is its own affair, on its own time."""

    def put(self, notification: Notification, services: Sequence[str] = ()) -> object:
        """Durable when it returns. Never waits for a network. ``services``: only these, all where there is none."""


class Observer(Protocol):
    """Wants to see figures and notices as they come: metrics, history."""

    def seen(self, name: str, figure: Any, now: Moment) -> None: ...

    def told(self, notice: Notice, now: Moment) -> None: ...


@dataclass(frozen=True)
class Published:
    """All that may be shown at one moment, for other threads to read. ``figures`` are those of each source's last look
    that brought one, with the moment.
    """

    at: Moment
    states: List[KeyState] = field(default_factory=list)
    figures: Mapping[str, Tuple[Moment, Any]] = field(default_factory=dict)
    degraded: List[str] = field(default_factory=list)
    silences: List[Dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    auto_failover: Optional[Mapping[str, Any]] = None

    @property
    def status(self) -> str:
        """The gravest. Before anything was looked at, and with nothing to look at, it is unknown."""
        return max((each.status for each in self.states), key=STATUSES.index, default=UNKNOWN)


#: with the services that are told, all where there is none
_Waiting = Tuple[Notification, Sequence[str]]


class Watch:
    """::

    watch = Watch(alerts, file, delivery, log)
    again = watch.take("database", look, moment)   # seconds after which a quick source is to look again, or None
    """

    def __init__(
        self,
        alerts: Alerts,
        file: AlertFile,
        delivery: Delivery,
        log: Progress,
        observers: Iterable[Observer] = (),
        auto_failover: Optional[AutoFailover] = None,
    ) -> None:
        self.alerts = alerts
        self._auto_failover = auto_failover
        self._file, self._delivery, self._log = file, delivery, log
        self._observers = list(observers)
        self._waiting: List[_Waiting] = []
        self._figures: Dict[str, Tuple[Moment, Any]] = {}
        self._degraded: Dict[str, Tuple[str, ...]] = {}
        self._said: List[str] = []
        self._saved_at = -_SAVE_EVERY_SECONDS
        self._saved_as: Any = None
        self._looks = 0
        self._may_be_gone: List[Subject] = []
        self._named: Set[Subject] = set()
        self._gone_since: Dict[Subject, float] = {}
        self.published: Optional[Published] = None

    def keep_only(self, subjects: Iterable[Subject]) -> None:
        """What is in the saved state and no longer in the configuration is forgotten. A replica that nobody named is
        forgotten at the first look that does not show it.
        """
        known = self._named = set(subjects)
        foreign = sorted({key.subject for key in self.alerts.board.keys if key.subject not in known})
        self._may_be_gone = [each for each in foreign if each.kind == REPLICA]
        for subject in foreign:
            if subject.kind != REPLICA:
                self._retire(subject)

    def take(self, name: str, look: Look, now: Moment) -> Optional[float]:
        """One look of the source ``name``."""
        self._looks += 1
        if look.figure is not None:
            self._figures[name] = (now, look.figure)
            for each in self._observers:
                each.seen(name, look.figure, now)
        self._degrade(name, look.degraded)
        self._forget_absent_replicas(look, now)
        return self.step(look, now)

    def step(self, look: Look, now: Moment) -> Optional[float]:
        """Judge, and let time pass."""
        step = self.alerts.step(look.readings, now)
        for notice in step.notices:
            self._log.note(
                notice.as_notification().title, kind=notice.kind, cause=notice.cause, evidence=notice.evidence
            )
            for each in self._observers:
                each.told(notice, now)
        self._hand_over([*((each.as_notification(), each.services) for each in step.notices), *self._asked(now)])
        self._save(now, told=bool(step.notices))
        self._publish(now)
        return step.look_again_seconds

    def silence(self, seconds: float, now: Moment, subject: Optional[Subject] = None) -> None:
        """Raises UsageError for a time that is none."""
        self.alerts.board.silence(seconds, now, subject)
        self._log.note("silence", subject=str(subject or "all"), seconds=seconds)
        self._save(now, told=True)
        self._publish(now)

    def close(self, now: Moment) -> None:
        """Keep all that is known."""
        self._hand_over(())
        self._save(now, told=True)

    def _asked(self, now: Moment) -> List[_Waiting]:
        """Behind the verdicts: whether a failover is to be asked for."""
        if self._auto_failover is None:
            return []
        told = self._auto_failover.consider(self.alerts.board, now)
        problem = self._auto_failover.problem
        self._degrade("auto failover", (problem,) if problem else ())
        for each in told:
            self._log.note(each.title, kind="auto failover", text=each.text)
        return [(each, ()) for each in told]

    def _hand_over(self, notices: Iterable[_Waiting]) -> None:
        """In their order. What cannot be kept now is tried again with the next look, and the state is not saved without
        it: after a crash it is told anew, under the same fingerprint.
        """
        self._waiting.extend(notices)
        while self._waiting:
            notification, services = self._waiting[0]
            try:
                self._delivery.put(notification, services)
            except (ResilienceError, OSError) as error:
                self._degrade("delivery", (f"{len(self._waiting)} notices cannot be handed over: {error}",))
                del self._waiting[:-_MOST_WAITING]
                return
            self._waiting.pop(0)
        self._degrade("delivery", ())

    def _save(self, now: Moment, *, told: bool) -> None:
        if self._waiting:
            return
        states = sorted((key, each.condition.state) for key, each in self.alerts.board.keys.items())
        if not told and states == self._saved_as and now.monotonic - self._saved_at < _SAVE_EVERY_SECONDS:
            return
        try:
            self._file.save(self.alerts, now)
        except ResilienceError as error:
            self._degrade("state", (f"the state cannot be saved: {error}",))
            return
        self._saved_at, self._saved_as = now.monotonic, states
        self._degrade("state", ())

    def _publish(self, now: Moment) -> None:
        self.published = Published(
            at=now,
            states=overview(self.alerts.board, now),
            figures=dict(self._figures),
            degraded=[text for name in sorted(self._degraded) for text in self._degraded[name]],
            silences=[
                {"subject": str(each.subject or "all"), "seconds": round(each.until - now.monotonic, 1)}
                for each in self.alerts.board.silences
            ],
            looks=self._looks,
            auto_failover=self._auto_failover.as_dict() if self._auto_failover else None,
        )

    def _degrade(self, name: str, sentences: Tuple[str, ...]) -> None:
        for each in sentences:
            if each not in self._said:
                self._said = [*self._said[-_MOST_SAID:], each]
                self._log.note("degraded", what=each)
        if sentences:
            self._degraded[name] = sentences
        else:
            self._degraded.pop(name, None)

    def _forget_absent_replicas(self, look: Look, now: Moment) -> None:
        """Those that nobody named: one that was there before the monitor's start at once, another one after an hour in
        which the database, well itself, did not show it. It was dropped, and somebody knows.
        """
        sees = getattr(look.figure, "sees_replicas", None)
        if sees is None:
            return  # it was no look at the database
        if not sees or look.figure.error:
            self._gone_since = {}
            return
        there = {each.subject for each in look.readings}
        gone = {key.subject for key in self.alerts.board.keys if key.subject.kind == REPLICA} - there - self._named
        for subject in self._may_be_gone:
            if subject in gone:
                self._retire(subject)
        self._may_be_gone = []
        self._gone_since = {each: self._gone_since.get(each, now.monotonic) for each in gone}
        for subject in sorted(gone):
            if now.monotonic - self._gone_since[subject] >= _FORGET_SECONDS and self._retire(subject):
                self._tell_forgotten(subject)

    def _tell_forgotten(self, subject: Subject) -> None:
        """Its incident has no other end."""
        text = (
            f"the database has not shown it for {in_words(_FORGET_SECONDS)}\n"
            "Note: if it must be there, name it in health_monitor_replicas"
        )
        tags = {"subject": str(subject), "kind": "forgotten"}
        self._waiting.append((Notification(f"{subject}: is watched no longer", text, "info", tags), ()))

    def _retire(self, subject: Subject) -> bool:
        """Whether somebody was told of it, and of no end."""
        told = self.alerts.retire(subject)
        self._log.note("no longer watched", subject=str(subject), open_incidents=len(told))
        return bool(told)
