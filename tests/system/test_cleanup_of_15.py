# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's PostgreSQL cannot be told to write its log between commits. So batches are small there, and each waits."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

from baileys_resilience.cleanup import archive, batches, run
from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.sessions.model import TableMapping
from tests.support.database import everything
from tests.support.synthetic import make_companies
from tests.system.postgres15 import Cluster

MEMORIES = 300
MIX = {"session": 4 * MEMORIES, "sender-key-memory": MEMORIES}


def rows(cluster: Cluster) -> list[tuple[Any, ...]]:
    with contextlib.closing(cluster.admin()) as connection:
        return everything(connection)


def test_batches_are_small_survive_a_crash_of_the_server_and_come_back(tables: Cluster, tmp_path: Path) -> None:
    tables.fill(*make_companies(2, MIX))
    tables.run(
        "UPDATE whatsapp_keys SET updated_at = now() - CASE WHEN key_type = 'sender-key-memory'"
        " THEN interval '31 days' ELSE interval '0' END"
    )
    before = rows(tables)
    settings = CleanupSettings(tables.params, TableMapping(), tmp_path / "state")

    done = run.clean_up(settings)

    tables.stop(signal.SIGQUIT)  # it writes nothing more, as after a crash
    tables.start()
    assert done.number == 2 * MEMORIES
    assert len(rows(tables)) == len(before) - 2 * MEMORIES
    found: list[archive.Batch] = []
    archive.read(archive.path_of(settings.archives, done.run), found.append)
    small = batches.OLDER_BATCH_ROWS
    assert [len(each.rows) for each in found] == [small, MEMORIES - small] * 2
    assert restore(settings, done.run, application_stopped=True).number == 2 * MEMORIES
    assert rows(tables) == before
