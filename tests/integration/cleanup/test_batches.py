# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much goes at once: what is in memory, and what a client may have to wait for."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from baileys_resilience.cleanup import batches, run
from baileys_resilience.cleanup.choosing import choose
from baileys_resilience.cleanup.plan import make_plan
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up
from baileys_resilience.clock import now_iso
from baileys_resilience.errors import Busy
from baileys_resilience.postgres import Deadline
from baileys_resilience.sessions.published import create_schema
from baileys_resilience.steps.lease import HostLease, Lease
from lab.processes import wait_until
from tests.integration.cleanup.conftest import COMPANIES, OLD, Settings, contents
from tests.support.databases import Database


def test_large_keys_go_in_small_batches(aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a large group names each device of each member."""
    large = json.dumps({f"4917{number:09}@s.whatsapp.net": True for number in range(150)})
    aged.run("UPDATE whatsapp_keys SET value = %s::jsonb WHERE updated_at < now() - interval '30 days'", large)
    monkeypatch.setattr(batches, "BATCH_BYTES", 4 * len(large))
    monkeypatch.setattr(batches, "FIRST_ROWS", 2)
    done = clean_up(settings())
    assert done.number == 2 * OLD
    archived = contents(Path(done.archive))[1]
    assert max(sum(len(text or "") for row in each.rows for text in row) for each in archived) <= 4 * len(large)
    assert len(archived) < 2 * OLD


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        ({"FIRST_ROWS": 2, "PIECE_ROWS": 3}, 2),
        ({"FIRST_ROWS": 2, "PIECE_ROWS": 3, "FLUSH_ROWS": 5}, 2),
        ({"FIRST_ROWS": 10, "TAKING_SECONDS": 0.0}, 4),
        ({"FIRST_ROWS": 1, "BATCH_BYTES": 10}, 2 * OLD),
    ],
    ids=["in pieces", "with a log that is written meanwhile", "a server that is slow", "keys larger than a batch"],
)
def test_a_batch_is_taken_in_pieces(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float], number: int
) -> None:
    before = {(row[1], row[2], row[4]) for row in aged.everything()}
    for name, value in limits.items():
        monkeypatch.setattr(batches, name, value)
    done = clean_up(settings())
    gone = before - {(row[1], row[2], row[4]) for row in aged.everything()}
    archived = contents(Path(done.archive))[1]
    assert len(gone) == done.number == 2 * OLD
    assert sorted(row[2] for each in archived for row in each.rows) == sorted(str(key[2]) for key in gone)
    assert len(archived) == number


def test_a_server_that_answers_again_and_again_is_not_taken_for_one_that_does_not(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at the connection from time to time finds it busy each time: pieces follow each other closely."""
    monkeypatch.setattr(run, "_DEADLINE_SECONDS", 1.5)
    monkeypatch.setattr(Deadline, "_waiting", lambda _self: True)
    for name, value in {"FIRST_ROWS": 1, "PIECE_ROWS": 1, "FLUSH_ROWS": 0, "_FLUSH": "SELECT pg_sleep(0.1); "}.items():
        monkeypatch.setattr(batches, name, value)
    assert clean_up(settings()).number == 2 * OLD


SETTINGS = (
    "SELECT array_agg(name || setting ORDER BY name) FROM pg_settings WHERE name LIKE 'enable%'"
    " OR name IN ('work_mem', 'effective_io_concurrency', 'max_parallel_workers_per_gather')"
)


class Remembering(psycopg2.extensions.cursor):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.statements: list[str] = []

    def execute(self, *arguments: Any) -> None:
        super().execute(*arguments)
        self.statements.append(self.query.decode())


def test_whoever_counts_a_large_table_asks_the_calendar_once_and_not_for_each_row(
    aged: Database, settings: Settings
) -> None:
    with aged.open() as connection, connection.cursor(cursor_factory=Remembering) as cursor:
        cursor.execute(SETTINGS)
        as_ever = cursor.fetchone()
        make_plan(cursor, settings(policy=choose("age", accept_data_loss=True)), will_write=False)
        (count,) = [each for each in cursor.statements if "FILTER" in each]
        cursor.execute(f"EXPLAIN (VERBOSE) {count}")
        lines = [row[0].strip() for row in cursor.fetchall()]
        cursor.execute(SETTINGS)
        assert cursor.fetchone() == as_ever, "what comes behind the count in this transaction is planned as ever"
    asked = [line for line in lines if "now()" in line]
    assert len(asked) > 4
    assert {line.split(" - ")[0] for line in asked} == {"Output: (now()"}, "each in a plan of its own"


def test_hosts_of_one_database_take_turns(aged: Database, settings: Settings, tmp_path: Path) -> None:
    """They begin at the same hour, each with its own companies."""
    done = []
    host = partial(settings, companies=[COMPANIES[0]], archive_dir=tmp_path / "elsewhere")
    other = threading.Thread(target=lambda: done.append(clean_up(host())))
    with aged.open() as connection, connection.cursor() as cursor:
        cursor.execute(batches.LOCK)
        other.start()
        wait_until(lambda: is_waiting(aged), "it waits for its turn", 20)
        connection.commit()
    other.join(20)
    assert [each.number for each in done] == [OLD]


def is_waiting(database: Database) -> bool:
    return database.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == [(1,)]


@pytest.mark.parametrize("when", ["before the plan", "behind it"])
def test_nothing_goes_while_a_failover_or_failback_is_open(
    aged: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A failback that moves running sessions compares each row with memory after the record says PostgreSQL again."""
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    earlier = clean_up(settings(cap=1)).run
    before = aged.everything(versions=True)
    lease = HostLease(tmp_path / "state")
    take = partial(lease.take, Lease("r", "failback", "somebody", now_iso()), cooldown_seconds=0.0)
    if when == "before the plan":
        take()
    else:
        planned = run.make_plan

        def plan_then_begin(*arguments: Any, **options: Any) -> Any:
            plan = planned(*arguments, **options)
            take()
            return plan

        monkeypatch.setattr(run, "make_plan", plan_then_begin)
    with pytest.raises(Busy, match="failback"):
        clean_up(settings())
    with pytest.raises(Busy, match="failback"):
        restore(settings(), earlier)
    assert aged.everything(versions=True) == before
