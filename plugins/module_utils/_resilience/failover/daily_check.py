# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The question of every day: would a failover work now? Asked by ``baileys-resilience check``; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List

from ..errors import ResilienceError
from ..notify import Delivery, Notification, notifiers_for, notify_all
from .operations import Operation
from .settings import FailoverSettings


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
        return Readiness([str(exc)], [])
    problems = [*plan.blocked, *(each for each in plan.unready if each not in plan.blocked)]
    if not plan.blocked:
        behind = [each.company for each in plan.companies if each.moves and not each.sources]
        problems += [f"company {company}: no source has a whole copy of it that is young enough" for company in behind]
    return Readiness(problems, [each for each in plan.degraded if each not in problems])


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
