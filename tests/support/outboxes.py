# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An outbox on a simulated clock, and services that answer as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from baileys_resilience.clock import Clock
from baileys_resilience.notify import Delivery, Notification
from baileys_resilience.notify.model import CONTENT, LATER, SETTINGS, Pace
from baileys_resilience.notify.outbox import Outbox, OutboxSettings, ServiceStatus

EPOCH = 1_800_000_000.0


class SimulatedClock(Clock):
    """Both clocks stand still until somebody turns them."""

    def __init__(self) -> None:
        self.boot = "boot-1"
        self._monotonic, self._wall = 1000.0, EPOCH

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        self._wall += seconds

    def reboot(self, away_seconds: float = 0.0) -> None:
        self.boot, self._monotonic = self.boot + "x", 3.0
        self._wall += away_seconds


OK = Delivery(True, "sent")
DOWN = Delivery(False, "connection refused", failure=LATER)
UNAUTHORIZED = Delivery(False, "HTTP 401: Unauthorized", failure=SETTINGS)
BAD_TEXT = Delivery(False, "HTTP 400: text is empty", failure=CONTENT)


@dataclass
class Service:
    """``answers`` are used up in turn; the last one stays."""

    service: str
    clock: SimulatedClock
    answers: list[Delivery] = field(default_factory=lambda: [OK])
    paces: Sequence[Pace] = ()
    settings_digest: str = "digest-1"
    budget_seconds: float = 3.0
    tried: list[tuple[float, Notification]] = field(default_factory=list)
    taken: list[Notification] = field(default_factory=list)

    def send(self, notification: Notification) -> Delivery:
        self.tried.append((self.clock.monotonic(), notification))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.ok:
            self.taken.append(notification)
        return answer

    @property
    def titles(self) -> list[str]:
        return [each.title for each in self.taken]


class Box:
    """An outbox that is stepped by hand."""

    def __init__(self, directory: Path, *services: str, settings: OutboxSettings | None = None) -> None:
        self.clock = SimulatedClock()
        self.services = {name: Service(name, self.clock) for name in services or ("sentry", "telegram")}
        self.directory = directory / "outbox"
        self.settings = settings
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        return Outbox(self.directory, list(self.services.values()), self.settings, self.clock, jitter=lambda: 0.0)

    def restart(self) -> None:
        self.outbox.close(0)
        self.outbox = self.opened()

    def run(self, seconds: float = 0.0) -> None:
        """All that is due until then, in small steps of time."""
        until = self.clock.monotonic() + seconds
        while True:
            waits = [each for each in self.outbox.step().values() if each is not None]
            if 0.0 in waits:
                continue
            left = until - self.clock.monotonic()
            if left <= 1e-9:
                return
            self.clock.advance(min([*waits, left]))

    def status(self, service: str) -> ServiceStatus:
        return {each.service: each for each in self.outbox.status()}[service]


def note(title: str, kind: str = "alert", fingerprint: str | None = None) -> Notification:
    return Notification(
        title, f"text of {title}", "error", {"kind": kind}, title if fingerprint is None else fingerprint
    )
