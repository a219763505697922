# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL in every phase of a cleanup: each key is in the table or in the archive, and never in neither."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup.archive import path_of
from baileys_resilience.cleanup.keyfile import add_key
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up
from baileys_resilience.sessions.published import create_schema
from tests.integration.cleanup.conftest import OLD, Settings
from tests.integration.cleanup.program import BATCH_ROWS, PHASES
from tests.support.databases import Database

PROGRAM = Path(__file__).parent / "program.py"
#: batches of 6 of 20 keys in each of two companies, killed in the second
DELETED = {"begun": 0, "half a batch": 6, "before the commit": 6, "after the commit": 12, "between batches": 12}


def kill_in(phase: str, database: Database, state_dir: Path, key_file: str = "") -> None:
    params = database.params
    words = [phase, str(state_dir), key_file, params.host, str(params.port), params.dbname, params.user]
    done = subprocess.run(
        [sys.executable, PROGRAM, *words], input=params.password + "\n", text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL


def rows(database: Database) -> list[tuple[Any, ...]]:
    return [row[1:] for row in database.everything()]


def dies_and_finishes(phase: str, aged: Database, settings: Settings, tmp_path: Path, keys: Path | None = None) -> None:
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    before = rows(aged)
    kill_in(phase, aged, tmp_path / "state", str(keys or ""))
    gone = len(before) - len(rows(aged))
    assert gone == DELETED.get(phase, 2 * OLD)
    again = settings(archive_key_file=keys)
    done = clean_up(again)
    (killed,) = done.reconciled
    assert (path_of(again.archives, killed).suffix == ".enc") is (keys is not None)
    assert done.number == 2 * OLD - gone
    assert len(rows(aged)) == len(before) - 2 * OLD
    assert restore(again, killed).number == gone
    assert not done.run or restore(again, done.run).number == done.number
    assert rows(aged) == before


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_run_loses_nothing_and_the_next_one_finishes(
    phase: str, aged: Database, settings: Settings, tmp_path: Path
) -> None:
    dies_and_finishes(phase, aged, settings, tmp_path)


@pytest.mark.parametrize("phase", ["begun", "half a batch", "after the commit"])
def test_nor_does_one_whose_archive_is_encrypted(
    phase: str, aged: Database, settings: Settings, tmp_path: Path
) -> None:
    keys = tmp_path / "archive.key"
    add_key(keys)
    dies_and_finishes(phase, aged, settings, tmp_path, keys)


def test_it_dies_in_the_middle_of_something() -> None:
    assert 2 * BATCH_ROWS < OLD
    assert set(DELETED) < set(PHASES)
