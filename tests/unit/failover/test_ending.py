# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every end of a run has a report, is told once, and says in its error what became of the sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError, Busy, ResilienceError, StepFailed
from baileys_resilience.failover import ending, operations
from baileys_resilience.failover import plan as planning
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.operations import Operation, Outcome
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import Offer, SourceReport
from baileys_resilience.notify.dedupe import Ledger, OnceOnly
from baileys_resilience.notify.model import Delivery, Notification
from baileys_resilience.steps import lease
from baileys_resilience.steps.engine import Notes, Result, Step
from baileys_resilience.steps.lease import HostLease

COMPANY, OTHER = "962301", "962302"
JID = "4917612345678:7@s.whatsapp.net"


class Toy(Step[FailoverContext]):
    """A step that fails as long as it is told to. ``no_return``: a session connects before it fails."""

    def __init__(self, name: str, result: dict[str, Any] | None = None, *, no_return: bool = False) -> None:
        self.name, self.title = name, f"do {name}"
        self.result = result or {}
        self.no_return = no_return
        self.fails = self.undo_fails = False

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        if self.no_return:
            notes.no_return("a test")
        if self.fails:
            raise ApplicationError(f"{JID} is not there", operation=self.name, hint="see the application's log")
        return self.result

    def undo(self, context: FailoverContext, result: Result) -> None:
        if self.undo_fails:
            raise ApplicationError("pid 7 still lives", operation=f"undo {self.name}")


class Service:
    """A notifier that records; ``ok`` is what it answers."""

    budget_seconds = 5.0

    def __init__(self, service: str) -> None:
        self.service = service
        self.ok = True
        self.sent: list[Notification] = []

    def send(self, notification: Notification) -> Delivery:
        self.sent.append(notification)
        return Delivery(self.ok, "sent" if self.ok else "HTTP 500", self.service)

    @property
    def told(self) -> list[str]:
        return [each.tags["outcome"] for each in self.sent]


class Host:
    def __init__(self, settings: FailoverSettings) -> None:
        self.settings = settings
        self.sentry, self.telegram = Service("sentry"), Service("telegram")
        self.preflight, self.stop = Toy("preflight"), Toy("stop", {"stopped_at": 0.0})
        connected = {"connected": [COMPANY], "failed": {}, "excused": {}}
        self.connect = Toy("verify_connection", connected, no_return=True)
        self.last = Toy("archive_files")
        self.steps = [self.preflight, self.stop, self.connect, self.last]

    @property
    def operation(self) -> Operation:
        return Operation(self.settings, "failover")

    @property
    def report(self) -> dict[str, Any]:
        (run,) = (self.settings.state / "runs").iterdir()
        content: dict[str, Any] = json.loads((run / "report.json").read_text())
        assert (run / "report.md").read_text().startswith(f"# {content['operation']} on app1")
        return content

    def raises(self, work: Callable[[], Outcome]) -> ResilienceError:
        with pytest.raises(ResilienceError) as caught:
            work()
        return caught.value


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    source = SourceReport(
        "primary", "db", True, "", "2026-01-01T03:00:00Z", None, 0.0, {COMPANY: Offer({"session": 1})}
    )
    monkeypatch.setattr(planning, "assess_sources", lambda *_arguments, **_options: [source])
    monkeypatch.setattr(operations, "failover_checks", lambda _context: [])
    host = Host(
        settings_from_dict(
            {
                "host": "app1",
                "companies": [COMPANY],
                "database": {},
                "sessions_dir": str(tmp_path / "sessions"),
                "state_dir": str(tmp_path / "state"),
                "policy": {"confirm": "app1", "operator": "hugo", "cooldown_seconds": 0},
            }
        )
    )
    ledger = Ledger(host.settings.state / "notified.json", 300.0)
    services = [OnceOnly(each, ledger) for each in (host.sentry, host.telegram)]
    monkeypatch.setattr(ending, "notifiers_for", lambda *_arguments: services)
    monkeypatch.setattr(Operation, "_steps", lambda _self: host.steps)
    return host


def test_a_run_that_is_done_is_told_once_to_each_service(host: Host) -> None:
    outcome = host.operation.run()
    assert outcome.error is None
    assert (host.sentry.told, host.telegram.told) == (["done"], ["done"])
    assert host.report == outcome.report
    assert [each["service"] for each in host.report["notified"]] == ["sentry", "telegram"]


def test_the_error_of_a_run_that_was_taken_back_says_so_and_is_told(host: Host) -> None:
    host.stop.fails = True
    operation = host.operation
    error = host.raises(operation.run)
    assert isinstance(error, ApplicationError)
    assert error.cause.endswith("is not there. Everything was taken back, the sessions run as before")
    assert error.hint == "see the application's log; then run again"
    assert (host.sentry.told, host.telegram.told) == (["undone"], ["undone"])
    assert host.sentry.sent[0].level == "error"
    assert (host.report["outcome"], host.report["undone"]) == ("undone", ["stop", "preflight"])
    assert "stop: #" in host.report["error"]
    assert JID not in json.dumps(host.report)
    assert operation.ended is not None
    assert operation.ended.report == host.report
    assert operation.ended.message == (
        "Everything was taken back, the sessions run as before (undone: stop, preflight)"
    )


