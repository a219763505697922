# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failover's preflight makes of what it sees: places that are not ours, a record that cannot be true, owners."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError, ForeignFiles, Misconfigured, StepFailed
from baileys_resilience.failover import judgement
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.daily_check import check_readiness
from baileys_resilience.failover.failover_steps import Export, preflight
from baileys_resilience.failover.health import ApplicationHealth, CompanyHealth
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.processes import identity_of, is_alive
from baileys_resilience.failover.services import ServiceStatus
from baileys_resilience.failover.settings import FILES_FLAGS, POSTGRES_FLAGS, settings_from_dict
from baileys_resilience.failover.stop_step import StopApplication
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.steps.engine import Notes
from baileys_resilience.steps.journal import Journal
from tests.support.sources import MemorySource
from tests.support.synthetic import SMALL_MIX, make_company

ONE, OTHER = "962301", "962302"
COMPANIES = [make_company(ONE, 1, SMALL_MIX), make_company(OTHER, 2, SMALL_MIX)]


class Service:
    def __init__(self, pids: tuple[int, ...] = ()) -> None:
        self._status = ServiceStatus(True, pids)

    def status(self) -> ServiceStatus:
        return self._status

    def stop(self) -> ServiceStatus:
        return self._status

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        return self._status


class Probe:
    def __init__(self, companies: dict[str, CompanyHealth]) -> None:
        self._health = ApplicationHealth(True, companies=companies)

    def ask(self, _companies: tuple[str, ...]) -> ApplicationHealth:
        return self._health


def write_env(path: Path, flags: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in {"PORT": "1", **flags}.items()))


@pytest.fixture
def context(tmp_path: Path) -> FailoverContext:
    (tmp_path / "app").mkdir()
    write_env(tmp_path / "app" / ".env", POSTGRES_FLAGS)
    settings = settings_from_dict(
        {
            "host": "app1",
            "companies": [ONE, OTHER],
            "database": {},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": str(tmp_path / "app")},
        }
    )
    context = FailoverContext(settings, "run", "files")
    context._service = Service()
    hear(context)
    return context


def hear(context: FailoverContext, **companies: CompanyHealth) -> None:
    """Let the application say this of its companies, named by their ids with `c` before them."""
    said = {name[1:]: health for name, health in companies.items()}
    context.probe = lambda *_words, **_named: Probe(said)  # type: ignore[method-assign,assignment,return-value]


def export(context: FailoverContext, *companies: Any) -> None:
    assert not export_companies(MemorySource(list(companies)), context.home, [each.id for each in companies]).failed


# Places that are not ours


def spoil(context: FailoverContext, company: str) -> Path:
    place = context.home.directory(company)
    place.mkdir(parents=True)
    (place / "creds.json").write_text("{}")
    (place / "notes.txt").write_text("mine")
    return place


def test_a_stray_file_is_the_problem_of_its_own_company_only(context: FailoverContext) -> None:
    spoil(context, OTHER)
    unusable = preflight(context)["unusable"]
    assert list(unusable) == [OTHER]
    assert "notes.txt" in unusable[OTHER]
    assert "move those files away" in unusable[OTHER]


def test_stray_files_in_every_place_leave_nothing_to_do(context: FailoverContext) -> None:
    for company in (ONE, OTHER):
        spoil(context, company)
    with pytest.raises(ForeignFiles):
        preflight(context)


