# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: every whole line counts, a cut-off last one does not, and an unreadable one is never passed over."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baileys_resilience.errors import NoSpace, StoreError
from baileys_resilience.steps.journal import Journal, RunState


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def events(journal: Journal) -> list[str]:
    return [event["event"] for event in journal.events()]


def test_a_journal_that_was_never_written_has_no_events(journal: Journal) -> None:
    journal.repair()
    assert journal.events() == []
    assert not journal.path.exists()


def test_lines_are_read_back_in_order_with_their_time_and_only_the_owner_may_read_them(journal: Journal) -> None:
    journal.append("run_started", run="r1", companies=["962301"])
    journal.append("step_started", step="stop", title="Ende \n der Zeile ☎")
    assert [(e["event"], e["at"][-1]) for e in journal.events()] == [("run_started", "Z"), ("step_started", "Z")]
    assert journal.events()[1]["title"] == "Ende \n der Zeile ☎"
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [b'{"at": "2026', b"{", b'{"at": "2026-01-01T00:00:00Z", "event": "step_done"}'])
def test_a_last_line_without_its_end_counts_as_not_written_and_is_repaired(journal: Journal, cut: bytes) -> None:
    journal.append("run_started", run="r1")
    with journal.path.open("ab") as stream:
        stream.write(cut)
    assert events(journal) == ["run_started"]
    journal.repair()
    journal.append("step_started", step="stop")
    assert events(journal) == ["run_started", "step_started"]


def test_repairing_a_whole_journal_changes_nothing(journal: Journal) -> None:
    journal.append("run_started", run="r1")
    before = journal.path.read_bytes()
    journal.repair()
    assert journal.path.read_bytes() == before


@pytest.mark.parametrize("damaged", [b"\0\0\0\0", b"not json", b"17", b"[]", b'{"step": "stop"}', b'"text"', b"\xff"])
def test_an_unreadable_line_in_the_middle_is_an_error_that_names_it_and_says_what_to_do(
    journal: Journal, damaged: bytes
) -> None:
    journal.append("run_started", run="r1")
    with journal.path.open("ab") as stream:
        stream.write(damaged + b"\n")
    journal.append("step_started", step="stop")
    with pytest.raises(StoreError) as caught:
        journal.events()
    assert "line 2 cannot be read" in caught.value.cause
    assert caught.value.subject == str(journal.path)
    assert "docs/failover.md" in caught.value.hint


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """A full disk in small: the kernel writes up to the limit, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_a_full_disk_cuts_off_is_an_error_and_leaves_the_journal_whole(journal: Journal) -> None:
    journal.append("run_started", run="r1")
    with files_at_most(journal.path.stat().st_size + 20), pytest.raises(NoSpace) as caught:
        journal.append("step_started", step="stop")
    assert "free space" in caught.value.hint
    journal.append("step_failed", step="stop")
    assert events(journal) == ["run_started", "step_failed"]


def test_a_journal_whose_directory_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Journal(tmp_path / "nowhere" / "journal.jsonl").append("run_started")
    assert "write journal" in str(caught.value)


def test_the_state_of_a_run_is_what_its_lines_say() -> None:
    lines = [
        {"event": "run_started", "at": "1", "run": "r1"},
        {"event": "step_started", "at": "2", "step": "stop"},
        {"event": "step_noted", "at": "3", "step": "stop", "result": {"was_running": True}},
        {"event": "step_noted", "at": "4", "step": "stop", "result": {"stopped_at": 7}},
        {"event": "step_failed", "at": "5", "step": "stop", "error": {"cause": "no"}},
        {"event": "step_started", "at": "6", "step": "stop"},
        {"event": "step_done", "at": "7", "step": "stop", "result": {"was_running": False}, "seconds": 0.5},
        {"event": "no_return", "at": "8", "step": "stop", "reason": "connected"},
        {"event": "run_finished", "at": "9", "outcome": "done"},
    ]
    halfway, whole = RunState(json.loads(json.dumps(lines[:5]))), RunState(lines)
    assert halfway.results == {"stop": {"was_running": True, "stopped_at": 7}}
    assert halfway.started == ["stop"]
    assert not halfway.done("stop")
    assert halfway.last_error == {"cause": "no"}
    assert whole.results == {"stop": {"was_running": False}}
    assert (whole.started, whole.done("stop"), whole.seconds()) == (["stop"], True, {"stop": 0.5})
    assert (whole.no_return, whole.outcome, whole.header["run"]) == ("8", "done", "r1")
