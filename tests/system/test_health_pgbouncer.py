# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health library behind Debian's PgBouncer in transaction mode: its console, and probes through it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg2
import pytest

from baileys_resilience.errors import Unavailable
from baileys_resilience.health.findings import OK, WARNING
from baileys_resilience.health.latency import ProbePlan, judge_latency, probe
from baileys_resilience.health.pgbouncer import BouncerPool, console_params, judge_bouncer, read_bouncer
from baileys_resilience.health.server_pool import read_server_pool
from baileys_resilience.health.thresholds import LatencyThresholds, PoolThresholds
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from tests.support.synthetic import make_companies
from tests.system.bouncer import transaction_pooler
from tests.system.containers import wait_until
from tests.system.postgres15 import DATABASE, Cluster


@pytest.fixture(scope="module")
def bouncer(server: Cluster) -> Iterator[ConnectParams]:
    with transaction_pooler(server) as params:
        yield params


def console(bouncer: ConnectParams) -> ConnectParams:
    return console_params(f"host={bouncer.host} port={bouncer.port} user={bouncer.user} sslmode=disable")


def pool(bouncer: ConnectParams) -> BouncerPool:
    return next(each for each in read_bouncer(console(bouncer), seconds=5) if each.database == DATABASE)


def connected(bouncer: ConnectParams) -> psycopg2.extensions.connection:
    return psycopg2.connect(host=bouncer.host, port=bouncer.port, dbname=bouncer.dbname, user=bouncer.user)


def test_a_pool_whose_clients_wait_is_a_warning(bouncer: ConnectParams) -> None:
    thresholds = PoolThresholds(waiting=0)
    connected(bouncer).close()
    assert {each.database for each in read_bouncer(console(bouncer), seconds=5)} == {DATABASE}, "not its own console"
    quiet = pool(bouncer)
    assert (quiet.pool_size, quiet.servers_active, quiet.clients_waiting, quiet.pool_mode) == (3, 0, 0, "transaction")
    assert judge_bouncer([quiet], thresholds).status == OK
    with contextlib.ExitStack() as held:
        for _each in range(3):
            connection = held.enter_context(contextlib.closing(connected(bouncer)))
            connection.cursor().execute("SELECT 1")  # its transaction holds a connection of the server
        late = held.enter_context(contextlib.closing(connected(bouncer)))
        waiting = threading.Thread(target=lambda: late.cursor().execute("SELECT 1"))
        waiting.start()
        try:
            wait_until(lambda: pool(bouncer).clients_waiting == 1, 10, "a client waits")
            full = pool(bouncer)
        finally:
            connection.rollback()
            waiting.join()
    assert (full.servers_active, full.used_percent) == (3, 100.0)
    found = judge_bouncer([full], thresholds)
    assert (found.status, "3 of 3 connections" in found.cause, "1 clients" in found.cause) == (WARNING, True, True)


def test_probes_go_through_it_and_leave_nothing(tables: Cluster, bouncer: ConnectParams) -> None:
    tables.fill(*make_companies(1))
    found = probe(bouncer, TableMapping(), ProbePlan(samples=5))
    judged = judge_latency(found, LatencyThresholds(60000, 60000), TableMapping(), bouncer.user)
    assert [each.status for each in judged] == [OK] * 3
    # No transaction was left open behind it.
    assert pool(bouncer).servers_active == 0


def test_a_console_that_is_not_there_is_critical(bouncer: ConnectParams) -> None:
    with pytest.raises(Unavailable):
        read_bouncer(console_params("host=127.0.0.1 port=1 user=stats"), seconds=2)


def test_a_server_older_than_reserved_connections_has_none(bouncer: ConnectParams) -> None:
    found = read_server_pool(bouncer, seconds=5)
    assert found.limits.reserved == 0
    assert found.used >= 1
