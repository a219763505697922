# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A move of running sessions, against an admin socket that says what a test wants: when it is chosen, and how it goes
on where a client refuses, dies or hangs. The real client is met in tests/integration/client.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.errors import ApplicationError, StepFailed
from baileys_resilience.failover import live, live_steps
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.daily_check import held_too_long
from baileys_resilience.failover.live_steps import let_go_on
from baileys_resilience.failover.services import ServiceStatus
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.steps.engine import Notes, Run, Step
from tests.support.client_admin import client
from tests.support.lab_settings import PROJECT

ONE, TWO = "962301", "962302"
STATUS = "GET /status"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a unix socket's name holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="client-") as path:
        yield Path(path)


@pytest.fixture
def settings(tmp_path: Path, directory: Path) -> FailoverSettings:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".env").write_text("USE_DATABASE_AUTH_STATE=true\n")
    return settings_from_dict(
        {
            "host": "app1", "companies": [ONE, TWO], "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"), "client_dir": str(directory), "database": {},
            "application": {"dir": str(tmp_path / "app")}, "policy": {"mode": "auto"},
        }
    )  # fmt: skip


class Service:
    """Runs as process 0 was never: what it was told is remembered."""

    def __init__(self, *pids: int) -> None:
        self.live = pids
        self.told: list[tuple[str, Mapping[str, str]]] = []

    def status(self) -> ServiceStatus:
        return ServiceStatus(bool(self.live), self.live)

    def pids(self) -> tuple[int, ...]:
        return self.live

    def stop(self) -> ServiceStatus:
        self.told.append(("stop", {}))
        return ServiceStatus(False)

    def start(self, flags: Mapping[str, str]) -> ServiceStatus:
        self.told.append(("start", flags))
        return ServiceStatus(True, (7,))

    def saved_otherwise(self, flags: Mapping[str, str]) -> str:
        return ""


def status(settings: FailoverSettings, *sessions: dict[str, Any], **more: Any) -> tuple[int, dict[str, Any]]:
    places = {"sessions_dir": settings.sessions_dir, "export_dir": f"{settings.client_dir}/exports"}
    return 200, {**places, "sessions": list(sessions), **more}


def session(company: str, store: str = "postgres", **more: Any) -> dict[str, Any]:
    return {"company": company, "store": store, "undecodable": 0, "hold": None, **more}


def sealed(company: str, **more: Any) -> dict[str, Any]:
    return session(company, hold={"hold": f"hold-{company}", "phase": "sealed", "to": "files", **more})


def why_not(settings: FailoverSettings, *sessions: dict[str, Any], **more: Any) -> str:
    context = FailoverContext(settings, "", "files")
    context._service = Service()
    with client(Path(settings.client_dir), {STATUS: status(settings, *sessions, **more)}):
        return live.choose_mode(context).why_not_live


def test_it_is_chosen_where_the_client_has_these_sessions_and_writes_where_we_read(settings: FailoverSettings) -> None:
    both = (session(ONE), session(TWO))
    assert why_not(settings, *both) == ""
    assert f"company {TWO} is not open in its client" in why_not(settings, session(ONE))
    assert f"company {TWO} runs on files" in why_not(settings, session(ONE), session(TWO, "files"))
    assert "company 962309 is open in its client, and this run does not move it" in why_not(
        settings, *both, session("962309")
    )
    assert why_not(settings, *both, session("962309", "files")) == ""
    assert f"company {TWO} is held by its client already" in why_not(settings, session(ONE), sealed(TWO))
    for place in ("", "/elsewhere"):
        assert "(WA_SESSION_EXPORT_DIR)" in why_not(settings, *both, export_dir=place)
        assert "(WA_SESSIONS_DIR)" in why_not(settings, *both, sessions_dir=place)


def test_an_application_without_a_client_is_restarted_and_nobody_is_asked(settings: FailoverSettings) -> None:
    for directory in ("", "/no/such/directory"):
        context = FailoverContext(replace(settings, client_dir=directory), "", "files")
        assert live.choose_mode(context) == live.Mode("restart", live.NO_CLIENT)
    context = FailoverContext(settings, "", "files")
    assert "does not answer" in live.choose_mode(context).why_not_live  # its process is gone
    forced = replace(settings, policy=replace(settings.policy, mode="live"))
    with pytest.raises(StepFailed, match="cannot move while they run"):
        live.choose_mode(FailoverContext(forced, "", "files"))


