# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One look at everything, judged as it is: no three failures in a row, nothing told, nothing kept."""

from __future__ import annotations

import queue
import time
from typing import Dict, Iterable, Tuple

from ..alerts.causes import CAUSES, CONCERNS, NO_DATA_CAUSE, NO_DATA_COMMAND, NO_DATA_TITLE
from ..alerts.core import Alerts
from ..alerts.machine import DOWN, OK, UNKNOWN
from ..alerts.model import ASIDE, BAD, GOOD, Moment, Verdict
from ..alerts.overview import KeyState
from ..findings import OK as STATUS_OK
from ..findings import STATUSES
from ..findings import UNKNOWN as STATUS_UNKNOWN
from .lanes import Arrivals, Lane
from .source import Look, Source
from .watch import Published


def looked_at(sources: Iterable[Source]) -> Dict[str, Look]:
    """Each source once, all at the same time, by name. Takes as long as the longest of their limits."""
    arrivals: Arrivals = queue.SimpleQueue()
    lanes = [Lane(each, arrivals) for each in sources]
    found: Dict[str, Look] = {}
    while len(found) < len(lanes):
        for lane in lanes:
            if lane.source.name not in found:
                lane.turn(time.monotonic())
        try:
            finished = arrivals.get(timeout=0.1)
        except queue.Empty:
            continue
        if finished is not None and finished.lane.is_current(finished):
            found[finished.lane.source.name] = finished.look
            finished.lane.running_since = None
    return found


def first_sight(alerts: Alerts, looks: Dict[str, Look], now: Moment) -> Published:
    """What a monitor publishes, made of one look each."""
    verdicts = [each for look in looks.values() for each in alerts.rules.judge(look.readings, now)]
    states = [_state(each, now) for each in verdicts if each.state != ASIDE]
    return Published(
        at=now,
        states=sorted(states, key=lambda each: (-STATUSES.index(each.status), each.key)),
        figures=_figures(looks, now),
        degraded=[each for look in looks.values() for each in look.degraded],
        looks=len(looks),
    )


def _figures(looks: Dict[str, Look], now: Moment) -> Dict[str, Tuple[Moment, object]]:
    return {name: (now, look.figure) for name, look in looks.items() if look.figure is not None}


def _state(verdict: Verdict, now: Moment) -> KeyState:
    if verdict.state == GOOD:
        return KeyState(verdict.key, OK, STATUS_OK)
    if verdict.state != BAD:
        return KeyState(
            verdict.key, UNKNOWN, STATUS_UNKNOWN, NO_DATA_CAUSE, NO_DATA_TITLE, verdict.evidence, NO_DATA_COMMAND
        )
    cause = CAUSES[verdict.cause]
    return KeyState(
        key=verdict.key,
        state=DOWN,
        status=CONCERNS[verdict.key.concern].severity,
        cause=cause.name,
        title=cause.title,
        evidence=verdict.evidence,
        command=verdict.command or cause.command,
        note=cause.note,
        since=now.wall,
    )
