# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning a run: one at a time, whatever crashes and operators left on the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import now_iso
from baileys_resilience.errors import Busy, Misconfigured, ResilienceError, SourceTooOld, UsageError
from baileys_resilience.failover import plan as planning
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.settings import CodeSettings, FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import Offer, SourceReport
from baileys_resilience.sessions.record import StoreRecord
from baileys_resilience.steps.journal import Journal
from baileys_resilience.steps.lease import HostLease, Lease

COMPANY = "962301"
SERVICE = {"manager": "argv", "start": ["true"], "stop": ["true"], "status": ["true"]}
MARIA = Lease("20260101T030000-failover-1", "failover", "maria", "2026-01-01T03:00:00.000000Z")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FailoverSettings:
    """A host whose primary answers, with an application that nobody has to start."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".env").write_text("PORT=1\n")
    report = SourceReport(
        "primary", "db", True, "", "2026-01-01T03:00:00Z", None, 0.0, {COMPANY: Offer({"session": 1})}
    )
    monkeypatch.setattr(planning, "assess_sources", lambda *_arguments, **_options: [report])
    return settings_from_dict(
        {
            "host": "app1",
            "companies": [COMPANY],
            "database": {},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {
                "dir": str(tmp_path / "app"),
                "service": SERVICE,
            },
            "policy": {"confirm": "app1", "operator": "hugo", "cooldown_seconds": 0},
        }
    )


def begin(settings: FailoverSettings, **policy: Any) -> str:
    given = replace(settings, policy=replace(settings.policy, **policy))
    return Operation(given, "failover").begin().run


def left_behind(settings: FailoverSettings, *events: str) -> None:
    """A lease of maria's, with a journal of these events."""
    HostLease(settings.state).take(MARIA, cooldown_seconds=0)
    run = settings.state / "runs" / MARIA.run
    run.mkdir(parents=True)
    for event in events:
        Journal(run / "journal.jsonl").append(event, outcome="done")


def holder(settings: FailoverSettings) -> str:
    lease = HostLease(settings.state).current()
    return lease.operator if lease else ""


def test_a_run_that_was_begun_is_open_until_it_ends(settings: FailoverSettings) -> None:
    begin(settings)
    assert holder(settings) == "hugo"
    with pytest.raises(Busy) as caught:
        begin(settings, operator="maria")
    assert "by hugo is open since" in caught.value.cause