def test_a_run_that_fails_past_the_point_of_no_return_leaves_a_report_and_is_told_until_a_resume_ends_it(
    host: Host,
) -> None:
    host.last.fails = True
    error = host.raises(host.operation.run)
    assert "It was not taken back: a session has logged in from the new store" in error.cause
    assert error.hint == ("see the application's log; then complete the run with resume (failover_open_run=resume)")
    assert host.report["outcome"] == "open"
    reason = host.report["error"]
    assert host.sentry.told == ["open"]
    assert "not finished, complete it with resume" in host.sentry.sent[0].title

    refused = host.raises(lambda: host.operation.undo("by hand"))
    assert "complete the run with resume" in refused.hint
    assert host.sentry.told == ["open"], "the same end is told once"
    assert host.report["error"] == reason

    host.raises(host.operation.resume)
    assert host.sentry.told == ["open", "open"], "a resume that fails is a new end"

    host.last.fails = False
    assert host.operation.resume().report == host.report
    assert (host.report["outcome"], host.report["error"]) == ("done", "")
    assert host.sentry.told == host.telegram.told == ["open", "open", "done"]


def test_a_run_of_single_steps_that_cannot_be_taken_back_has_its_report_from_the_undo(host: Host) -> None:
    """As the role does it: a task a step, and an undo for what fails."""
    host.last.fails = True
    operation = host.operation
    operation.begin()
    for name in operation.step_names[:-1]:
        operation.step(name)
    failed = host.raises(lambda: host.operation.step("archive_files"))
    assert "taken back" not in str(failed), "one step knows nothing of the run"
    host.raises(lambda: operation.undo(str(failed)))
    assert operation.ended is not None
    assert operation.ended.report == host.report
    assert host.report["outcome"] == "open"
    assert "It was not taken back: a session has logged in" in host.report["error"]
    assert host.sentry.told == ["open"]


def test_a_run_whose_report_cannot_be_finished_is_left_open_and_told(host: Host) -> None:
    obstacle = host.settings.state / "timings-files.json"
    obstacle.mkdir(parents=True)
    assert "It was not taken back" in str(host.raises(host.operation.run))
    assert host.report["outcome"] == "open"
    obstacle.rmdir()
    host.operation.resume()
    assert host.sentry.told == ["open", "done"]


def test_an_undo_that_stops_half_way_is_told_and_the_error_says_what_it_stopped_at(host: Host) -> None:
    host.stop.fails = host.stop.undo_fails = True
    error = host.raises(host.operation.run)
    assert isinstance(error, StepFailed)
    assert "is not there. It was not taken back: pid 7 still lives" in error.cause
    assert error.hint == "repair that, then: baileys-resilience failover undo"
    assert host.sentry.told == ["open"]
    reason = host.report["error"].partition(". It was not")[0]
    host.stop.undo_fails = False
    host.operation.resume()
    assert host.sentry.told == ["open", "undone"]
    assert host.report["error"] == reason, "why it was undone, not that the undo was begun again"


def test_a_run_that_is_done_in_part_is_an_error_with_its_results(host: Host) -> None:
    host.settings = replace(host.settings, companies=(COMPANY, OTHER))
    host.connect.result["failed"] = {OTHER: "refused"}
    outcome = host.operation.run()
    assert outcome.error is not None
    assert outcome.error.exit_code == 11
    assert f"not connected: {OTHER}" in outcome.error.cause
    assert "see the report for the reason of each" in outcome.error.hint
    assert host.sentry.told == ["partial"]


def test_what_could_not_be_told_is_in_the_report_and_only_that_is_tried_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also long after, when what was sent when has been forgotten."""
    monkeypatch.setattr(ending, "notifiers_for", lambda *_arguments: [host.sentry, host.telegram])
    host.last.fails, host.telegram.ok = True, False
    host.raises(host.operation.run)
    assert host.report["notified"][1] == {"ok": False, "detail": "HTTP 500", "service": "telegram"}
    text = (next((host.settings.state / "runs").iterdir()) / "report.md").read_text()
    assert "- degraded: telegram was not told: HTTP 500" in text
    assert "sentry was not told" not in text
    host.telegram.ok = True
    host.raises(lambda: host.operation.undo("again"))
    assert (host.sentry.told, host.telegram.told) == (["open"], ["open", "open"])
    assert all(each["ok"] for each in host.report["notified"])


def test_a_report_that_cannot_be_written_keeps_nobody_from_being_told_and_hides_no_error(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise StepFailed("no space left", operation="write", subject="report.json")

    host.stop.fails = True
    monkeypatch.setattr(ending, "write_json", full)
    operation = host.operation
    assert "Everything was taken back" in host.raises(operation.run).cause
    assert host.sentry.told == ["undone"]
    assert "the report is not on the host: write report.json: no space left" in host.sentry.sent[0].text
    assert operation.ended is not None
    assert "degraded: the report is not on the host" in operation.ended.markdown


def test_a_run_that_another_process_works_on_is_theirs_to_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_PATIENCE_SECONDS", 0.0)
    host.operation.begin()
    with HostLease(host.settings.state).executing("preflight"):
        assert isinstance(host.raises(host.operation.resume), Busy)
        assert isinstance(host.raises(lambda: host.operation.undo("by hand")), Busy)
    assert host.sentry.told == []
    assert host.operation.resume().message.startswith("failover on app1 done")


def test_an_undo_that_finds_the_session_gone_on_says_to_resume(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal did not live to see the point of no return; the files did."""
    started = Toy("start")
    host.connect.no_return, host.connect.fails = False, True
    host.steps.insert(2, started)
    monkeypatch.setattr(operations, "session_moved_on", lambda _context: "company 962301 has written to files since")
    monkeypatch.setattr(FailoverContext, "service", _Quiet())
    error = host.raises(host.operation.run)
    assert "It was not taken back: company 962301 has written to files since" in error.cause
    assert "resume" in error.hint
    assert host.report["outcome"] == "open"
    assert host.sentry.told == ["open"]


class _Quiet:
    def stop(self) -> None:
        pass

    def start(self, _flags: object) -> None:
        pass

    def saved_otherwise(self, _flags: object) -> str:
        return ""
