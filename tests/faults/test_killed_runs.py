# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failover or failback killed behind any line of its journal: resumed, it ends whole; undone, all is as before.

Behind each round stands the real thing: one writer (the stand-in saw no second login of the device), and messages
that the session decrypts in both stores. FAULTS=all runs every line of both operations; by default a few of them,
where most is at stake.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.verify import compare, inspect_company
from lab import Lab
from tests.faults.alive import assert_alive
from tests.support.faults import places
from tests.support.lab_settings import write_settings

DRIVER = Path(__file__).with_name("driver.py")
FAILOVER_LINES, FAILBACK_LINES = 34, 30
QUICK_FAILOVER = (8, 10, 12, 13, 20, 24, 28)
QUICK_FAILBACK = (6, 9, 14, 20)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("killed") / "lab", 1, client=False)
    yield made
    made.down()


@pytest.fixture(scope="module")
def config(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_settings(lab, tmp_path_factory.mktemp("config") / "failover.json", mirror_dir="")
    prepare(load_settings(path))
    return path


def drive(config: Path, *words: str) -> int:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(config), *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def journal_events(config: Path) -> list[str]:
    settings = load_settings(config)
    newest = max((settings.state / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line)["event"] for line in (newest / "journal.jsonl").read_text().splitlines()]


def bring_back(lab: Lab, config: Path) -> None:
    """Whatever a round left: back on PostgreSQL."""
    if lab.health()["store"] == "files":
        assert drive(config, "failback", "run") == 0
    assert_alive(lab, config, "postgres")


@pytest.mark.parametrize("line", places(range(1, FAILOVER_LINES), QUICK_FAILOVER))
def test_a_failover_killed_behind_a_journal_line_is_completed_by_resume(lab: Lab, config: Path, line: int) -> None:
    if drive(config, "failover", "run", str(line)) != 0:
        complete(config, "failover")
    assert_alive(lab, config, "files")
    bring_back(lab, config)


@pytest.mark.parametrize("line", places(range(1, FAILBACK_LINES), QUICK_FAILBACK))
def test_a_failback_killed_behind_a_journal_line_is_completed_by_resume(lab: Lab, config: Path, line: int) -> None:
    assert drive(config, "failover", "run") == 0
    if drive(config, "failback", "run", str(line)) != 0:
        complete(config, "failback")
    assert_alive(lab, config, "postgres")


def complete(config: Path, name: str) -> None:
    """What an operator does with a run that was cut off: resume; or run again, when it had ended or had not begun."""
    operation = Operation(load_settings(config), name)
    events = journal_events(config)
    if "run_finished" in events:
        assert operation.run().changed is False
    else:
        assert drive(config, name, "resume") == 0


@pytest.mark.parametrize("line", places(range(2, FAILOVER_LINES - 4), (4, 9, 12, 16, 22, 26)))
def test_a_killed_failover_can_be_undone_until_a_session_has_moved_on(lab: Lab, config: Path, line: int) -> None:
    before = Path(lab.need_app().env_file).read_bytes()
    assert drive(config, "failover", "run", str(line)) == -signal.SIGKILL
    if "no_return" in journal_events(config):
        assert drive(config, "failover", "resume") == 0
        bring_back(lab, config)
        return
    # Once the application was started on files, the undo may find that the session has moved on, and then says so.
    moved_on = subprocess.run(
        [sys.executable, str(DRIVER), str(config), "failover", "undo"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if moved_on.returncode != 0:
        assert "complete the run with resume" in moved_on.stderr
        assert drive(config, "failover", "resume") == 0
        bring_back(lab, config)
        return
    assert_alive(lab, config, "postgres")
    app = Path(lab.need_app().dir)
    assert not app.is_symlink()
    assert Path(lab.need_app().env_file).read_bytes() == before
    assert not list(Path(lab.need_app().sessions_dir).glob("company_*"))


def test_an_undo_that_is_killed_is_completed_by_resume(lab: Lab, config: Path) -> None:
    assert drive(config, "failover", "run", "22") == -signal.SIGKILL
    assert drive(config, "failover", "undo", "3") == -signal.SIGKILL
    assert drive(config, "failover", "resume") == 0
    assert_alive(lab, config, "postgres")


def test_failback_leaves_postgresql_equal_to_the_files_key_by_key(lab: Lab, config: Path) -> None:
    company = lab.companies[0].id
    assert drive(config, "failover", "run") == 0
    assert_alive(lab, config, "files")
    settings = load_settings(config)
    assert drive(config, "failback", "run", "15") == -signal.SIGKILL  # the application is stopped, the import is done
    files = inspect_company(DirectorySource(settings.home()), company)
    with open_snapshot(settings.database, settings.tables) as snapshot:
        assert not compare(files.digests, inspect_company(snapshot, company).digests)
    assert drive(config, "failback", "resume") == 0
    assert_alive(lab, config, "postgres")
