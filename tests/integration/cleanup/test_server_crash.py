# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No commit of a batch waits for the server's disk, the end of a run does. A crash that takes batches back loses
nothing: their rows are in the table again, and in the archive, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baileys_resilience.cleanup import archive, batches, run
from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.errors import ResilienceError
from baileys_resilience.sessions.model import TableMapping
from lab import Lab
from tests.integration.cleanup.conftest import MIX, contents
from tests.support.database import SCHEMA
from tests.support.databases import Database
from tests.support.synthetic import make_companies

GOING = 2 * MIX["sender-key-memory"]


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Database]:
    """On a server of its own, which by itself writes nothing to its disk for ten seconds."""
    lab = Lab.up(tmp_path / "lab", app=False)
    try:
        with contextlib.closing(lab.connect(superuser=True, direct=True, database="postgres")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
                cursor.execute(f'CREATE DATABASE crashing OWNER "{lab.need_postgres().user}"')
        lab.break_("postgres-stop")
        lab.heal()
        database = Database(lab, "crashing")
        database.run(SCHEMA)
        database.fill(*make_companies(2, MIX))
        database.run(
            "UPDATE whatsapp_keys SET updated_at = now() - CASE WHEN key_type = 'sender-key-memory'"
            " THEN interval '31 days' ELSE interval '0' END"
        )
        yield database
    finally:
        lab.down()


@pytest.fixture
def crashed(crashing: Database, tmp_path: Path) -> Callable[[], CleanupSettings]:
    """A run whose server is killed when all batches are deleted, and none has waited for its disk at the end."""

    def crash() -> CleanupSettings:
        settings = CleanupSettings(crashing.params, TableMapping(), tmp_path / "state")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(batches.Batches, "make_durable", lambda _self: crashing.lab.break_("postgres-kill"))
            with contextlib.suppress(ResilienceError):
                run.clean_up(settings)
        crashing.lab.heal()
        (run_id,) = archive.runs(settings.archives)
        assert contents(archive.path_of(settings.archives, run_id))[0].keys == GOING
        return settings

    return crash


def test_the_log_of_a_piece_is_on_the_servers_disk_before_the_next(
    crashing: Database, crashed: Callable[[], CleanupSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a client's commit would have to write it. The commits of earlier batches are part of that log."""
    before = crashing.everything()
    monkeypatch.setattr(batches, "FLUSH_ROWS", 1)
    crashed()
    assert len(crashing.everything()) == len(before) - GOING // 2, "the second company's batch alone was taken back"


def test_where_a_server_writes_its_log_at_commits_only_batches_are_small_and_wait_for_its_disk(
    crashing: Database, crashed: Callable[[], CleanupSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PostgreSQL did up to 16."""
    before = crashing.everything()
    monkeypatch.setattr(batches, "FLUSH_VERSION", 10**6)
    monkeypatch.setattr(batches, "OLDER_BATCH_ROWS", 10)
    settings = crashed()
    (run_id,) = archive.runs(settings.archives)
    assert len(crashing.everything()) == len(before) - GOING
    assert [len(each.rows) for each in contents(archive.path_of(settings.archives, run_id))[1]] == [10] * (GOING // 10)


def test_batches_that_a_crash_takes_back_go_in_the_next_run_and_come_back_once(
    crashing: Database, crashed: Callable[[], CleanupSettings]
) -> None:
    before = crashing.everything()
    settings = crashed()
    (lost,) = archive.runs(settings.archives)
    assert crashing.everything() == before, "no batch was on the server's disk"

    done = run.clean_up(settings)
    assert done.number == GOING
    assert crashing.lab.break_("postgres-kill")
    crashing.lab.heal()
    assert len(crashing.everything()) == len(before) - GOING, "what a whole run has deleted stays deleted"
    assert [restore(settings, each, application_stopped=True).number for each in (lost, done.run)] == [GOING, 0]
    assert crashing.everything() == before
