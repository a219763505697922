# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""When the monitor asks for a failover: only where it is set, and only on two signals that know nothing of each other.
It asks, by one file in a directory of its own; another process, of root, looks at both once more and decides.

The signals: the monitor itself gets nothing from the database, and an application says that it runs from its cache.
What is not known is no signal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ...clock import in_words, to_iso
from ...errors import ResilienceError
from ...files import make_private_directory, write_json
from ...notify import Notification
from ..alerts.board import Board, Watched
from ..alerts.causes import CACHE, SERVES
from ..alerts.machine import DOWN
from ..alerts.model import ALERT, Key, Moment, Subject
from ..findings import CRITICAL
from ..thresholds import check
from .saved import boot_id

DIRECTORY, REQUEST_FILE = "auto-failover", "request.json"
REQUEST_FORMAT = "baileys-resilience/auto-failover-request"
VERSION = 1
MEMORY_FILE = "auto-failover.json"
_MEMORY_FORMAT = "baileys-resilience/auto-failover"
#: what a failover helps against. A refused login, a lost right or a lock is for a human to understand first.
ACTING = ("down", "frozen")
#: what was looked at longer ago is not how it is now
_FRESH_SECONDS = 30.0
#: an application needs its time to notice an outage, too, and is not missed before
_PATIENCE_SECONDS = 30.0
#: systemd begins at once
_NOBODY_SECONDS = 30.0
_PLAN = "ansible-playbook baileys.resilience.emergency_failover --check"
_UNITS = "systemctl status baileys-resilience-auto-failover.path baileys-resilience-auto-failover.service"


@dataclass(frozen=True)
class AutoFailoverSettings:
    """``host`` is the inventory name, which the failover of this host knows. ``after_seconds`` is how long the database
    must have been told as down, ``cooldown_seconds`` how long nothing is asked for after a request.
    """

    host: str
    after_seconds: float = 60.0
    cooldown_seconds: float = 300.0

    def __post_init__(self) -> None:
        check("auto_failover.after_seconds", self.after_seconds, 5.0, 3600.0)
        check("auto_failover.cooldown_seconds", self.cooldown_seconds, 0.0, 86400.0)


@dataclass
class _Remembered:
    """``incident`` is when it began, by the wall clock of then: the last one that was asked for, or ``held`` back and
    told so. ``asked`` is the moment of the last request.
    """

    incident: str = ""
    held: str = ""
    asked: Optional[Mapping[str, Any]] = None


