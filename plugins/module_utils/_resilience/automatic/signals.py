# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Both signals, as root sees them: the database by the failover's own login, the application by its socket."""

from __future__ import annotations

import time
from typing import Callable, List, Tuple

from ..errors import ResilienceError, StepFailed
from ..failover.client_admin import ask_status
from ..failover.settings import FailoverSettings
from ..health.alerts.readings import Probe
from ..health.alerts.rules import cause_of
from ..health.monitor.configuration import MonitorSettings
from ..health.monitor.database import DatabaseSource
from ..health.monitor.requesting import ACTING
from ..sessions.record import FILES
from .request import shown

#: as many as the monitor takes for an incident
_LOOKS = 3
_BETWEEN_SECONDS = 1.0
#: more than the client's own heartbeat and the time-out of its queries
_LOOKS_AT_CLIENT = 15
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


def look_at_client(settings: FailoverSettings, *, wait: Callable[[float], None] = time.sleep) -> str:
    """What the application says of its sessions, where those of this host run from its cache. Raises StepFailed where
    it says anything else, or nothing. One session that has its database says that it is only we who have not; but each
    notices for itself, which may take it some seconds.
    """
    for looked in range(1, _LOOKS_AT_CLIENT + 1):
        without, having = _sessions(settings)
        if not without:
            subject = settings.client_dir or "failover_client_dir"
            raise _no_signal("no session of this host runs from its cache", subject)
        if not having:
            break
        if looked == _LOOKS_AT_CLIENT:
            cause = f"the application reaches the database: company {having[0]} has it, {without[0]} has not"
            raise _no_signal(cause, settings.client_dir)
        wait(_BETWEEN_SECONDS)
    return f"{settings.client_dir}: {len(without)} of {len(settings.companies)} companies run from the cache"


def _sessions(settings: FailoverSettings) -> Tuple[List[str], List[str]]:
    """Companies of this host without their database, and those that have it. Others are stopped, or live in files."""
    try:
        sessions = ask_status(settings.client_dir)["sessions"] if settings.client_dir else []
    except ResilienceError as exc:
        raise _no_signal(exc.cause, settings.client_dir) from exc
    ours = [each for each in sessions if each["company"] in settings.companies]
    without = sorted(each["company"] for each in ours if each["outage"] is not None)
    having = sorted(
        each["company"]
        for each in ours
        if each["outage"] is None and each["state"] == "online" and each["store"] != FILES
    )
    return without, having


def _no_signal(cause: str, subject: str) -> StepFailed:
    return StepFailed(cause, operation="look once more at", subject=subject, hint=_PLAN)
