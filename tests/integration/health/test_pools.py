# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of a real server, and a client's pool behind a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from baileys_resilience.errors import ApplicationError, DeadlineExceeded, ResilienceError, Unavailable
from baileys_resilience.health.client_metrics import client_error, pool_of, read_metrics
from baileys_resilience.health.findings import CRITICAL, OK, UNKNOWN, from_error
from baileys_resilience.health.server_pool import FIGURE, SESSIONS_FIGURE, judge_server_pool, read_server_pool
from baileys_resilience.health.thresholds import PoolThresholds
from baileys_resilience.postgres import ConnectParams
from lab import Lab
from tests.integration.health.conftest import MAX_CONNECTIONS
from tests.support.client_admin import client, dribbling
from tests.support.databases import Database


def as_superuser(database: Database, statement: str) -> None:
    connection = database.lab.connect(superuser=True, direct=True, database=database.name)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def seeing(database: Database) -> Iterator[str]:
    """The application's role, which may see all sessions for once."""
    user = database.params.user
    as_superuser(database, f'GRANT pg_monitor TO "{user}"')
    yield user
    as_superuser(database, f'REVOKE pg_monitor FROM "{user}"')


def test_sessions_are_counted_by_state_and_application(database: Database, seeing: str) -> None:
    with database.open() as idle, database.open() as working:
        for connection, name in ((idle, "sleeper"), (working, "worker")):
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"SET application_name = '{name}'")
        working.autocommit = False
        with working.cursor() as cursor:
            cursor.execute("SELECT 1")
        pool = read_server_pool(database.params, seconds=5)
    assert pool.by_state is not None
    assert (pool.by_state["active"], pool.by_state["idle in transaction"]) == (1, 1)
    assert {name: pool.by_application[name] for name in ("sleeper", "worker", "baileys-resilience")} == dict.fromkeys(
        ("sleeper", "worker", "baileys-resilience"), 1
    )
    assert pool.used == sum(pool.by_state.values()) == sum(pool.by_application.values())
    assert pool.used_in_database == 3
    assert (pool.limits.max_connections, pool.limits.superuser_reserved, pool.limits.role) == (MAX_CONNECTIONS, 3, None)
    assert pool.free == MAX_CONNECTIONS - 3 - pool.used
    assert [each.status for each in judge_server_pool(pool, PoolThresholds())] == [OK, OK]


def test_a_role_that_sees_only_its_own_sessions_counts_all_and_is_told_the_grant_that_helps(database: Database) -> None:
    user = database.params.user
    with contextlib.closing(database.lab.connect(superuser=True, direct=True, database=database.name)):
        blind = read_server_pool(database.params, seconds=5)
        slots, sight = judge_server_pool(blind, PoolThresholds())
        assert (blind.all_visible, blind.by_state) == (False, None)
        assert (slots.status, sight.figure, sight.status) == (OK, SESSIONS_FIGURE, UNKNOWN)
        as_superuser(database, sight.advice)
        try:
            seeing = read_server_pool(database.params, seconds=5)
        finally:
            as_superuser(database, f'REVOKE pg_monitor FROM "{user}"')
    assert seeing.used == blind.used >= 3
    assert [each.status for each in judge_server_pool(seeing, PoolThresholds())] == [OK, OK]


def test_the_limits_of_role_and_database_count_too(database: Database, seeing: str) -> None:
    as_superuser(database, f"ALTER DATABASE {database.name} CONNECTION LIMIT 2")
    pool = read_server_pool(database.params, seconds=5)
    assert (pool.limits.database, pool.free, pool.used_percent) == (2, 1, 50.0)
    as_superuser(database, f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
    as_superuser(database, f'ALTER ROLE "{seeing}" CONNECTION LIMIT 1')
    try:
        slots = judge_server_pool(read_server_pool(database.params, seconds=5), PoolThresholds())[0]
    finally:
        as_superuser(database, f'ALTER ROLE "{seeing}" CONNECTION LIMIT -1')
    assert (slots.status, "no connection is free" in slots.cause) == (CRITICAL, True)


def unread(params: ConnectParams, seconds: float = 1) -> ResilienceError:
    with pytest.raises(ResilienceError) as failed:
        read_server_pool(params, seconds=seconds)
    assert from_error(FIGURE, failed.value).status == CRITICAL
    return failed.value


def test_used_up_connections_are_critical(database: Database) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(psycopg2.OperationalError):
            for _each in range(MAX_CONNECTIONS):
                held.enter_context(contextlib.closing(database.connect()))
        assert "raise max_connections" in unread(database.params).hint


def test_a_server_that_is_down_or_frozen_is_critical(lab: Lab, whole_server: ConnectParams) -> None:
    lab.break_("postgres-stop")
    assert "refused" in unread(whole_server).cause
    lab.heal()
    lab.break_("postgres-freeze")
    assert unread(whole_server).cause == "no connection within 1.0 s"


def test_a_client_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as failed:
        read_metrics(str(tmp_path / "nowhere"), seconds=1)
    found = client_error(failed.value)
    assert (found.status, "No such file" in found.cause) == (UNKNOWN, True)
    assert "is client_dir the directory of its client" in found.advice


def test_a_client_that_hangs_is_critical(tmp_path: Path) -> None:
    with dribbling(tmp_path), pytest.raises(DeadlineExceeded) as failed:
        read_metrics(str(tmp_path), seconds=0.3)
    found = client_error(failed.value)
    assert (found.status, found.cause) == (CRITICAL, "no answer within 0.3 s")


def test_an_answer_that_is_none_is_unknown(tmp_path: Path) -> None:
    with client(tmp_path / "a", {}), pytest.raises(ApplicationError) as failed:
        read_metrics(str(tmp_path / "a"), seconds=5)
    assert client_error(failed.value).status == UNKNOWN
    with client(tmp_path / "b", {"GET /metrics": (200, b"\xff\xfe nothing")}):
        assert pool_of(read_metrics(str(tmp_path / "b"), seconds=5)) is None
