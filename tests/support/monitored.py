# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A monitor at work beside a test: its real loop in a thread, and everything that it would have told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.monitor.configuration import ListenSettings, MonitorSettings
from baileys_resilience.health.monitor.service import Monitor
from baileys_resilience.health.monitor.watch import Published
from baileys_resilience.notify import Notification
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.progress import Silent

#: much quicker than in production, so that a test of a hundred looks takes seconds
QUICK_ALERTS = AlertSettings(recheck_seconds=0.2, hold_seconds=1.0, grace_seconds=3.0)
PATIENCE_SECONDS = 90.0


class Kept:
    """A delivery that only keeps."""

    def __init__(self) -> None:
        self.told: list[Notification] = []
        self.fails = False

    def put(self, notification: Notification, services: Sequence[str] = ()) -> None:
        if self.fails:
            raise OSError("no space left on device")
        self.told.append(notification)

    def beat(self) -> None:
        """A heartbeat; nobody listens."""

    names = "a test"

    def services(self) -> list[dict[str, Any]]:
        return []

    @property
    def kinds(self) -> list[str]:
        """``kind cause`` of all that was told."""
        return [f"{each.tags.get('kind', '')} {each.tags.get('cause', '')}".strip() for each in self.told]


class Monitored:
    """The monitor and what it told."""

    def __init__(self, settings: MonitorSettings, kept: Kept, progress: Any = None) -> None:
        self.kept = kept
        self.monitor = Monitor(settings, progress or Silent(), kept)
        self._thread = threading.Thread(target=self.monitor.loop.run, name="monitor")

    def start(self) -> None:
        if self.monitor.endpoint is not None:
            self.monitor.endpoint.start()
        self._thread.start()

    def stop(self) -> None:
        self.monitor.loop.stop()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the loop did not end"
        if self.monitor.endpoint is not None:
            self.monitor.endpoint.close()

    @property
    def published(self) -> Published:
        found = self.monitor.watch.published
        assert found is not None
        return found

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        limit = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self._thread.is_alive(), "the loop has ended"
            assert time.monotonic() < limit, f"waited in vain: {what}. Told: {self.kept.kinds}, {self.states()}"
            time.sleep(0.02)

    def states(self) -> dict[str, str]:
        published = self.monitor.watch.published
        return {str(each.key): f"{each.state} {each.cause}" for each in published.states} if published else {}

    @property
    def auto_failover(self) -> str:
        """How it is about a failover that it may ask for; empty before the first look."""
        published = self.monitor.watch.published
        return str(published.auto_failover["state"]) if published and published.auto_failover else ""

    def wait_until_told(self, *kinds: str) -> None:
        """Everything that was told so far is exactly this, or becomes so."""
        self.wait(lambda: len(self.kept.kinds) >= len(kinds), f"told {kinds}")
        assert self.kept.kinds == list(kinds)

    def wait_until_well(self) -> None:
        """Everything was looked at, and is well."""
        self.wait(
            lambda: (
                self.monitor.watch.published is not None
                and self.published.status == "ok"
                and {each.state for each in self.published.states} == {"OK"}
                and {"database", "keys"} <= set(self.published.figures)
            ),
            "all is well",
        )

    def wait_for_looks(self, number: int) -> None:
        """So many more looks, whatever they bring."""
        wanted = self.published.looks + number
        self.wait(lambda: self.published.looks >= wanted, f"{number} more looks")


def quick_settings(params: ConnectParams, state_dir: Path, **more: Any) -> MonitorSettings:
    plain = MonitorSettings(
        params,
        state_dir=str(state_dir),
        name="test",
        interval_seconds=1.0,
        deadline_seconds=1.0,
        alerts=QUICK_ALERTS,
        listen=ListenSettings(port=0),
    )
    return replace(plain, **more)


@contextmanager
def monitored(settings: MonitorSettings, kept: Kept | None = None, progress: Any = None) -> Iterator[Monitored]:
    running = Monitored(settings, kept or Kept(), progress)
    running.start()
    try:
        yield running
    finally:
        running.stop()
