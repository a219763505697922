# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The outer ring: Sentry Crons tells somebody when nothing is heard of this host any more.

:meth:`Heartbeat.beat` may be called at every round. A thread of its own sends at most six a minute, which is what
Sentry takes, and always the newest; what fails is not tried again, since the next one says more.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Dict, Optional

from ..clock import Clock
from ..errors import UsageError
from .sentry import CRONS_ERROR, CRONS_OK, SentryNotifier

OK, ERROR = CRONS_OK, CRONS_ERROR
#: https://docs.sentry.io/product/crons/: six check-ins a minute and monitor and environment
LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class HeartbeatSettings:
    """``slug`` names the monitor at Sentry, which makes it at the first beat. ``every_seconds``: at most one beat in so
    long. Sentry opens an issue where none came for ``missed_after_minutes``, or ``failures`` said ``error``.
    """

    slug: str = "baileys-resilience"
    every_seconds: float = 30.0
    missed_after_minutes: int = 3
    failures: int = 2

    def __post_init__(self) -> None:
        if not self.every_seconds >= LEAST_SECONDS:
            raise UsageError(
                f"is {self.every_seconds!r}",
                operation="read setting",
                subject="every_seconds of the heartbeat",
                hint=f"Sentry takes six a minute: give at least {LEAST_SECONDS:g}",
            )

    @property
    def config(self) -> Dict[str, Any]:
        """What Sentry calls the monitor's configuration."""
        return {
            "schedule": {"type": "interval", "value": 1, "unit": "minute"},
            "checkin_margin": self.missed_after_minutes,
            "max_runtime": self.missed_after_minutes,
            "failure_issue_threshold": self.failures,
            "recovery_threshold": 1,
            "timezone": "UTC",
        }


@dataclass(frozen=True)
class HeartbeatStatus:
    """``last_success_seconds`` ago one arrived; ``last_error`` is empty when the last one did."""

    sent: int = 0
    failed: int = 0
    last_success_seconds: Optional[float] = None
    last_error: str = ""

    def as_dict(self) -> Dict[str, Any]:
        return dict(vars(self))


class Heartbeat:
    def __init__(
        self, sentry: SentryNotifier, settings: Optional[HeartbeatSettings] = None, clock: Optional[Clock] = None
    ) -> None:
        self._sentry, self._settings, self._clock = sentry, settings or HeartbeatSettings(), clock or Clock()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._due: Optional[str] = None
        self._last_try: Optional[float] = None
        self._sent = self._failed = 0
        self._last_success: Optional[float] = None
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def beat(self, status: str = OK) -> None:
        """The loop goes on. Returns at once."""
        with self._lock:
            self._due = status
        self._wake.set()

    def close(self, seconds: float = 1.0) -> None:
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def status(self) -> HeartbeatStatus:
        with self._lock:
            ago = None if self._last_success is None else self._clock.monotonic() - self._last_success
            return HeartbeatStatus(self._sent, self._failed, ago, self._last_error)

    def step(self) -> Optional[float]:
        """What the thread does, once. In how many seconds there is more to do; None: at the next beat."""
        with self._lock:
            now = self._clock.monotonic()
            if self._due is None:
                return None
            wait = 0.0 if self._last_try is None else self._last_try + self._settings.every_seconds - now
            if wait > 0:
                return wait
            status, self._due, self._last_try = self._due, None, now
        delivery = self._sentry.check_in(self._settings.slug, status, self._settings.config)
        with self._lock:
            if delivery.ok:
                self._sent, self._last_success, self._last_error = self._sent + 1, self._clock.monotonic(), ""
            else:
                self._failed, self._last_error = self._failed + 1, delivery.detail
                if delivery.retry_after_seconds:
                    self._last_try = max(now, now + delivery.retry_after_seconds - self._settings.every_seconds)
        return None

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.clear()
            wait = self.step()
            if self._closed.is_set():
                return
            if wait is None:
                self._wake.wait()
            else:  # a beat that comes meanwhile only replaces the one that waits
                ends_at = time.monotonic() + wait
                while not self._closed.is_set() and time.monotonic() < ends_at:
                    self._wake.wait(ends_at - time.monotonic())
                    self._wake.clear()
