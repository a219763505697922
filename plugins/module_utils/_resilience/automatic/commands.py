# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``baileys-resilience auto-failover``: what the unit of that name runs when the monitor has asked."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from ..clock import age_seconds, now_iso, seconds_left
from ..errors import Busy, ResilienceError, UsageError
from ..failover.operations import FAILOVER, Operation, Outcome
from ..failover.settings import FailoverSettings
from ..files import FILE_MODE, make_private_directory, resolve_owner, translate_os_error, write_json
from ..health.monitor.configuration import MonitorSettings, load_monitor_settings
from ..notify import Notification, notifiers_for, notify_all
from ..progress import Progress
from ..steps.lease import HostLease
from .request import Request, shown, take_request
from .signals import look_at_client, look_at_database

REPORT_FILE, LOCK_FILE = "auto-failover.json", "auto-failover.lock"
REPORT_FORMAT = "baileys-resilience/auto-failover-report"
VERSION = 1
OPERATOR = "the monitor, by itself"
DEFAULT_USER = "baileys-resilience-monitor"
DEFAULT_MONITOR = "/etc/baileys-resilience/monitor.json"
#: outcomes; the failover's own report says more of those that began
NOTHING, REFUSED, DONE, FAILED = "nothing", "refused", "done", "failed"
#: while it is at work, and for ever where the process was killed
BEGUN, CUT_OFF = "begun", "cut off"
_PLAN = "ansible-playbook baileys.resilience.emergency_failover --check"


@dataclass(frozen=True)
class Told:
    content: Dict[str, Any]
    lines: List[str] = field(default_factory=list)
    exit_code: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--monitor", default=DEFAULT_MONITOR, metavar="FILE", help="the monitor's configuration")
    parser.add_argument("--user", default=DEFAULT_USER, help="the user whose request counts")
    parser.add_argument("--ended", action="store_true", help="take no request; tell of one whose process was killed")


def dispatch(options: argparse.Namespace, settings: FailoverSettings, progress: Progress) -> Told:
    monitor = load_monitor_settings(Path(options.monitor))
    owner = resolve_owner(options.user, None)
    if owner is None:
        raise UsageError("no user is named", operation="auto-failover", hint="name the monitor's user with --user")
    # A connection to the host that breaks must not end what has stopped the application.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    failover = AutomaticFailover(settings, monitor, owner[0], progress)
    with _alone(settings):
        return failover.after_its_end() if options.ended else failover.run()


