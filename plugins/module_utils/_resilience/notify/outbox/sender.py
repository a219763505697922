# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One service: its messages in order, one at a time. :meth:`Sender.step` is what its thread does again and again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Optional

from ...clock import Clock
from ...errors import ResilienceError
from ..model import CONTENT, SETTINGS, Delivery, Notification, Notifier
from . import losses
from .losses import Losses
from .messages import Message
from .settings import OutboxSettings
from .shelf import Entry, Shelf
from .status import ServiceStatus
from .waiting import Waiting

#: what the service does not take for its content is tried so often before it is dropped
_TRIES_OF_CONTENT = 3


@dataclass
class _Counts:
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    last_success: Optional[float] = None
    last_error: str = ""
    last_error_at: Optional[float] = None


@dataclass
class _Memory:
    """What a restart keeps. ``refused`` is the digest of the settings that the service does not take."""

    refused: str = ""
    lost: Losses = field(default_factory=Losses)


class Sender:
    """``tell_others`` puts a notification for all other services."""

    def __init__(
        self,
        shelf: Shelf,
        notifier: Notifier,
        settings: OutboxSettings,
        clock: Clock,
        waiting: Waiting,
        tell_others: Callable[[Notification, str], None],
    ) -> None:
        self.service = notifier.service
        self._shelf, self._notifier, self._settings, self._clock = shelf, notifier, settings, clock
        self._waiting, self._tell_others = waiting, tell_others
        self._lock = threading.Lock()
        self._entries: List[Entry] = shelf.load()
        self._sending: Optional[Entry] = None
        self._counts = _Counts()
        self._telling: Optional[Losses] = None
        self._tries_of_content = 0
        self._rejected_in_a_row = 0
        self._memory = self._load_memory()

    @property
    def last_number(self) -> int:
        return self._entries[-1].number if self._entries else 0

    def add(self, number: int, message: Message, content: bytes) -> str:
        """Take it, durably. Returns what is wrong with the disk, if anything: it is sent all the same."""
        with self._lock:
            digest = message.digest
            if digest and (digest in self._shelf.sent or any(e.message.digest == digest for e in self._entries)):
                return ""
            if len(self._entries) >= self._settings.limit and not self._make_room(message):
                return ""
            entry, problem = Entry(number, message), ""
            try:
                self._shelf.add(entry, content)
            except OSError as exc:
                # A full disk is often what the message is about.
                entry, problem = Entry(number, message, on_disk=False), exc.strerror or type(exc).__name__
            self._entries.append(entry)
            return problem

    def step(self) -> Optional[float]:
        """Send what is due, if anything is. Returns in how many seconds there is more to do; None: when more is put."""
        with self._lock:
            self._drop_old()
            if not self._entries and not self._memory.lost.number:
                return None
            wait = self._waiting.seconds(self._clock.monotonic())
            if wait > 0:
                return wait
            notification = self._next()
        delivery = self._notifier.send(notification)
        with self._lock:
            news = self._take(delivery)
            self._sending = None
        if news is not None:
            self._tell_others(news, self.service)
        return 0.0

    def broke(self, error: Exception) -> float:
        """Something that nobody thought of: it must neither end the thread nor make it spin."""
        with self._lock:
            self._sending = None
            self._note_error(f"{type(error).__name__} in the outbox")
            self._waiting.failed(self._clock.monotonic(), None)
            return self._waiting.seconds(self._clock.monotonic())

    def status(self) -> ServiceStatus:
        with self._lock:
            now, counts = self._clock.monotonic(), self._counts
            return ServiceStatus(
                service=self.service,
                queued=len(self._entries),
                oldest_seconds=max((self._age(each) for each in self._entries[:1]), default=0.0),
                last_success_seconds=None if counts.last_success is None else now - counts.last_success,
                last_error=counts.last_error,
                last_error_seconds=None if counts.last_error_at is None else now - counts.last_error_at,
                refused=bool(self._memory.refused),
                next_try_seconds=self._waiting.seconds(now) if self._entries else 0.0,
                in_memory=sum(not each.on_disk for each in self._entries),
                sent=counts.sent,
                failed=counts.failed,
                dropped=counts.dropped,
                damaged=len(self._shelf.damaged),
            )

    def _next(self) -> Notification:
        lost = self._memory.lost
        if lost.number:  # before the next message: it says why something is missing between the two
            self._telling = replace(lost)
            return lost.as_notification(self.service)
        self._telling = None
        self._sending = self._entries[0]
        return self._sending.message.as_sent(self._clock, self._settings.late_seconds)

    def _take(self, delivery: Delivery) -> Optional[Notification]:
        """What came of it. Returns what others are to be told."""
        now = self._clock.monotonic()
        self._waiting.tried(now)
        if delivery.ok:
            self._delivered(now)
            return None
        self._counts.failed += 1
        self._note_error(delivery.detail)
        if delivery.failure == CONTENT and self._is_dropped():
            return None
        if delivery.failure == SETTINGS or (delivery.failure == CONTENT and self._rejected_in_a_row):
            self._waiting.leave_alone(now, self._settings.refused_recheck_seconds)
            return self._refused(delivery)
        self._waiting.failed(now, delivery.retry_after_seconds)
        return None

    def _delivered(self, now: float) -> None:
        self._waiting.went_well()
        self._counts.sent += 1
        self._counts.last_success, self._counts.last_error, self._counts.last_error_at = now, "", None
        self._tries_of_content = self._rejected_in_a_row = 0
        if self._sending is None:
            self._losses_are_told()
            return
        if self._memory.refused:
            self._memory.refused = ""
            self._save_memory()
        self._entries.remove(self._sending)
        try:
            self._shelf.delivered(self._sending)
        except OSError as exc:
            # Not sent again by this process; the next one may.
            self._note_error(f"what was sent cannot be marked as sent: {exc.strerror}")

    def _losses_are_told(self) -> None:
        if self._memory.lost == self._telling:  # otherwise more were lost meanwhile: all of it is told then
            self._memory.lost = Losses()
        self._save_memory()

    def _is_dropped(self) -> bool:
        """Whether what the service does not take for its content goes. A second one in a row stays: then it is
        something between us and the service that takes nothing at all.
        """
        self._tries_of_content += 1
        if self._tries_of_content < _TRIES_OF_CONTENT or self._rejected_in_a_row:
            return False
        self._tries_of_content, self._rejected_in_a_row = 0, 1
        if self._sending is None:
            self._losses_are_told()
        else:
            self._drop(self._sending, losses.REJECTED)
        return True

    def _refused(self, delivery: Delivery) -> Optional[Notification]:
        digest = self._notifier.settings_digest
        if self._memory.refused == digest:
            return None
        self._memory.refused = digest
        self._save_memory()
        waiting = len(self._entries)
        return Notification(
            title=f"{self.service} refuses our messages",
            text=f"{delivery.detail}\n{waiting} {'message waits' if waiting == 1 else 'messages wait'} for it, and"
            f" nobody who reads only {self.service} hears of anything\nNote: {_ADVICE.get(self.service, _CHECK)}",
            level="error",
            tags={"kind": "alert", "cause": "service_refuses", "service": self.service},
            fingerprint=f"outbox:refused:{self.service}:{digest}:{self._clock.wall():.0f}",
        )

    def _make_room(self, newcomer: Message) -> bool:
        """Drop one. False when that is the newcomer."""
        others = [each for each in self._entries if each is not self._sending]
        least = min(others, key=lambda each: (each.message.worth, each.number))
        if newcomer.worth < least.message.worth:
            self._lose(newcomer, losses.FULL)
            self._save_memory()
            return False
        self._drop(least, losses.FULL)
        return True

    def _drop_old(self) -> None:
        for each in list(self._entries):
            limit = self._settings.repeat_expires_seconds if each.message.worth == 0 else self._settings.expires_seconds
            if self._age(each) > limit:
                self._drop(each, losses.OLD)

    def _drop(self, entry: Entry, reason: str) -> None:
        self._entries.remove(entry)
        self._tries_of_content = 0
        self._lose(entry.message, reason)
        # What is lost is known before it is gone: a kill in between costs a word too many.
        self._save_memory()
        try:
            self._shelf.remove(entry)
        except OSError as exc:
            self._note_error(f"what was dropped cannot be removed: {exc.strerror}")

    def _lose(self, message: Message, reason: str) -> None:
        self._counts.dropped += 1
        if message.worth or reason != losses.OLD:  # nobody misses that something was still so hours ago
            self._memory.lost.add(message, reason)

    def _age(self, entry: Entry) -> float:
        return self._clock.seconds_since(entry.message.stamp)

    def _note_error(self, detail: str) -> None:
        self._counts.last_error, self._counts.last_error_at = detail, self._clock.monotonic()

    def _load_memory(self) -> _Memory:
        content: Dict[str, Any] = self._shelf.read_state()
        refused = str(content.get("refused", ""))
        # With other settings all begins anew. With the same ones it is asked once more, but nobody is told twice.
        kept = refused if refused == self._notifier.settings_digest else ""
        return _Memory(kept, losses.from_dict(content.get("lost", {})))

    def _save_memory(self) -> None:
        try:
            self._shelf.write_state({"refused": self._memory.refused, "lost": self._memory.lost.to_dict()})
        except ResilienceError as exc:
            self._note_error(f"the state cannot be written: {exc.cause}")


_CHECK = "check its settings"
_ADVICE = {
    "telegram": "check baileys_resilience_telegram_token and baileys_resilience_telegram_chat_id, and that the bot is"
    " in that chat and may write there; then restart the monitor",
    "sentry": "check baileys_resilience_sentry_dsn, and that the project is there and its key enabled; then restart"
    " the monitor",
}
