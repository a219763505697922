# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What was told of one key, and what is to be told now that it is as it is.

What somebody was told of is open until its recovery is told, whatever silence and damping lie between. Meanwhile each
kind of notice comes once, but for repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Dict, List, Optional

from ...clock import in_words, to_iso
from ..findings import UNKNOWN as UNKNOWN_SEVERITY
from .causes import CAUSES, CONCERNS, NO_DATA_CAUSE, NO_DATA_COMMAND, NO_DATA_TITLE
from .machine import UNKNOWN, Condition, Trouble
from .model import ALERT, FLAPPING, NO_DATA, RECOVERY, REPEAT, Key, Moment, Notice
from .settings import AlertSettings


class Quiet(Enum):
    """Why nothing may be told now. What a human silenced is told at the end, if it is still so."""

    NO = "no"
    SILENCED = "silenced"
    EXPLAINED = "explained"


@dataclass
class Open:
    """What somebody was told of. ``at`` is when that was told: repeats count from it. ``told`` counts notices
    by kind, ``causes`` are those that it had so far, each once.
    """

    at: float
    began: float
    began_wall: datetime
    causes: List[str]
    told: Dict[str, int] = field(default_factory=dict)
    repeats: int = 0


@dataclass
class Telling:
    """``damped``: the key flaps, and behind one notice of that nothing is told until it rests. ``owes_word``: a human
    silenced it while it was open.
    """

    open: Optional[Open] = None
    damped: bool = False
    flapping_told: bool = False
    owes_word: bool = False


def tell(
    key: Key, condition: Condition, telling: Telling, settings: AlertSettings, now: Moment, quiet: Quiet = Quiet.NO
) -> Optional[Notice]:
    """The notice that is due, if any. The caller sends it: it counts as told."""
    _judge_flapping(condition, telling, settings, now)
    opened, trouble = telling.open, condition.trouble
    if opened is not None and trouble is not None and trouble.cause not in opened.causes:
        opened.causes.append(trouble.cause)
    if quiet is Quiet.SILENCED:
        telling.owes_word = opened is not None
    if quiet is not Quiet.NO:
        return None
    if telling.damped:
        return None if telling.flapping_told else _tell_flapping(key, condition, telling, settings, now)
    if trouble is None:
        return None if opened is None else _tell_recovery(key, condition, telling, opened)
    if not condition.is_settled:
        return None
    kind = NO_DATA if condition.state == UNKNOWN else ALERT
    if opened is None or kind not in opened.told:
        return _tell_trouble(kind, key, condition, trouble, telling, now)
    if telling.owes_word or _due_seconds(opened.repeats, settings) <= now.monotonic - opened.at:
        return _tell_repeat(key, condition, trouble, telling, opened, settings, now)
    return None


def _judge_flapping(condition: Condition, telling: Telling, settings: AlertSettings, now: Moment) -> None:
    since = now.monotonic - settings.flap_window_seconds
    condition.changes = [each for each in condition.changes if each > since]
    if len(condition.changes) > settings.flap_changes:
        telling.damped = True
    elif not condition.changes:
        telling.damped = telling.flapping_told = False


def _due_seconds(number: int, settings: AlertSettings) -> float:
    """When the repeat after ``number`` others is due, counted from the alert."""
    times = settings.repeat_seconds
    return times[number] if number < len(times) else times[-1] * (number - len(times) + 2)


def _tell_trouble(kind: str, key: Key, condition: Condition, trouble: Trouble, telling: Telling, now: Moment) -> Notice:
    opened = telling.open or Open(now.monotonic, trouble.began, trouble.began_wall, [trouble.cause])
    if kind == ALERT:
        opened.at, opened.repeats = now.monotonic, 0
    telling.open, telling.owes_word = opened, False
    return _notice(kind, key, condition, trouble, opened, now.monotonic)


def _tell_repeat(
    key: Key,
    condition: Condition,
    trouble: Trouble,
    telling: Telling,
    opened: Open,
    settings: AlertSettings,
    now: Moment,
) -> Notice:
    while _due_seconds(opened.repeats, settings) <= now.monotonic - opened.at:
        opened.repeats += 1
    telling.owes_word = False
    return _notice(REPEAT, key, condition, trouble, opened, now.monotonic)


def _tell_flapping(
    key: Key, condition: Condition, telling: Telling, settings: AlertSettings, now: Moment
) -> Optional[Notice]:
    trouble = condition.trouble or condition.last
    if trouble is None:  # a change is the begin or the end of one, so there is one
        return None
    opened = telling.open or Open(now.monotonic, trouble.began, trouble.began_wall, [trouble.cause])
    telling.open, telling.flapping_told, telling.owes_word = opened, True, False
    times, within = len(condition.changes), in_words(settings.flap_window_seconds)
    changed = f"{times} changes within {within}, now {condition.state}; you hear of it again when it rests"
    return _notice(FLAPPING, key, condition, trouble, opened, now.monotonic, changed)


def _tell_recovery(key: Key, condition: Condition, telling: Telling, opened: Open) -> Notice:
    telling.open, telling.owes_word = None, False
    known = [each for each in opened.causes if each != NO_DATA_CAUSE] or opened.causes
    ended = Trouble(opened.began, opened.began_wall, known[0])
    also = [_title(each) for each in known[1:]]
    return _notice(RECOVERY, key, condition, ended, opened, condition.ended, f"also: {', '.join(also)}" if also else "")


def _notice(
    kind: str, key: Key, condition: Condition, trouble: Trouble, opened: Open, until: float, remark: str = ""
) -> Notice:
    opened.told[kind] = opened.told.get(kind, 0) + 1
    # Told in an incident that was DOWN, missing data are still missing data.
    unknown = kind == NO_DATA or (kind != RECOVERY and condition.state == UNKNOWN) or trouble.cause == NO_DATA_CAUSE
    cause = NO_DATA_CAUSE if unknown else trouble.cause
    evidence = [remark, _evidence(condition, trouble, unknown, until) if kind != RECOVERY else ""]
    return Notice(
        kind=kind,
        key=key,
        cause=cause,
        severity=UNKNOWN_SEVERITY if unknown else CONCERNS[key.concern].severity,
        title=_title(cause),
        since=opened.began_wall,
        duration_seconds=max(0.0, until - opened.began),
        evidence="\n".join(each for each in evidence if each),
        command=NO_DATA_COMMAND if unknown else trouble.command or CAUSES[cause].command,
        note="" if unknown else CAUSES[cause].note,
        fingerprint=_fingerprint(kind, key, opened),
        companies=trouble.companies,
        services=CONCERNS[key.concern].services,
    )


def _evidence(condition: Condition, trouble: Trouble, unknown: bool, now: float) -> str:
    if not unknown:
        return trouble.evidence
    unheard = f"nothing was learnt of it for {in_words(now - condition.heard)}"
    before = "" if trouble.cause == NO_DATA_CAUSE else f"; before that: {_title(trouble.cause)}"
    return f"{unheard}{before}" + (f": {condition.silence}" if condition.silence else "")


def _title(cause: str) -> str:
    return NO_DATA_TITLE if cause == NO_DATA_CAUSE else CAUSES[cause].title


def _fingerprint(kind: str, key: Key, opened: Open) -> str:
    """The same for a notice that is made again after a crash, another for every other one."""
    parts = (*key.subject, key.concern, to_iso(opened.began_wall), kind, str(opened.told[kind]))
    return ":".join(("monitor", *parts))
