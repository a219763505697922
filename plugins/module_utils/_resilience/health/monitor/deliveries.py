# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Where notices go: the journal has them from the watch, Sentry and Telegram from an outbox of their own threads."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ...notify import Notification, notifiers_for
from ...notify.heartbeat import Heartbeat, HeartbeatSettings
from ...notify.outbox import Outbox
from ...notify.sentry import SentryNotifier
from ...progress import Progress
from .configuration import MonitorSettings

OUTBOX = "outbox"
#: within the time that systemd gives us to end
_CLOSE_SECONDS = 5.0


class Deliveries:
    """A delivery of the watch. Without an outbox, only those who read the journal are told."""

    def __init__(
        self, progress: Progress, outbox: Optional[Outbox] = None, heartbeat: Optional[Heartbeat] = None
    ) -> None:
        self._progress, self._outbox, self._heartbeat = progress, outbox, heartbeat

    def put(self, notification: Notification, services: Sequence[str] = ()) -> None:
        if self._outbox is None:
            return
        problem = self._outbox.put(notification, services).problem
        if problem:  # it is in memory, and will be sent from there
            self._progress.note("not on disk", what=notification.title, why=problem)

    def beat(self) -> None:
        """The loop came round."""
        if self._heartbeat is not None:
            self._heartbeat.beat()

    @property
    def names(self) -> str:
        return ", ".join(each["service"] for each in self.services()) or "nobody but this log"

    def services(self) -> List[Dict[str, Any]]:
        return [each.as_dict() for each in self._outbox.status()] if self._outbox else []


@contextlib.contextmanager
def opened_delivery(settings: MonitorSettings, progress: Progress) -> Iterator[Deliveries]:
    """Raises what :class:`Outbox` raises."""
    notifiers = notifiers_for(settings.notify)
    if not notifiers:
        yield Deliveries(progress)
        return
    outbox = Outbox(Path(settings.state_dir) / OUTBOX, notifiers)
    heartbeat = _heartbeat(settings)
    outbox.start()
    if heartbeat is not None:
        heartbeat.start()
    try:
        yield Deliveries(progress, outbox, heartbeat)
    finally:
        if heartbeat is not None:
            heartbeat.close()
        outbox.close(_CLOSE_SECONDS)


def _heartbeat(settings: MonitorSettings) -> Optional[Heartbeat]:
    notify = settings.notify
    if not (settings.heartbeat and notify.sentry_dsn):
        return None
    sentry = SentryNotifier(
        notify.sentry_dsn,
        environment=notify.environment,
        server_name=notify.server_name,
        budget_seconds=notify.budget_seconds,
    )
    return Heartbeat(sentry, HeartbeatSettings(slug=settings.heartbeat))
