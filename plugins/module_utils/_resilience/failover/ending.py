# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How a run ends: its report on disk, one notification for each end, and the error that says what became of it.

A run may end more than once: left open past the point of no return, and done after a resume. ``attempts`` of a report
(steps started so far) tells two such ends apart; the same end is told once, however often somebody asks for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..errors import Busy, ResilienceError
from ..files import write_durably, write_json
from ..notify import Notification, notifiers_for, notify_all
from ..steps.engine import Run
from ..steps.journal import RunState
from .context import FailoverContext
from .report import as_markdown, headline, make_report

DONE, PARTIAL, UNDONE, OPEN = "done", "partial", "undone", "open"
TAKEN_BACK = "Everything was taken back, the sessions run as before"
NOT_TAKEN_BACK = "It was not taken back"

Report = Dict[str, Any]


def end(context: FailoverContext, run: Run[FailoverContext], outcome: str, error: str = "") -> Report:
    """Write the report and tell it. Neither a disk that takes no report nor a service that takes no message is an
    error: the report itself says so under ``degraded`` and ``notified``.
    """
    state = run.state
    report = make_report(context, read_json(run.directory / "plan.json"), state, outcome, error)
    earlier = read_json(run.directory / "report.json")
    told = []
    if all(earlier.get(name) == report[name] for name in ("outcome", "attempts")):
        report["error"] = earlier["error"]  # the reason, not that somebody asked once more
        told = [each for each in earlier["notified"] if each["ok"]]
    # Before the telling, which takes seconds where a service does not answer.
    report["degraded"].extend(_write(run.directory, report))
    report["notified"] = told + _tell(context, report, {each["service"] for each in told})
    _write(run.directory, report)
    return report


def _write(directory: Path, report: Report) -> List[str]:
    try:
        write_json(directory / "report.json", report)
        write_durably(directory / "report.md", as_markdown(report).encode("utf-8"))
    except ResilienceError as exc:
        # What happened has happened, and people must hear of it: a full disk may be why it happened.
        return [f"the report is not on the host: {exc}"]
    return []


def _tell(context: FailoverContext, report: Report, told: Any) -> List[Dict[str, Any]]:
    """One Sentry event and one Telegram message."""
    settings = context.settings
    notifiers = [each for each in notifiers_for(settings.notify, settings.state) if each.service not in told]
    level = "warning" if report["outcome"] == DONE else "error"
    tags = {"host": settings.host, "operation": report["operation"], "outcome": report["outcome"]}
    fingerprint = "-".join((report["operation"], report["run"], report["outcome"], str(report["attempts"])))
    note = Notification(headline(report), as_markdown(report), level, tags, fingerprint, settings.companies)
    return [delivery.as_dict() for delivery in notify_all(notifiers, note)]


def read_json(path: Path) -> Report:
    """What is there; nothing where it is missing or broken."""
    try:
        content: Report = json.loads(path.read_text("utf-8"))
        return content
    except (OSError, ValueError):
        return {}


def is_anothers(error: ResilienceError, run: Run[FailoverContext]) -> bool:
    """Whether another process works on this very run just now: then it is theirs to end."""
    return isinstance(error, Busy) and error.subject == run.id


def first_reason(state: RunState, given: str) -> str:
    """Why the run is undone: what was said when the undo began, also where it was cut off and begun again."""
    return next((str(each["reason"]) for each in state.events if each["event"] == "undo_started"), given)


def say_taken_back(error: ResilienceError) -> None:
    """The error of a step knows nothing of the run: whoever reads it asks first whether the sessions live."""
    error.cause = f"{error.cause}. {TAKEN_BACK}"
    error.hint = "; ".join(filter(None, (error.hint, "then run again")))


def say_left_open(error: ResilienceError, state: RunState) -> None:
    error.cause = f"{error.cause}. {NOT_TAKEN_BACK}: a session has logged in from the new store at {state.no_return}"
    error.hint = "; ".join(filter(None, (error.hint, "then complete the run with resume (failover_open_run=resume)")))


def not_connected(report: Mapping[str, Any], companies: List[str]) -> str:
    """The sentence of a run that is done in part."""
    return f"{headline(report)} - not connected: {', '.join(companies)}"