def test_the_daily_check_tells_of_a_stray_file(context: FailoverContext, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(context, OTHER)
    operation = Operation(context.settings, "failover")
    monkeypatch.setattr(operation, "_context", lambda _run: context)
    found = check_readiness(operation).problems
    assert any(f"company {OTHER}: " in each and "notes.txt" in each for each in found)


def test_a_directory_with_stray_files_that_is_put_aside_is_kept_for_good(context: FailoverContext) -> None:
    spoil(context, OTHER)
    context.run_directory.mkdir(parents=True)
    journal = Journal(context.run_directory / "journal.jsonl")
    journal.append("run_started", companies=[ONE, OTHER])
    journal.append("step_done", step="preflight", result=preflight(context))
    step = Export()
    assert not step._keep_as(context, OTHER).rsplit(".", 1)[1].isdigit()
    assert step._keep_as(context, ONE).rsplit(".", 1)[1].isdigit()


# A record that cannot be true


def refuses(context: FailoverContext, cause: str, company: str = ONE) -> None:
    with pytest.raises(StepFailed) as caught:
        preflight(context)
    assert cause in caught.value.cause
    assert caught.value.subject == f"company {company}"
    assert f"baileys-resilience store set --to files --company {company}" in caught.value.hint
    assert "set the flags in .env back" in caught.value.hint


def test_an_application_that_says_it_runs_from_files_is_believed(context: FailoverContext) -> None:
    hear(context, **{f"c{ONE}": CompanyHealth("connecting", store="files")})
    refuses(context, "the application says that it runs from files")


def test_flags_for_files_contradict_a_record_that_has_nobody_there(context: FailoverContext) -> None:
    write_env(context.settings.application.env_path, FILES_FLAGS)
    refuses(context, "the flags in .env are those for files")


def test_a_company_that_was_left_behind_can_follow_one_that_lives_on_files(context: FailoverContext) -> None:
    """The flags and the application's word are of all its companies; only a connection tells where this one lives."""
    context.record.move([ONE], "files", by="earlier", places={})
    write_env(context.settings.application.env_path, FILES_FLAGS)
    hear(context, **{f"c{OTHER}": CompanyHealth("connecting", store="files")})
    preflight(context)
    hear(context, **{f"c{OTHER}": CompanyHealth("open", store="files")})
    refuses(context, "the application says that it runs from files", OTHER)


@pytest.mark.parametrize("change", ["ratchet", "new key", "deleted key"])
def test_files_that_were_written_after_their_export_are_not_overwritten_when_there_is_no_record(
    context: FailoverContext, change: str
) -> None:
    export(context, *COMPANIES)
    preflight(context)
    session = next(context.home.directory(ONE).glob("session-*.json"))
    if change == "ratchet":
        session.write_text(json.dumps({**json.loads(session.read_text()), "version": "moved on"}))
    elif change == "new key":
        (session.parent / "session-new.0.json").write_bytes(session.read_bytes())
    else:
        session.unlink()
    refuses(context, "its files were written after they were exported")
    context.record.move([ONE], "files", by="a", places={})
    context.record.move([ONE], "postgres", by="b", places={})
    preflight(context)


def test_old_files_without_a_manifest_of_ours_contradict_nothing(context: FailoverContext) -> None:
    place = context.home.directory(ONE)
    place.mkdir(parents=True)
    (place / "creds.json").write_text("{}")
    preflight(context)


# Whose the files must be


@pytest.fixture
def of_another_user(monkeypatch: pytest.MonkeyPatch) -> int:
    """A process that seems to be somebody else's, and we seem to be root: real ones are in tests/system."""
    monkeypatch.setattr(judgement, "owner_of", lambda pid: (12345, 12345) if pid == 99 else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return 99


def found(*pids: int) -> dict[str, Any]:
    return {"service": {"pids": list(pids)}, "health_pid": 0}


def test_the_user_of_the_service_owns_a_home_that_is_still_to_be_made(
    context: FailoverContext, of_another_user: int
) -> None:
    judgement.use_owner_of_service(context, found(of_another_user))
    assert context.home.owner == (12345, 12345)


def test_a_home_that_the_service_could_not_read_is_refused_with_the_setting(
    context: FailoverContext, of_another_user: int
) -> None:
    context.home.path.mkdir()
    with pytest.raises(Misconfigured) as caught:
        judgement.use_owner_of_service(context, found(of_another_user))
    assert "runs as 12345 and could not read them" in caught.value.cause
    assert "baileys_resilience_app_user" in caught.value.hint
    judgement.use_owner_of_service(context, found())


def test_what_runs_no_manager_of_ours_is_judged_by_the_process_that_works_in_the_applications_directory(
    context: FailoverContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "owner_of", lambda _pid: (12345, 12345))
    for directory, owner in ((context.settings.application.dir, (12345, 12345)), ("/", None)):
        with subprocess.Popen(["sleep", "60"], cwd=directory) as process:
            told = {"service": {"pids": []}, "health_pid": process.pid}
            assert judgement._service_owner(context, told) == owner
            process.kill()


# Processes of another boot


@pytest.fixture
def innocent() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_a_pid_that_was_given_to_another_process_since_is_not_taken_for_the_application(
    context: FailoverContext, innocent: int
) -> None:
    step = StopApplication(30)
    for identity in ("another boot 1", f"{identity_of(innocent).split()[0]} 1"):
        step.verify(context, {"pids": [innocent], "identities": {str(innocent): identity}})
    with pytest.raises(ApplicationError) as caught:
        step.verify(context, {"pids": [innocent], "identities": {str(innocent): identity_of(innocent)}})
    assert "end it by hand" in caught.value.hint


def test_the_preflight_notes_which_processes_it_saw_and_the_stop_passes_it_on(
    context: FailoverContext, innocent: int
) -> None:
    context._service = Service((innocent,))
    context.run_directory.mkdir(parents=True)
    journal = Journal(context.run_directory / "journal.jsonl")
    journal.append("run_started", companies=[ONE])
    journal.append("step_done", step="preflight", result=preflight(context))
    result = StopApplication(30).apply(context, Notes(journal, "stop"))
    assert result["identities"] == {str(innocent): identity_of(innocent)}
    assert identity_of(2**22 + 1) == ""
    assert is_alive(innocent)
    assert time.time() - result["stopped_at"] < 60