@pytest.mark.parametrize("word", ["", "app2", "ALL"])
def test_a_run_without_the_word_of_this_host_is_not_begun(settings: FailoverSettings, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        begin(settings, confirm=word)
    assert "failover_confirm=app1" in caught.value.hint
    assert holder(settings) == ""


@pytest.mark.parametrize("events", [(), ("run_started", "run_finished")])
def test_a_lease_whose_run_ended_or_never_began_is_forgotten(
    settings: FailoverSettings, events: tuple[str, ...]
) -> None:
    left_behind(settings, *events)
    assert begin(settings) != MARIA.run
    assert holder(settings) == "hugo"


def test_a_lease_whose_run_is_just_being_begun_is_not_forgotten(settings: FailoverSettings) -> None:
    """Between the lease and the first line of the journal it looks like one that a crash left."""
    left_behind(settings)
    with HostLease(settings.state).executing("failover"), pytest.raises(Busy) as caught:
        begin(settings)
    assert "by maria is open since" in caught.value.cause
    assert holder(settings) == "maria"


def test_an_open_run_is_not_hidden_by_a_record_that_leaves_nothing_to_do(settings: FailoverSettings) -> None:
    left_behind(settings, "run_started")
    StoreRecord(settings.state).move([COMPANY], "files", by=MARIA.run, places={})
    with pytest.raises(Busy):
        begin(settings)


def test_two_runs_of_one_second_have_two_journals(settings: FailoverSettings) -> None:
    runs = []
    for _turn in range(3):
        runs.append(begin(settings))
        Operation(settings, "failover")._run(runs[-1]).undo("by a test")
    assert len(set(runs)) == 3
    for run in runs:
        events = Journal(settings.state / "runs" / run / "journal.jsonl").events()
        assert [each["event"] for each in events] == ["run_started", "undo_started", "run_finished"]


def test_what_blocks_the_plan_is_raised_as_what_it_is(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SourceReport("mirror", "m", True, "", "2026-01-01T03:00:00Z", None, 9999.0, {COMPANY: Offer({"session": 1})})
    monkeypatch.setattr(planning, "assess_sources", lambda *_arguments, **_options: [old])
    with pytest.raises(SourceTooOld) as caught:
        begin(settings)
    assert caught.value.exit_code == 9
    assert holder(settings) == ""


def test_a_plan_names_all_that_is_wrong_at_once_and_a_run_raises_the_first(
    settings: FailoverSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = SourceReport("primary", "db", problem="it is dead")
    monkeypatch.setattr(planning, "assess_sources", lambda *_arguments, **_options: [dead])
    (tmp_path / "app" / ".env").unlink()
    (tmp_path / "sessions").write_text("a file")
    service = replace(settings.application.service, status=("/nowhere/status",))
    wrong = replace(settings, application=replace(settings.application, service=service), code=CodeSettings("tag"))
    plan = Operation(wrong, "failover").plan()
    told = "\n".join(plan.sentences())
    for part, hint in (
        ("no source answers: primary: it is dead", "restore from a backup"),
        ("read .env", "set application.env_file"),
        ("is not a directory", "move the file"),
        ("no code is prepared", "run failover_prepare.yml"),
        ("/nowhere/status", "give its full path"),
    ):
        assert any(part in each and hint in each for each in plan.blocked), (part, plan.blocked)
        assert part in told
    assert "expected:" in told, "a plan that is blocked is printed in full"
    assert len(plan.blocked) == len(set(plan.blocked))
    with pytest.raises(Misconfigured) as caught:
        begin(wrong)
    assert str(caught.value) == plan.blocked[0]
    assert "set application.env_file" in caught.value.hint


def test_the_plan_makes_nothing_on_the_host(settings: FailoverSettings, tmp_path: Path) -> None:
    before = sorted(map(str, tmp_path.rglob("*")))
    plan = Operation(settings, "failover").plan()
    assert plan.blocked == []
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_an_open_run_and_the_cooldown_block_the_plan_and_a_run_that_has_ended_does_not(
    settings: FailoverSettings,
) -> None:
    patient = replace(settings, policy=replace(settings.policy, cooldown_seconds=300))
    left_behind(settings, "run_started", "run_finished")
    assert Operation(patient, "failover").plan().blocked == []
    HostLease(settings.state).release(replace(MARIA, since=now_iso()))
    blocked = Operation(patient, "failover").plan().blocked
    assert len(blocked) == 1
    assert "a failover by maria ended 0 s ago" in blocked[0]
    assert "failover_cooldown" in blocked[0]
    assert Operation(settings, "failover").plan().blocked == []
    begin(settings)
    blocked = Operation(settings, "failover").plan().blocked
    assert "by hugo is open since" in blocked[0]
    assert "resume (or undo)" in blocked[0]


@pytest.mark.parametrize("name", ["step", "resume", "undo", "finish"])
def test_without_an_open_run_there_is_nothing_to_go_on_with(settings: FailoverSettings, name: str) -> None:
    operation = Operation(settings, "failover")
    with pytest.raises(UsageError) as caught:
        getattr(operation, name)(*(["preflight"] if name == "step" else ["why"] if name == "undo" else []))
    assert caught.value.hint == "begin one"


def test_the_run_of_the_other_operation_is_named(settings: FailoverSettings) -> None:
    begin(settings)
    with pytest.raises(UsageError) as caught:
        Operation(settings, "failback").resume()
    assert "is a failover" in caught.value.cause
    assert "baileys-resilience failover resume" in caught.value.hint


def test_a_run_is_not_finished_before_its_last_step(settings: FailoverSettings) -> None:
    begin(settings)
    with pytest.raises(UsageError) as caught:
        Operation(settings, "failover").finish()
    assert caught.value.cause == "the step preflight is not done"


def test_an_operation_that_does_not_exist_is_refused(settings: FailoverSettings) -> None:
    with pytest.raises(ResilienceError) as caught:
        Operation(settings, "fail")
    assert "failover and failback" in caught.value.hint
