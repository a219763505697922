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

from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up
from baileys_resilience.sessions.published import create_schema
from tests.integration.cleanup.conftest import OLD, Settings
from tests.integration.cleanup.program import BATCH_ROWS, PHASES
from tests.support.databases import Database

PROGRAM = Path(__file__).parent / "program.py"
#: batches of 6 of 20 keys in each of two companies, killed in the second
DELETED = {"begun": 0, "half a batch": 6, "before the commit": 6, "after the commit": 12, "between batches": 12}


def kill_in(phase: str, database: Database, state_dir: Path) -> None:
    params = database.params
    words = [phase, str(state_dir), params.host, str(params.port), params.dbname, params.user]
    done = subprocess.run(
        [sys.executable, PROGRAM, *words], input=params.password + "\n", text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL


def rows(database: Database) -> list[tuple[Any, ...]]:
    return [row[1:] for row in database.everything()]


@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_run_loses_nothing_and_the_next_one_finishes(
    phase: str, aged: Database, settings: Settings, tmp_path: Path
) -> None:
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    before = rows(aged)
    kill_in(phase, aged, tmp_path / "state")
    gone = len(before) - len(rows(aged))
    assert gone == DELETED.get(phase, 2 * OLD)
    done = clean_up(settings())
    (killed,) = done.reconciled
    assert done.number == 2 * OLD - gone
    assert len(rows(aged)) == len(before) - 2 * OLD
    assert restore(settings(), killed).number == gone
    assert not done.run or restore(settings(), done.run).number == done.number
    assert rows(aged) == before


def test_it_dies_in_the_middle_of_something() -> None:
    assert 2 * BATCH_ROWS < OLD
    assert set(DELETED) < set(PHASES)