@contextlib.contextmanager
def _alone(settings: FailoverSettings) -> Iterator[None]:
    """One of a process that is at work is not one that was cut off. Raises Busy."""
    place = make_private_directory(settings.state) / LOCK_FILE
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, FILE_MODE)
    except OSError as exc:
        raise translate_os_error(exc, "open", place) from exc
    try:
        if not _locked(descriptor):
            raise Busy(
                "another process is at work on one",
                operation="auto-failover",
                subject=settings.host,
                hint="wait for its end; baileys-resilience failover status says how it is",
            )
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class AutomaticFailover:
    """One request: taken, looked into, and carried out or refused. Either is told, and written down."""

    def __init__(self, settings: FailoverSettings, monitor: MonitorSettings, user_id: int, progress: Progress) -> None:
        self._settings, self._monitor, self._user_id, self._progress = settings, monitor, user_id, progress
        self._report = settings.state / REPORT_FILE
        self._began_at = self._last_begun()
        self._request: Optional[Request] = None
        self._signals: List[str] = []

    def run(self) -> Told:
        """Raises what refused it, or what a failover raises."""
        try:
            self._request = take_request(Path(self._monitor.state_dir), self._user_id)
            self.after_its_end()
            if self._request is None:
                return Told({"outcome": NOTHING}, ["nothing was asked for"])
            self._check()
        except ResilienceError as error:
            self._refuse(error)
            raise
        self._began_at = now_iso()
        self._write(BEGUN)
        return self._fail_over()

    def after_its_end(self) -> Told:
        """Of the process that took the last request. Killed, it told nobody what it has left."""
        last = self._last()
        if last.get("outcome") != BEGUN:
            return Told({"outcome": NOTHING}, ["nothing was cut off"])
        lease = HostLease(self._settings.state).current()
        began = f"it began at {last.get('began_at')}"
        text = f"{began}; no run is open\nRun: baileys-resilience failover status"
        if lease is not None:
            text = (
                f"{began}; {lease.operation} {lease.run} is open, and the application may be stopped\n"
                f"Run: baileys-resilience {lease.operation} resume\nNote: or undo; failover status says more"
            )
        self._store({**last, "at": now_iso(), "outcome": CUT_OFF, "run": lease.run if lease else ""})
        self._tell("the automatic failover was cut off", text, f"cut-off-{last.get('began_at')}")
        return Told({"outcome": CUT_OFF}, text.splitlines())

    def _check(self) -> None:
        """All that is asked again here; nobody's word is taken for it."""
        request, settings = self._request, self._settings
        if self._monitor.auto_failover is None:
            raise UsageError(
                "it is not set here",
                operation="auto-failover",
                subject=settings.host,
                hint="set health_monitor_auto_failover to true, if it is wanted",
            )
        if request is None or request.host != settings.host:
            raise UsageError(
                f"the request is for {request.host if request else 'nobody'!r}",
                operation="auto-failover",
                subject=settings.host,
                hint="give role health_monitor and role failover the same inventory name of this host",
            )
        waits = seconds_left(settings.policy.cooldown_seconds, self._began_at) if self._began_at else 0.0
        if waits > 0:
            raise Busy(
                f"an automatic failover began at {self._began_at}",
                operation="auto-failover",
                subject=settings.host,
                hint=f"the next can be in {waits:.0f} s; to fail over yourself: {_PLAN}",
            )
        self._signals.append(look_at_database(settings, self._monitor))
        self._signals.append(look_at_client(settings))
        self._progress.note("both signals are there", seen="; ".join(self._signals))

    def _fail_over(self) -> Told:
        settings = self._settings
        # A loss is for a human to accept, and so is a source to be chosen.
        policy = replace(
            settings.policy,
            confirm=settings.host,
            operator=OPERATOR,
            accept_data_loss=False,
            source="",
            newer_rows="refuse",
        )
        operation = Operation(replace(settings, policy=policy), FAILOVER, progress=self._progress)
        try:
            outcome = operation.run()
        except ResilienceError as error:
            ended = operation.ended
            self._write(FAILED, run=ended.run if ended else "", error=str(error))
            if ended is None:  # otherwise the run has told it
                kind = f"failed-{error.code}-{self._began_at}"
                self._tell("the automatic failover did not begin", f"{error}\nRun: {_PLAN}", kind)
            raise
        return self._done(outcome)

    def _done(self, outcome: Outcome) -> Told:
        done = DONE if outcome.changed else NOTHING
        self._write(done, run=outcome.run)
        if not outcome.changed:
            self._tell("the automatic failover had nothing to do", outcome.message, "nothing", level="info")
        content = {"outcome": done, "run": outcome.run, "signals": self._signals, "report": outcome.report}
        partial = bool(outcome.report and outcome.report["outcome"] == "partial")
        return Told(content, [outcome.message], 11 if partial else 0)

    def _refuse(self, error: ResilienceError) -> None:
        self._write(REFUSED, error=str(error))
        asked = f"The monitor asked: {self._request.evidence}; {self._request.client}\n" if self._request else ""
        seen = "".join(f"Seen: {each}\n" for each in self._signals)
        # Each request has its answer: one that was refused a moment ago was another one.
        kind = f"refused-{error.code}-{self._request.at if self._request else ''}"
        self._tell("an automatic failover was refused", f"{error}\n{asked}{seen}Run: {_PLAN}", kind)

    def _write(self, outcome: str, *, run: str = "", error: str = "") -> None:
        """The last one, whatever came of it. ``began_at`` is of the last that was carried out."""
        content = {
            "format": REPORT_FORMAT,
            "version": VERSION,
            "at": now_iso(),
            "outcome": outcome,
            "began_at": self._began_at,
            "request": self._request.as_dict() if self._request else None,
            "signals": self._signals,
            "run": run,
            "error": shown(error),
        }
        self._store(content)

    def _store(self, content: Dict[str, Any]) -> None:
        make_private_directory(self._report.parent)
        try:
            write_json(self._report, content)
        except ResilienceError as exc:
            if content["outcome"] == BEGUN:  # without it there is no cooldown
                raise
            self._progress.note("the report is not on the host", why=str(exc))

    def _last(self) -> Dict[str, Any]:
        """The report of the last one; nothing where there is none that can be read."""
        try:
            content = json.loads(self._report.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def _last_begun(self) -> str:
        try:
            began = self._last()["began_at"]
            age_seconds(began)
            return str(began)
        except (KeyError, TypeError, AttributeError, ResilienceError):
            return ""

    def _tell(self, what: str, text: str, kind: str, *, level: str = "error") -> None:
        settings = self._settings
        tags = {"host": settings.host, "operation": "auto-failover", "outcome": kind.partition("-")[0]}
        fingerprint = f"auto-failover-{settings.host}-{kind}"
        note = Notification(f"{settings.host}: {what}", text, level, tags, fingerprint, settings.companies)
        for each in notify_all(notifiers_for(settings.notify, settings.state), note):
            self._progress.note("told", service=each.service, ok=each.ok, detail=each.detail)
