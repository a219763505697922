# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The question of every day: would a failover work now? Asked by ``baileys-resilience check``; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from ..clock import age_seconds
from ..errors import ResilienceError
from ..notify import Delivery, Notification, notifiers_for, notify_all
from .client_memory import sessions
from .operations import Operation
from .settings import FailoverSettings

#: a move needs about a second for this, and WhatsApp gives a silent connection up after half of it
_SEALED_SECONDS = 60.0


@dataclass(frozen=True)
class Readiness:
    """``problems`` keep a failover from working, now or with every database dead; ``degraded`` make it worth less."""

    problems: List[str]
    degraded: List[str]


def check_readiness(operation: Operation) -> Readiness:
    """What the plan of a failover says against it. ``operation`` is a failover."""
    try:
        plan = operation.plan()
    except ResilienceError as exc:
        return Readiness([str(exc), *held_too_long(operation.settings)], [])
    problems = [*plan.blocked, *(each for each in plan.unready if each not in plan.blocked)]
    if not plan.blocked:
        behind = [each.company for each in plan.companies if each.moves and not each.sources]
        problems += [f"company {company}: no source has a whole copy of it that is young enough" for company in behind]
    problems += held_too_long(operation.settings)
    return Readiness(problems, [each for each in plan.degraded if each not in problems])


def held_too_long(settings: FailoverSettings) -> List[str]:
    """Sessions whose client waits for the end of a move that nobody ends: a hold that was sealed has no end of its own,
    and nothing is sent or received meanwhile.
    """
    try:
        now = sessions(settings.client_dir) if settings.client_dir else {}
    except ResilienceError:
        return []  # nobody answers, and nobody holds anything
    found = []
    for company, session in sorted(now.items()):
        hold = session.get("hold") or {}
        seconds = _age(hold.get("since"))
        if hold.get("phase") == "sealed" and seconds > _SEALED_SECONDS:
            found.append(
                f"company {company}: its client has held it for {seconds:.0f} s, on its way to {hold.get('to')}:"
                " nothing is sent or received. HINT: baileys-resilience failover status says whether a run is open. If"
                " so: baileys-resilience failover resume (failback resume). If none is: restart the application, it"
                " goes on where .env says"
            )
    return found


def _age(since: object) -> float:
    try:
        return age_seconds(str(since))
    except ResilienceError:
        return 0.0


def tell(settings: FailoverSettings, found: Readiness) -> List[Delivery]:
    """Sentry and Telegram hear that a failover would not work; the same host is not told of twice within the window."""
    note = Notification(
        f"a failover on {settings.host} would not work now",
        "\n".join(f"- {each}" for each in found.problems),
        "error",
        {"host": settings.host, "operation": "check"},
        f"check-{settings.host}",
        settings.companies,
    )
    return notify_all(notifiers_for(settings.notify, settings.state), note)