_PROGRAM = """
import json, sys
from pathlib import Path
from tests.support.client_admin import client
from tests.support.lab_settings import PROJECT
with client(Path(sys.argv[1]), {"GET /status": (200, json.loads(sys.argv[2]))}):
    print("listens", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def client_process(settings: FailoverSettings, said: dict[str, Any], **environment: str) -> Iterator[None]:
    words = [sys.executable, "-c", _PROGRAM, settings.client_dir, json.dumps(said)]
    started = subprocess.Popen(
        words, cwd=PROJECT, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with started as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield


def test_what_a_process_holds_is_seen_where_its_manager_names_none(settings: FailoverSettings) -> None:
    """A container keeps the environment that it was made with, and would start on the old store again."""
    said = status(settings, session(ONE), session(TWO))[1]
    context = FailoverContext(settings, "", "files")
    context._service = Service()
    with client_process(settings, said, USE_DATABASE_AUTH_STATE="true"):
        why = live.choose_mode(context).why_not_live
    assert "its process holds USE_DATABASE_AUTH_STATE in its environment" in why
    with client_process(settings, said, USE_DATABASE_AUTH_STATE="false"):
        assert live.choose_mode(context).why_not_live == ""


class Done(Step[FailoverContext]):
    """A step of which only the result matters here."""

    def __init__(self, name: str, **result: Any) -> None:
        self.name, self.result = name, result

    def apply(self, context: FailoverContext, notes: Notes) -> dict[str, Any]:
        return self.result


@pytest.fixture
def context(settings: FailoverSettings) -> FailoverContext:
    """Right before the sessions are let go on: two of them are sealed."""
    made = FailoverContext(settings, "run", "files")
    made._service = Service(4)
    drained = {company: {"hold": f"hold-{company}"} for company in (ONE, TWO)}
    run = Run(
        settings.state,
        "run",
        [
            Done("preflight", mode="live", service={"running": True, "pids": [4]}),
            Done("stop", drained=drained),
            Done("verify", companies=[ONE, TWO]),
        ],
        made,
    )
    run.begin("failover", "hugo", {}, companies=[ONE, TWO], cooldown_seconds=0)
    run.run_all()
    return made


def go_on(context: FailoverContext) -> Mapping[str, Any]:
    run: Run[FailoverContext] = Run(context.settings.state, "run", [], context)
    return let_go_on(context, Notes(run.journal, "start"))


def commit_of(settings: FailoverSettings, company: str) -> str:
    directory = f"{settings.sessions_dir}/company_{company}".replace("/", "%2F")
    return f"POST /store?company={company}&phase=commit&hold=hold-{company}&directory={directory}"


def test_a_commit_that_is_refused_once_is_asked_again(context: FailoverContext) -> None:
    settings = context.settings
    answers = {
        STATUS: status(settings, sealed(ONE), sealed(TWO)),
        commit_of(settings, ONE): [(500, {"error": "too many files are open"}), (200, {})],
        commit_of(settings, TWO): (200, {}),
    }
    with client(Path(settings.client_dir), answers):
        result = go_on(context)
    assert (result["committed"], result["started"]) == ([ONE, TWO], False)
    assert context.service.told == []  # type: ignore[attr-defined]


def test_one_that_is_refused_to_the_end_behind_the_point_of_no_return_is_started_on_the_new_store(
    context: FailoverContext,
) -> None:
    settings = context.settings
    answers = {
        STATUS: status(settings, sealed(ONE), sealed(TWO)),
        commit_of(settings, ONE): (200, {}),
        commit_of(settings, TWO): (409, {"error": "the files are not what memory holds"}),
    }
    with client(Path(settings.client_dir), answers) as asked:
        result = go_on(context)
    assert asked.count(commit_of(settings, TWO)) == 3
    assert context.state().no_return
    assert result["committed"] == [ONE]
    assert "not what memory holds" in result["restarted"][TWO]
    told = context.service.told  # type: ignore[attr-defined]
    assert told == [("stop", {}), ("start", settings.application.files_env)]


def test_a_commit_that_took_too_long_is_taken_back_and_is_no_death(context: FailoverContext) -> None:
    settings = context.settings
    seal = f"POST /store?company={ONE}&phase=seal&hold=hold-{ONE}"
    no_answer, taken_back = (200, b""), (200, {"phase": "sealed"})
    held = {STATUS: status(settings, sealed(ONE), sealed(TWO))}
    with client(Path(settings.client_dir), {**held, commit_of(settings, ONE): no_answer, seal: taken_back}) as asked:
        with pytest.raises(ApplicationError):
            live.commit(context, ONE)
        assert asked.count(commit_of(settings, ONE)) == 1
        assert asked[-2:] == [seal, STATUS]
    over = {STATUS: status(settings, session(ONE, "files"), sealed(TWO))}
    too_late = (409, {"error": "it is", "name": "Committed"})
    with client(Path(settings.client_dir), {**over, commit_of(settings, ONE): no_answer, seal: too_late}):
        live.commit(context, ONE)


def test_where_none_went_over_a_refusal_is_an_error_that_can_be_taken_back_in_place(context: FailoverContext) -> None:
    settings = context.settings
    refusal = (409, {"error": "the files are not what memory holds"})
    answers = {
        STATUS: status(settings, sealed(ONE), sealed(TWO)),
        commit_of(settings, ONE): refusal,
        commit_of(settings, TWO): refusal,
    }
    with client(Path(settings.client_dir), answers):
        with pytest.raises(ApplicationError, match="no session went over"):
            go_on(context)
        assert live.all_wait(context)
    assert context.service.told == []  # type: ignore[attr-defined]


def test_what_may_have_gone_over_is_not_taken_back_in_place(context: FailoverContext) -> None:
    """A run that was killed between the commit and its line: it looks as if nothing had happened."""
    settings = context.settings
    with client(Path(settings.client_dir), {STATUS: status(settings, sealed(ONE), sealed(TWO))}):
        assert live.all_wait(context)
        Run(settings.state, "run", [], context).journal.append("step_noted", step="start", result={"asked": [ONE, TWO]})
        assert not live.all_wait(context)
    over = (session(ONE, "files"), sealed(TWO))
    with client(Path(settings.client_dir), {STATUS: status(settings, *over)}):
        assert live.all_held(context)
        assert not live.all_wait(context)


def test_a_run_that_is_killed_in_its_first_commit_has_written_down_before_that_it_was_asked(
    context: FailoverContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_context: FailoverContext, _company: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live_steps, "commit", killed)
    with client(Path(context.settings.client_dir), {STATUS: status(context.settings, sealed(ONE), sealed(TWO))}):
        with pytest.raises(KeyboardInterrupt):
            go_on(context)
        assert not live.all_wait(context)


def dies(context: FailoverContext, monkeypatch: pytest.MonkeyPatch, *, leaves: Service) -> Mapping[str, Any]:
    """Between the last look at it and its first commit."""
    settings = context.settings
    both = status(settings, sealed(ONE), sealed(TWO))
    with monkeypatch.context() as patched:
        look = live.refuse_if_let_go

        def then_die(*words: Any) -> None:
            with client(Path(settings.client_dir), {STATUS: both}):
                look(*words)
            context._service = leaves

        patched.setattr(live_steps, "refuse_if_let_go", then_die)
        return go_on(context)


def test_a_client_that_is_gone_is_not_waited_for(context: FailoverContext, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Service()
    result = dies(context, monkeypatch, leaves=gone)
    assert set(result["restarted"]) == {ONE, TWO}
    assert [word for word, _flags in gone.told] == ["stop", "start"]
    assert not context.state().no_return


def test_one_that_was_started_anew_by_its_manager_is_there_already(
    context: FailoverContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = context.settings.application
    application.env_path.write_text("".join(f"{name}={value}\n" for name, value in application.files_env.items()))
    anew = Service(99999999)
    result = dies(context, monkeypatch, leaves=anew)
    assert (result["started"], result["pids"], anew.told) == (True, [99999999], [])


@pytest.mark.parametrize("where", [["postgres"], []])
def test_one_that_went_on_in_the_old_store_before_env_was_switched_is_not_moved(
    context: FailoverContext, monkeypatch: pytest.MonkeyPatch, where: list[str]
) -> None:
    """Its copy is older than what it has done since."""
    monkeypatch.setattr(live, "_WORD_SECONDS", 0.1)
    anew = [session(ONE, store) for store in where]
    with client(Path(context.settings.client_dir), {STATUS: status(context.settings, *anew)}):
        with pytest.raises(ApplicationError, match="is not held any more"):
            go_on(context)
        assert not live.all_wait(context)
    assert context.service.told == []  # type: ignore[attr-defined]


def test_an_abort_that_comes_too_late_is_told_from_one_that_is_refused(context: FailoverContext) -> None:
    asked = "POST /store?company={0}&phase=abort&hold=hold-{0}&epoch=0"
    answers = {
        asked.format(ONE): (409, {"error": "it was committed", "name": "Committed"}),
        asked.format(TWO): (409, {"error": "there is no such hold", "name": "SwitchRefused"}),
    }
    with client(Path(context.settings.client_dir), answers):
        assert live.abort(context, [ONE, TWO]) == [ONE]


@pytest.mark.parametrize(
    ("phase", "seconds", "told"), [("sealed", 300, True), ("sealed", 5, False), ("hold", 300, False)]
)
def test_the_daily_check_tells_of_a_session_that_nobody_lets_go_on(
    settings: FailoverSettings, phase: str, seconds: float, told: bool
) -> None:
    since = to_iso(utc_now().fromtimestamp(utc_now().timestamp() - seconds, utc_now().tzinfo))
    held = session(ONE, hold={"hold": "x", "phase": phase, "to": "files", "since": since})
    assert held_too_long(settings) == []
    with client(Path(settings.client_dir), {STATUS: status(settings, held, session(TWO))}):
        found = held_too_long(settings)
    assert bool(found) == told
    if told:
        assert f"company {ONE}: its client has held it for 300 s, on its way to files" in found[0]
        assert "failover resume" in found[0]
