# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The board as plain data, and back, so that a restarted monitor neither repeats nor forgets an open incident.

Times are written as the monotonic clock had them, with what both clocks showed and the id of the boot. In the same boot
they are good as they are. After another boot that clock began anew: then only the wall clock tells how long it took,
and where it ran backwards, it took no time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ...clock import from_iso, to_iso
from ...errors import ResilienceError, StoreError
from .board import Board, Silence, Watched
from .causes import CAUSES, CONCERNS, NO_DATA_CAUSE
from .machine import DOWN, OK, RECOVERING, STATES, SUSPECT, UNKNOWN, Condition, Trouble
from .model import ALERT, FLAPPING, NO_DATA, REPEAT, SUBJECT_KINDS, Key, Moment, Subject
from .rules import Rules
from .slow import SlowQueries
from .telling import Open, Telling

FORMAT = "baileys-resilience/alerts"
VERSION = 1
_OPENING = (ALERT, REPEAT, FLAPPING, NO_DATA)


def to_dict(board: Board, rules: Rules, now: Moment, boot: str) -> Dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "saved": {"boot": boot, "monotonic": now.monotonic, "wall": to_iso(now.wall)},
        "keys": [_of_key(key, watched) for key, watched in board.keys.items()],
        "silences": [{"until": e.until, "subject": list(e.subject) if e.subject else None} for e in board.silences],
        "slow": [{"subject": list(e), "total": s.total, "marks": list(s.marks)} for e, s in rules.slow.items()],
    }


def _of_key(key: Key, watched: Watched) -> Dict[str, Any]:
    condition, telling = watched.condition, watched.telling
    found = {
        **vars(condition),
        "changes": list(condition.changes),
        "suspicion": _of_times(condition.suspicion),
        "trouble": _of_times(condition.trouble),
        "last": _of_times(condition.last),
    }
    return {
        "subject": list(key.subject),
        "concern": key.concern,
        "condition": found,
        "telling": {**vars(telling), "open": _of_times(telling.open)},
        "ill_at": None if math.isinf(watched.ill_at) else watched.ill_at,
    }


def _of_times(what: Any) -> Optional[Dict[str, Any]]:
    return None if what is None else {**asdict(what), "began_wall": to_iso(what.began_wall)}


