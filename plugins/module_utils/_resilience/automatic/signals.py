# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Both signals, as root sees them: the database by the failover's own login, the application by its socket."""

from __future__ import annotations

import time
from typing import Callable, List

from ..errors import ResilienceError, StepFailed
from ..failover.client_admin import ask_status
from ..failover.settings import FailoverSettings
from ..health.alerts.readings import Probe
from ..health.alerts.rules import cause_of
from ..health.monitor.configuration import MonitorSettings
from ..health.monitor.database import DatabaseSource
from ..health.monitor.requesting import ACTING
from .request import shown

#: as many as the monitor takes for an incident
_LOOKS = 3
_BETWEEN_SECONDS = 1.0
_PLAN = "to fail over yourself: ansible-playbook baileys.resilience.emergency_failover --check"


def look_at_database(
    settings: FailoverSettings, monitor: MonitorSettings, *, wait: Callable[[float], None] = time.sleep
) -> str:
    """What was seen, where it serves nothing in three looks. Raises StepFailed at the first that is not that bad."""
    source = DatabaseSource(
        settings.database,
        settings.tables,
        monitor=monitor.name,
        deadline_seconds=monitor.deadline_seconds,
        write=monitor.write,
    )
    seen: List[str] = []
    while True:
        seen.append(_bad_look(source))
        if len(seen) == _LOOKS:
            return f"{settings.database.where}: {seen[-1]}"
        wait(_BETWEEN_SECONDS)


def _bad_look(source: DatabaseSource) -> str:
    probe = next(each for each in source.look().readings if isinstance(each, Probe))
    error = probe.error
    if error is None:
        raise _no_signal(probe.problem or "it serves", source.params.where)
    cause = cause_of(error, probe.failed)
    if cause not in ACTING:
        raise _no_signal(f"it is not just away: {shown(error.cause)}", source.params.where)
    return f"{probe.failed}: {shown(error.cause)}"


def look_at_client(settings: FailoverSettings) -> str:
    """What the application says of its sessions, where one of this host's runs from its cache. Raises StepFailed where
    it says anything else, or nothing.
    """
    try:
        sessions = ask_status(settings.client_dir)["sessions"] if settings.client_dir else []
    except ResilienceError as exc:
        raise _no_signal(exc.cause, settings.client_dir) from exc
    without = [each["company"] for each in sessions if each["outage"] is not None]
    ours = sorted(set(without) & set(settings.companies))
    if not ours:
        raise _no_signal("no session of this host runs from its cache", settings.client_dir or "failover_client_dir")
    return f"{settings.client_dir}: {len(ours)} of {len(settings.companies)} companies run from the cache"


def _no_signal(cause: str, subject: str) -> StepFailed:
    return StepFailed(cause, operation="look once more at", subject=subject, hint=_PLAN)
