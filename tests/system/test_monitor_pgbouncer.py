# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor behind Debian's PgBouncer in transaction mode: its whole round, and what it leaves there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2
import pytest

from baileys_resilience.health.monitor.database import DatabaseSource
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from tests.support.synthetic import make_companies
from tests.system.bouncer import transaction_pooler
from tests.system.containers import wait_until
from tests.system.postgres15 import Cluster


@pytest.fixture(scope="module")
def bouncer(server: Cluster) -> Iterator[ConnectParams]:
    server.fill(*make_companies(1))
    with contextlib.closing(psycopg2.connect(**server.params.libpq())) as connection, connection:
        create_schema(connection.cursor())
    with transaction_pooler(server) as params:
        yield params


def standby(server: Cluster, what: str) -> None:
    with contextlib.closing(server.admin()) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM {what}")
            cursor.execute("SELECT pg_reload_conf()")


def source(bouncer: ConnectParams) -> DatabaseSource:
    return DatabaseSource(bouncer, TableMapping(), monitor="test")


def test_a_whole_round_works_and_leaves_no_setting_to_the_next_client(server: Cluster, bouncer: ConnectParams) -> None:
    looked = source(bouncer)
    for _each in range(5):
        look = looked.look()
        assert (look.figure.error, look.figure.canary) == ("", True)
        assert set(look.figure.seconds) == {"connect", "read", "write", "canary"}
    assert server.run("SELECT count(*) FROM baileys_resilience.canary")[0][0] <= 2
    with contextlib.closing(psycopg2.connect(**bouncer.libpq())) as other, other.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        assert cursor.fetchone() == ("0", "0")


def test_canaries_that_hang_behind_it_are_ended(server: Cluster, bouncer: ConnectParams) -> None:
    """Nobody knows the process of the server that had ours, but it shows what it was asked."""
    looked = source(bouncer)
    looked.look()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    standby(server, "SET synchronous_standby_names = 'nobody'")
    try:
        errors = []
        while sum("canary" in each or "no answer" in each for each in errors) < 3:
            errors.append(looked.look().figure.error)
        assert server.run(waiting)[0][0] <= 2
    finally:
        standby(server, "RESET synchronous_standby_names")
    wait_until(lambda: looked.look().figure.canary, 30, "writes stay again")
    assert server.run(waiting)[0][0] == 0