def load(content: Mapping[str, Any], board: Board, rules: Rules, now: Moment, boot: str) -> None:
    """Fill ``board`` and ``rules``. Raises StoreError before either is changed."""
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise _refused("this is no state of alerts")
    if content.get("version") != VERSION:
        raise _refused(f"it is of version {content.get('version')!r}, and this release reads version {VERSION}")
    try:
        reader = _Reader(_elapsed(content["saved"], now, boot))
        keys = dict(reader.key(each) for each in content["keys"])
        silences = [reader.silence(each) for each in content["silences"]]
        slow = dict(reader.slow(each) for each in content["slow"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ResilienceError) as exc:
        raise _refused(f"it is damaged: {type(exc).__name__}: {exc}") from exc
    board.keys.update(keys)
    board.silences.extend(silences)
    rules.slow.update(slow)


def _refused(cause: str) -> StoreError:
    return StoreError(
        cause,
        operation="read",
        subject="saved alerts",
        hint="put the file aside; the monitor then begins anew, and tells again what is wrong",
    )


@dataclass(frozen=True)
class _Elapsed:
    """``shift`` turns a saved monotonic time into one of now; ``away`` are the seconds in which nobody watched."""

    shift: float
    away: float


def _elapsed(saved: Mapping[str, Any], now: Moment, boot: str) -> _Elapsed:
    monotonic, wall = _number(saved["monotonic"]), from_iso(_text(saved["wall"]))
    away = now.monotonic - monotonic
    if _text(saved["boot"]) == boot and away >= 0:
        return _Elapsed(0.0, away)
    by_wall = max(0.0, (now.wall - wall).total_seconds())
    return _Elapsed(away - by_wall, by_wall)


class _Reader:
    """Checks whatever it reads: half a state would be told as if it were true."""

    def __init__(self, elapsed: _Elapsed) -> None:
        self._elapsed = elapsed

    def key(self, content: Mapping[str, Any]) -> Tuple[Key, Watched]:
        concern = _one_of(content["concern"], CONCERNS)
        watched = Watched(self._condition(content["condition"], concern), self._telling(content["telling"], concern))
        if content["ill_at"] is not None:
            watched.ill_at = self._time(content["ill_at"])
        return Key(_subject(content["subject"]), concern), watched

    def silence(self, content: Mapping[str, Any]) -> Silence:
        subject = content["subject"]
        return Silence(self._time(content["until"]), None if subject is None else _subject(subject))

    def slow(self, content: Mapping[str, Any]) -> Tuple[Subject, SlowQueries]:
        marks = [(self._time(at), _whole(number)) for at, number in _list(content["marks"])]
        total = content["total"]
        return _subject(content["subject"]), SlowQueries(marks, None if total is None else _whole(total))

    def _condition(self, content: Mapping[str, Any], concern: str) -> Condition:
        found = Condition(
            heard=self._time(content["heard"]),
            state=_one_of(content["state"], STATES),
            failures=_whole(content["failures"]),
            successes=_whole(content["successes"]),
            suspicion=self._trouble(content["suspicion"], concern),
            trouble=self._trouble(content["trouble"], concern),
            was_down=_flag(content["was_down"]),
            last=self._trouble(content["last"], concern),
            ended=self._time(content["ended"]),
            changes=[self._time(each) for each in _list(content["changes"])],
            silence=_text(content["silence"]),
            aside=_flag(content["aside"]),
        )
        _check_whole(found)
        if found.state != UNKNOWN:
            found.heard += self._elapsed.away  # data are not missing because nobody was there to look
        return found

    def _trouble(self, content: Optional[Mapping[str, Any]], concern: str) -> Optional[Trouble]:
        if content is None:
            return None
        return Trouble(
            began=self._time(content["began"]),
            began_wall=from_iso(_text(content["began_wall"])),
            cause=_cause(content["cause"], concern),
            evidence=_text(content["evidence"]),
            command=_text(content["command"]),
            companies=tuple(_text(each) for each in _list(content["companies"])),
        )

    def _telling(self, content: Mapping[str, Any], concern: str) -> Telling:
        return Telling(
            self._open(content["open"], concern),
            _flag(content["damped"]),
            _flag(content["flapping_told"]),
            _flag(content["owes_word"]),
        )

    def _open(self, content: Optional[Mapping[str, Any]], concern: str) -> Optional[Open]:
        if content is None:
            return None
        causes = [_cause(each, concern) for each in _list(content["causes"])]
        told = {_one_of(kind, _OPENING): _whole(number) for kind, number in content["told"].items()}
        if not causes or not told:
            raise ValueError("an incident that was told has a cause and a notice")
        return Open(
            at=self._time(content["at"]),
            began=self._time(content["began"]),
            began_wall=from_iso(_text(content["began_wall"])),
            causes=causes,
            told=told,
            repeats=_whole(content["repeats"]),
        )

    def _time(self, value: Any) -> float:
        return _number(value) + self._elapsed.shift


def _check_whole(found: Condition) -> None:
    """What the states are made of must be there."""
    needs_trouble = found.state in (DOWN, RECOVERING, UNKNOWN)
    if needs_trouble != (found.trouble is not None) and found.state != SUSPECT:
        raise ValueError(f"state {found.state} {'without' if needs_trouble else 'with'} an incident")
    if (found.state == SUSPECT) != (found.suspicion is not None):
        raise ValueError(f"state {found.state} {'without' if found.state == SUSPECT else 'with'} a suspicion")
    if found.state == OK and found.was_down:
        raise ValueError("state OK with an incident")


def _subject(value: Any) -> Subject:
    kind, name = _list(value)
    return Subject(_one_of(kind, SUBJECT_KINDS), _text(name))


def _cause(value: Any, concern: str) -> str:
    if value != NO_DATA_CAUSE and CAUSES[_text(value)].concern != concern:
        raise ValueError(f"{value!r} is no cause of {concern}")
    return str(value)


def _one_of(value: Any, allowed: Any) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{value!r} is no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return int(value)
