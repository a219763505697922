# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How all keys are now, for a page or a terminal: what is, whether it was told or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import List, Optional

from ..findings import CRITICAL, OK, UNKNOWN, WARNING
from .board import Board, Watched
from .causes import CAUSES, CONCERNS, NO_DATA_CAUSE, NO_DATA_COMMAND, NO_DATA_TITLE
from .machine import DOWN, RECOVERING
from .machine import UNKNOWN as UNKNOWN_STATE
from .model import Key, Moment

_GRAVEST_FIRST = (CRITICAL, UNKNOWN, WARNING, OK)


@dataclass(frozen=True)
class KeyState:
    """``status`` is one of :mod:`..findings`; what is only suspected is ok still. ``told``: somebody was told of it and
    has not heard of its end. ``since`` and ``seconds`` are of the incident.
    """

    key: Key
    state: str
    status: str
    cause: str = ""
    title: str = ""
    evidence: str = ""
    command: str = ""
    note: str = ""
    since: Optional[datetime] = None
    seconds: float = 0.0
    told: bool = False


def overview(board: Board, now: Moment) -> List[KeyState]:
    """The gravest first, otherwise in the order of their names."""
    found = [_state_of(key, watched, now) for key, watched in board.keys.items()]
    return sorted(found, key=lambda each: (_GRAVEST_FIRST.index(each.status), each.key))


def _state_of(key: Key, watched: Watched, now: Moment) -> KeyState:
    condition, told = watched.condition, watched.telling.open is not None
    trouble = condition.trouble
    if trouble is None:
        return KeyState(key, condition.state, OK, told=told)
    unknown = condition.state == UNKNOWN_STATE or trouble.cause == NO_DATA_CAUSE
    cause = None if unknown else CAUSES[trouble.cause]
    return KeyState(
        key=key,
        state=condition.state,
        status=UNKNOWN if unknown else CONCERNS[key.concern].severity,
        cause=cause.name if cause else NO_DATA_CAUSE,
        title=cause.title if cause else NO_DATA_TITLE,
        evidence=trouble.evidence if condition.state in (DOWN, RECOVERING) else condition.silence,
        command=(trouble.command or cause.command) if cause else NO_DATA_COMMAND,
        note=cause.note if cause else "",
        since=trouble.began_wall,
        seconds=max(0.0, now.monotonic - trouble.began),
        told=told,
    )
