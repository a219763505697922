# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an undo leaves: the application where its sessions live, and every directory that was there before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import files
from baileys_resilience.errors import ApplicationError, StepFailed, UsageError
from baileys_resilience.failover import failover_steps, operations
from baileys_resilience.failover.common_steps import SwitchCode
from baileys_resilience.failover.connection_step import VerifyConnection
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.failback_steps import FailbackPreflight
from baileys_resilience.failover.health import ApplicationHealth
from baileys_resilience.failover.services import ServiceStatus
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.stop_step import StopApplication
from baileys_resilience.steps.engine import Notes, Result, Run, Step
from baileys_resilience.steps.journal import Journal

MOVED_BEFORE, STAYED_BEHIND = "962301", "962302"


class Service:
    """Remembers what it was told, and with which flags it runs now."""

    def __init__(self) -> None:
        self.flags: Mapping[str, str] | None = None

    def status(self) -> ServiceStatus:
        return ServiceStatus(self.flags is not None)

    def pids(self) -> tuple[int, ...]:
        return ()

    def stop(self) -> ServiceStatus:
        self.flags = None
        return ServiceStatus(False)

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        self.flags = dict(flags)
        return ServiceStatus(True)

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        return ""


class Before(Step[FailoverContext]):
    """The steps before the stop, as far as the later ones read them."""

    name = "preflight"

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        return {"service": {"running": True, "pids": []}, "health": {}}


@pytest.fixture
def settings(tmp_path: Path) -> FailoverSettings:
    for name in ("app", "app-files"):
        (tmp_path / name).mkdir()
    return settings_from_dict(
        {
            "host": "app1",
            "companies": [MOVED_BEFORE, STAYED_BEHIND],
            "database": {},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": str(tmp_path / "app")},
            "code": {"source": "archive"},
        }
    )


def context_of(settings: FailoverSettings, target: str = "files") -> FailoverContext:
    context = FailoverContext(settings, "run", target)
    context._service = Service()
    return context


def run_and_undo(settings: FailoverSettings, context: FailoverContext) -> None:
    run = Run(settings.state, "run", [Before(), StopApplication(30), SwitchCode()], context)
    run.begin("failover", "hugo", {}, companies=[STAYED_BEHIND], cooldown_seconds=0)
    run.run_all()
    run.undo("a test")


def test_taking_back_the_move_of_one_company_leaves_the_application_on_files_where_the_others_live(
    settings: FailoverSettings,
) -> None:
    """Started on PostgreSQL it would go on from rows as old as the failover, for every company that has moved."""
    context = context_of(settings)
    context.code.to_files(settings.application.directory)
    context.record.move([MOVED_BEFORE], "files", by="earlier", places={})
    run_and_undo(settings, context)
    assert context.code.on_files()
    assert context.service.status().running
    assert context.service.flags == settings.application.files_env  # type: ignore[attr-defined]


def test_taking_back_the_first_move_starts_the_application_on_postgresql(settings: FailoverSettings) -> None:
    context = context_of(settings)
    run_and_undo(settings, context)
    assert not context.code.on_files()
    assert context.service.flags == settings.application.postgres_env  # type: ignore[attr-defined]


def test_a_failback_of_some_companies_is_refused_while_another_lives_on_files(settings: FailoverSettings) -> None:
    """Its application would read that company's rows, which are as old as the failover."""
    listed = replace(settings, companies=(MOVED_BEFORE,))
    context = context_of(listed, "postgres")
    Path(listed.application.dir, ".env").write_text("PORT=1\n")
    places = {company: str(context.home.directory(company)) for company in settings.companies}
    context.record.move(settings.companies, "files", by="earlier", places=places)
    context.run_directory.mkdir(parents=True)
    journal = Journal(context.run_directory / "journal.jsonl")
    with pytest.raises(UsageError) as caught:
        FailbackPreflight().apply(context, Notes(journal, "preflight"))
    assert f"company {STAYED_BEHIND} lives on files" in caught.value.cause


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        ([], False),
        ([("step_started", "switch_code")], True),
        ([("step_started", "switch_code"), ("step_started", "switch_env"), ("step_undone", "switch_env")], True),
        ([("step_started", "switch_code"), ("step_undone", "switch_code")], False),
    ],
)
def test_an_undo_asks_whether_the_session_has_gone_on_as_long_as_the_code_on_files_is_in_its_place(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch, lines: list[tuple[str, str]], asked: bool
) -> None:
    """That code reads files whatever the flags say, and a boot may have started it."""
    context = context_of(settings)
    run = Run(settings.state, "run", [Before(), SwitchCode()], context)
    run.begin("failover", "hugo", {}, companies=[STAYED_BEHIND], cooldown_seconds=0)
    for event, step in lines:
        run.journal.append(event, step=step)
    monkeypatch.setattr(operations, "session_moved_on", lambda _context: "it has written to files")
    operation = operations.Operation(settings, "failover")
    if not asked:
        operation._refuse_if_moved_on(context, run, run.state)
        return
    with pytest.raises(StepFailed, match="it has written to files"):
        operation._refuse_if_moved_on(context, run, run.state)
    assert run.state.no_return


@pytest.mark.parametrize("atomic", [True, False])
def test_an_undo_puts_back_the_directory_that_was_replaced(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch, atomic: bool
) -> None:
    """A file system without an atomic exchange must not cost the old directory."""
    home = settings.home()
    home.prepare()
    place, keep = home.directory(STAYED_BEHIND), home.private / "previous" / "kept"
    for directory, text in ((place, "new"), (keep, "old")):
        directory.mkdir(parents=True)
        (directory / "creds.json").write_text(text)
    if not atomic:
        monkeypatch.setattr(files, "exchange", lambda *_paths, **_descriptors: False)
    monkeypatch.setattr(failover_steps, "_is_ours", lambda path, _sha: (path / "creds.json").read_text() == "new")
    failover_steps._take_back(context_of(settings), STAYED_BEHIND, "sha", keep)
    assert (place / "creds.json").read_text() == "old"
    assert not keep.exists()


@pytest.mark.parametrize("no_return", [True, False])
def test_a_run_past_the_point_of_no_return_can_end_although_no_session_is_connected_any_more(
    settings: FailoverSettings, no_return: bool
) -> None:
    """Else it can be neither completed nor undone, and it keeps out the failover that would help."""
    context = context_of(settings, "postgres")
    context.probe = lambda *_words, **_named: _Silent()  # type: ignore[method-assign,assignment,return-value]
    journal = Journal(context.run_directory / "journal.jsonl")
    context.run_directory.mkdir(parents=True)
    journal.append("run_started", companies=[MOVED_BEFORE])
    results: dict[str, Any] = {"preflight": {}, "stop": {"stopped_at": 0.0}, "verify": {"companies": [MOVED_BEFORE]}}
    for step, result in results.items():
        journal.append("step_done", step=step, result=result)
    if not no_return:
        with pytest.raises(ApplicationError):
            VerifyConnection(0.0).apply(context, Notes(journal, "verify_connection"))
        return
    journal.append("no_return", step="verify_connection", reason="a test")
    result = VerifyConnection(0.0).apply(context, Notes(journal, "verify_connection"))
    assert result["connected"] == []
    assert list(result["failed"]) == [MOVED_BEFORE]


class _Silent:
    def ask(self, _companies: tuple[str, ...]) -> ApplicationHealth:
        return ApplicationHealth(False, problem="refused")
