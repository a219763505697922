# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A job that runs once a day, as Sentry Crons sees it: begun, and how it ended.

Sentry opens an issue where it ended in an error, where nothing came at its time (a host that is off, a timer that is
gone), and where it began and never ended (a kill). https://docs.sentry.io/product/crons/
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, TypeVar

from ..errors import UsageError
from .model import Delivery
from .sentry import CRONS_ERROR, CRONS_IN_PROGRESS, CRONS_OK, SentryNotifier
from .settings import NotifySettings

SERVICE = "sentry crons"
#: what Sentry takes as the slug of a monitor
_SLUG = re.compile("[a-z0-9_-]{1,50}")
_TIME = re.compile("(?:[01][0-9]|2[0-3]):[0-5][0-9]")
#: a host that boots at that time is late
_LATE_MINUTES = 30
_LONGEST_MINUTES = 60

Result = TypeVar("Result")


def check_slug(slug: str) -> str:
    """Raises UsageError for what Sentry would not take."""
    if not _SLUG.fullmatch(slug):
        raise _wrong("check-in", f"{slug!r} is no name of a monitor", "1 to 50 of a-z, 0-9, - and _: cleanup-app-1")
    return slug


def check_time(at: str) -> str:
    """Raises UsageError for what is no time of a day."""
    if not _TIME.fullmatch(at):
        raise _wrong("daily-at", f"{at!r} is no time of a day", "write it as 03:00, UTC")
    return at


def _wrong(subject: str, cause: str, hint: str) -> UsageError:
    return UsageError(cause, operation="read", subject=subject, hint=hint)


class CheckIn:
    """One run of the job ``slug``. ``daily_at`` ("03:00", UTC) makes or changes the monitor at Sentry; empty leaves it
    as it is there. A check-in that does not arrive hinders nobody: it is in ``deliveries``.
    """

    def __init__(self, notify: NotifySettings, slug: str, daily_at: str = "") -> None:
        self._slug, self._config = check_slug(slug), config_of(daily_at)
        self._id = uuid.uuid4().hex
        self._sentry: Optional[SentryNotifier] = None
        self.deliveries: List[Delivery] = []
        if notify.sentry_dsn:
            self._sentry = SentryNotifier(
                notify.sentry_dsn,
                environment=notify.environment,
                server_name=notify.server_name,
                budget_seconds=notify.budget_seconds,
            )

    def around(self, run: Callable[[], Result]) -> Result:
        """Whatever ``run`` raises is an error to Sentry, and goes on."""
        began = time.monotonic()
        self._say(CRONS_IN_PROGRESS)
        try:
            result = run()
        except BaseException:
            self._say(CRONS_ERROR, time.monotonic() - began)
            raise
        self._say(CRONS_OK, time.monotonic() - began)
        return result

    def _say(self, status: str, seconds: Optional[float] = None) -> None:
        if self._sentry is None:
            self.deliveries = [Delivery(False, f"{status} was not told: no sentry_dsn is set", SERVICE)]
            return
        done = self._sentry.check_in(self._slug, status, self._config, check_in_id=self._id, seconds=seconds)
        self.deliveries.append(replace(done, detail=f"{status}: {done.detail}", service=SERVICE))


def config_of(daily_at: str) -> Optional[Dict[str, Any]]:
    """What Sentry calls the monitor's configuration."""
    if not daily_at:
        return None
    hour, minute = (int(each) for each in check_time(daily_at).split(":"))
    return {
        "schedule": {"type": "crontab", "value": f"{minute} {hour} * * *"},
        "checkin_margin": _LATE_MINUTES,
        "max_runtime": _LONGEST_MINUTES,
        "failure_issue_threshold": 1,
        "recovery_threshold": 1,
        "timezone": "UTC",
    }