class AutoFailover:
    """Of the one thread that judges. ``state`` is for a page and a terminal, ``problem`` what could not be written."""

    def __init__(
        self,
        settings: AutoFailoverSettings,
        state_dir: Path,
        database: Subject,
        clients: Sequence[Subject],
        now: Moment,
    ) -> None:
        self._settings, self._database, self._clients = settings, database, list(clients)
        self._file = make_private_directory(state_dir / DIRECTORY) / REQUEST_FILE
        self._memory_file = state_dir / MEMORY_FILE
        self._boot = boot_id()
        self._remembered = self._read()
        #: since when the first signal is there without a good look between
        self._since: Optional[float] = None
        #: when the request was made that nobody has come for yet
        self._waiting_since = now.monotonic if self._file.exists() else None
        self.state = "waits for both signals"
        self.problem = ""

    def consider(self, board: Board, now: Moment) -> List[Notification]:
        """Behind each look. Returns what is to be told."""
        self.problem = ""
        try:
            return self._uncollected(now) + self._judge(board, now)
        except (ResilienceError, OSError) as error:
            self.problem = f"no automatic failover can be asked for: {error}"
            return []

    def as_dict(self) -> Dict[str, Any]:
        asked = self._remembered.asked
        return {
            "state": self.state,
            "after_seconds": self._settings.after_seconds,
            "asked_at": asked["at"] if asked else None,
        }

    def _judge(self, board: Board, now: Moment) -> List[Notification]:
        watched = board.keys.get(Key(self._database, SERVES))
        if watched is None or not _is_told(watched):
            self._since = None
            self.state = "waits for both signals"
            return []
        if self._since is None:
            self._since = now.monotonic
        trouble = watched.condition.trouble
        incident = to_iso(trouble.began_wall) if trouble else ""
        if incident == self._remembered.incident:
            self.state = "was asked for, once in this incident"
            return []
        lasts = now.monotonic - self._since
        client = next((each for each in self._clients if _is_cached(board, each, now)), None)
        why_not = self._why_not(board, watched, client, lasts, now)
        if why_not:
            self.state = f"is not asked for: {why_not}"
            return self._held_back(board, incident, why_not, lasts)
        return [self._ask(watched, client, incident, now)]

    def _why_not(self, board: Board, watched: Watched, client: Optional[Subject], lasts: float, now: Moment) -> str:
        if lasts < self._settings.after_seconds:
            return f"the database must be away for {in_words(self._settings.after_seconds)}"
        if not _is_known(watched, now):
            return "the last look at the database brought nothing"
        if board.silences:
            return "there is a silence: somebody is at work"
        if client is None:
            names = ", ".join(each.name for each in self._clients)
            return f"no application says that it is without the database ({names})"
        waits = self._settings.cooldown_seconds - self._since_asked(now)
        if waits > 0:
            return f"the last one was asked for not long ago; the next can be in {in_words(waits)}"
        return ""

    def _held_back(self, board: Board, incident: str, why_not: str, lasts: float) -> List[Notification]:
        """Told once an incident, so that whoever relies on it knows; not to those who asked for silence."""
        due = lasts >= self._settings.after_seconds + _PATIENCE_SECONDS
        if not due or board.silences or incident == self._remembered.held:
            return []
        self._remembered.held = incident
        try:
            self._write()
        except ResilienceError as error:  # told twice, behind a restart, is better than never
            self.problem = f"what was told cannot be kept: {error}"
        return [self._notification("held", incident, "no automatic failover", f"{why_not}\nRun: {_PLAN}")]

    def _ask(self, watched: Watched, client: Optional[Subject], incident: str, now: Moment) -> Notification:
        trouble = watched.condition.trouble
        evidence = trouble.evidence if trouble else ""
        asked = {"at": to_iso(now.wall), "wall": now.wall.timestamp(), "monotonic": now.monotonic, "boot": self._boot}
        before = self._remembered
        # In this order: killed between the two, nothing is asked for, which is better than twice.
        self._remembered = _Remembered(incident, before.held, asked)
        try:
            self._write()
            write_json(self._file, self._request(evidence, client, incident, now))
        except ResilienceError:
            self._remembered = before
            raise
        self._waiting_since = now.monotonic
        self.state = "was asked for, once in this incident"
        text = (
            f"{self._database}: {evidence}\n{client} runs from its cache\n"
            "Both are looked at once more; you hear what came of it.\n"
            "Run: baileys-resilience failover status"
        )
        return self._notification("asked", incident, "an automatic failover was asked for", text)

    def _request(self, evidence: str, client: Optional[Subject], incident: str, now: Moment) -> Dict[str, Any]:
        return {
            "format": REQUEST_FORMAT,
            "version": VERSION,
            "host": self._settings.host,
            "at": to_iso(now.wall),
            "since": incident,
            "database": self._database.name,
            "evidence": evidence,
            "client": client.name if client else "",
        }

    def _uncollected(self, now: Moment) -> List[Notification]:
        if self._waiting_since is None:
            return []
        if not self._file.exists():
            self._waiting_since = None
            return []
        if now.monotonic - self._waiting_since < _NOBODY_SECONDS:
            return []
        self._file.unlink()
        self._waiting_since = None
        text = f"its unit does not run, or ends at once\nRun: {_UNITS}\nNote: {_PLAN}"
        return [self._notification("nobody", self._remembered.incident, "nobody came for the automatic failover", text)]

    def _notification(self, kind: str, incident: str, title: str, text: str) -> Notification:
        tags = {"subject": str(self._database), "kind": "auto failover", "severity": CRITICAL}
        fingerprint = ":".join(("monitor", "auto-failover", self._settings.host, incident, kind))
        return Notification(f"{self._settings.host}: {title}", text, "error", tags, fingerprint)

    def _since_asked(self, now: Moment) -> float:
        """By the monotonic clock within one boot, otherwise by the wall clocks of then and now."""
        asked = self._remembered.asked
        if not asked:
            return float("inf")
        if asked["boot"] == self._boot and now.monotonic >= asked["monotonic"]:
            return float(now.monotonic - asked["monotonic"])
        gone = now.wall.timestamp() - float(asked["wall"])
        # One that is further ahead than it could be is of before the clock was set back.
        return float("inf") if gone < -self._settings.cooldown_seconds else max(0.0, gone)

    def _write(self) -> None:
        write_json(self._memory_file, {"format": _MEMORY_FORMAT, "version": VERSION, **vars(self._remembered)})

    def _read(self) -> _Remembered:
        """What cannot be read makes a monitor that has asked for nothing yet: root keeps a cooldown of its own."""
        try:
            content = json.loads(self._memory_file.read_text("utf-8"))
            if (content["format"], content["version"]) != (_MEMORY_FORMAT, VERSION):
                return _Remembered()
            asked = content["asked"]
            if asked is not None:
                asked = {
                    "at": str(asked["at"]),
                    "wall": float(asked["wall"]),
                    "monotonic": float(asked["monotonic"]),
                    "boot": str(asked["boot"]),
                }
            return _Remembered(str(content["incident"]), str(content["held"]), asked)
        except (OSError, ValueError, KeyError, TypeError):
            return _Remembered()


def _is_told(watched: Watched) -> bool:
    """The database is down in a way that a failover helps against, somebody was told, and it does not come and go."""
    trouble, opened = watched.condition.trouble, watched.telling.open
    told = opened is not None and ALERT in opened.told and not watched.telling.damped
    return watched.condition.state == DOWN and trouble is not None and trouble.cause in ACTING and told


def _is_known(watched: Watched, now: Moment) -> bool:
    """By the last look, and not by one of before."""
    return not watched.condition.silence and now.monotonic - watched.condition.heard <= _FRESH_SECONDS


def _is_cached(board: Board, client: Subject, now: Moment) -> bool:
    watched = board.keys.get(Key(client, CACHE))
    return watched is not None and watched.condition.state == DOWN and _is_known(watched, now)
