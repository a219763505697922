# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a session counts as connected from the new store: open, with its keys, and from that store and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError
from baileys_resilience.failover.connection_step import VerifyConnection
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.health import ApplicationHealth, CompanyHealth
from baileys_resilience.failover.settings import settings_from_dict
from baileys_resilience.steps.engine import Notes
from baileys_resilience.steps.journal import Journal

COMPANY, OTHER = "962301", "962302"
KEYS = 1333


class Judge:
    """The step behind a run that moved both companies to ``target``; ``health`` is what the application answers."""

    def __init__(
        self, directory: Path, target: str = "files", *, kind: str = "url", pids: tuple[int, ...] = ()
    ) -> None:
        settings = settings_from_dict(
            {
                "host": "app1",
                "companies": [COMPANY, OTHER],
                "database": {},
                "sessions_dir": str(directory / "sessions"),
                "state_dir": str(directory / "state"),
                "application": {"health": {"kind": kind}},
            }
        )
        self.context = FailoverContext(settings, "run", target)
        self.context.run_directory.mkdir(parents=True)
        self.journal = Journal(self.context.run_directory / "journal.jsonl")
        self.journal.append("run_started", companies=[COMPANY, OTHER])
        before = {COMPANY: {"connection": "open"}, OTHER: {"connection": "logged_out"}}
        self.done("preflight", health=before)
        self.done("stop", stopped_at=0.0)
        self.done("verify", companies=[COMPANY, OTHER], keys={COMPANY: KEYS, OTHER: 20})
        self.done("start", pids=list(pids))

    def done(self, step: str, **result: Any) -> None:
        self.journal.append("step_done", step=step, result=result)

    def __call__(self, *health: CompanyHealth) -> dict[str, Any]:
        """One answer, then the deadline."""
        answer = ApplicationHealth(True, companies=dict(zip((COMPANY, OTHER), health, strict=False)))
        self.context.probe = lambda *_words, **_named: _Answers(answer)  # type: ignore[method-assign,assignment,return-value]
        step = VerifyConnection(0.0)
        return dict(step.apply(self.context, Notes(self.journal, step.name)))

    @property
    def no_return(self) -> bool:
        return bool(self.context.state().no_return)


class _Answers:
    def __init__(self, answer: ApplicationHealth) -> None:
        self._answer = answer

    def ask(self, _companies: tuple[str, ...]) -> ApplicationHealth:
        return self._answer


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return Judge(tmp_path)


def test_a_session_with_all_its_keys_from_the_new_store_is_connected(judge: Judge) -> None:
    result = judge(CompanyHealth("open", keys=KEYS, store="files"))
    assert (result["connected"], result["excused"]) == ([COMPANY], {OTHER: "it was logged out before"})
    assert result["degraded"] == []
    assert judge.no_return


@pytest.mark.parametrize("keys", [None, KEYS - 10, KEYS + 5])
def test_a_few_keys_that_baileys_has_used_up_are_no_loss(judge: Judge, keys: int | None) -> None:
    assert judge(CompanyHealth("open", keys=keys, store="files"))["connected"] == [COMPANY]


@pytest.mark.parametrize("keys", [0, KEYS - 66, KEYS - 11])
def test_a_session_that_did_not_load_its_keys_is_not_connected_and_nothing_is_decided(judge: Judge, keys: int) -> None:
    """Eleven are one type of key: an application that skips the files of one type must not count as moved."""
    with pytest.raises(ApplicationError) as caught:
        judge(CompanyHealth("open", keys=keys, store="files"))
    assert f"company {COMPANY}: it loaded {keys} of {KEYS} keys" in caught.value.cause
    assert caught.value.hint == "see the application's log"
    assert not judge.no_return


def test_of_a_small_session_a_twentieth_may_be_used_up(judge: Judge) -> None:
    healthy = CompanyHealth("open", keys=KEYS, store="files")
    assert judge(healthy, CompanyHealth("open", keys=19, store="files"))["connected"] == [COMPANY, OTHER]
    # It was logged out before, so it is excused; but it does not count as connected.
    assert judge(healthy, CompanyHealth("open", keys=18, store="files"))["connected"] == [COMPANY]


@pytest.mark.parametrize(("target", "other"), [("files", "postgres"), ("postgres", "files")])
def test_a_session_that_is_connected_from_the_old_store_has_not_moved(tmp_path: Path, target: str, other: str) -> None:
    judge = Judge(tmp_path, target)
    with pytest.raises(ApplicationError) as caught:
        judge(CompanyHealth("open", keys=KEYS, store=other))
    assert f"company {COMPANY}: it is connected from {other}" in caught.value.cause
    assert not judge.no_return


def test_one_that_lost_keys_is_named_beside_one_that_is_well(judge: Judge) -> None:
    few = CompanyHealth("open", keys=100, store="files")
    result = judge(few, CompanyHealth("open", keys=20, store="files"))
    assert result["connected"] == [OTHER]
    assert result["failed"] == {COMPANY: f"it loaded 100 of {KEYS} keys"}


def test_a_store_that_nobody_can_tell_is_degraded_unless_the_process_was_looked_into(tmp_path: Path) -> None:
    silent = CompanyHealth("open", keys=KEYS)
    (tmp_path / "pm2").mkdir()
    assert Judge(tmp_path / "pm2", pids=(4711,))(silent)["degraded"] == []
    (said,) = Judge(tmp_path)(silent)["degraded"]
    assert f"nobody can tell which store the process uses (company {COMPANY})" in said


def test_a_log_pattern_of_the_code_on_files_tells_the_store(tmp_path: Path) -> None:
    assert Judge(tmp_path, kind="log")(CompanyHealth("open"))["degraded"] == []
