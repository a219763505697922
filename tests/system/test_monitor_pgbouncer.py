# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor behind Debian's PgBouncer in transaction mode: its whole round, what it leaves there, and its pools."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from baileys_resilience.clock import utc_now
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import Moment
from baileys_resilience.health.alerts.readings import Bouncer
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.monitor.bouncer import BouncerSource
from baileys_resilience.health.monitor.database import DatabaseSource
from baileys_resilience.health.pgbouncer import console_params
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from tests.support.synthetic import make_companies
from tests.system.bouncer import SETTINGS, transaction_pooler
from tests.system.containers import wait_until
from tests.system.postgres15 import USER, Cluster, free_port


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


RESTRICTED = SETTINGS.replace("auth_type = any", "auth_type = trust\nauth_file = {{users}}\nstats_users = stats")


@pytest.fixture(scope="module")
def restricted(server: Cluster) -> Iterator[ConnectParams]:
    """Its console is for the user `stats` alone."""
    with tempfile.TemporaryDirectory(prefix="baileys-pgbouncer-users-") as folder:
        users = Path(folder) / "users.txt"
        users.write_text(f'"{USER}" ""\n"stats" ""\n')
        users.parent.chmod(0o755)
        with transaction_pooler(server, RESTRICTED.replace("{{users}}", str(users))) as params:
            yield params


def console(bouncer: ConnectParams, user: str = "stats") -> BouncerSource:
    dsn = f"host={bouncer.host} port={bouncer.port} user={user} sslmode=disable"
    return BouncerSource(console_params(dsn), deadline_seconds=2.0)


def connected(bouncer: ConnectParams) -> psycopg2.extensions.connection:
    return psycopg2.connect(host=bouncer.host, port=bouncer.port, dbname=bouncer.dbname, user=bouncer.user)


def test_clients_that_wait_are_told_and_their_end(restricted: ConnectParams) -> None:
    """A pool of three: all lent out, and six clients wait."""
    source, alerts = console(restricted), Alerts(AlertSettings())
    told: list[str] = []
    seconds = itertools.count(1000.0, 5.0)

    def look(times: int) -> None:
        for _each in range(times):
            step = alerts.step(source.look().readings, Moment(next(seconds), utc_now()))
            told.extend(f"{each.kind} {each.cause}: {each.evidence}" for each in step.notices)

    look(3)
    pool = f"{restricted.user}@{restricted.dbname}"
    with contextlib.ExitStack() as late, contextlib.ExitStack() as held:
        for _each in range(3):
            held.enter_context(contextlib.closing(connected(restricted))).cursor().execute("SELECT 1")
        for _each in range(6):
            connection = late.enter_context(contextlib.closing(connected(restricted)))
            connection.autocommit = True
            waiting = threading.Thread(target=connection.cursor().execute, args=("SELECT 1",))
            waiting.start()
            late.callback(waiting.join)  # the three are closed before
        wait_until(lambda: source.look().figure.pools[0].clients_waiting == 6, 30, "six clients wait")
        look(5)
    assert told == [f"alert bouncer_waiting: {pool}: 3 of 3 are lent out, 6 clients wait"]
    wait_until(lambda: source.look().figure.pools[0].servers_active == 0, 30, "nobody uses it any more")
    look(3)
    assert told[1:] == ["recovery bouncer_waiting: "]


def test_a_user_without_the_right_is_said_and_judges_nothing(restricted: ConnectParams) -> None:
    look = console(restricted, restricted.user).look()
    assert look.readings == ()
    assert "stats_users of pgbouncer.ini" in look.degraded[0]


def test_one_that_does_not_answer_is_missing_data_and_said() -> None:
    source = console(ConnectParams("127.0.0.1", free_port()))
    look = source.look()
    assert [each.problem for each in look.readings if isinstance(each, Bouncer)]
    assert "the pools of PgBouncer cannot be read" in look.degraded[0]
