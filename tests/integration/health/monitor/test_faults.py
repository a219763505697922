# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of a real PostgreSQL that somebody must hear of: told once, by its name, and its end once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from baileys_resilience.health.monitor.database import DatabaseSource
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from lab import Lab, postgres
from tests.integration.health.conftest import MAX_CONNECTIONS
from tests.support.databases import Database
from tests.support.monitored import QUICK_ALERTS, Monitored, monitored, quick_settings
from tests.support.synthetic import make_companies

Watching = Callable[[ConnectParams], AbstractContextManager[Monitored]]


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    """A monitor that has found everything well."""

    @contextlib.contextmanager
    def watch(params: ConnectParams) -> Iterator[Monitored]:
        with contextlib.closing(psycopg2.connect(**params.libpq())) as connection, connection:
            create_schema(connection.cursor())
        with monitored(quick_settings(params, tmp_path / "state")) as running:
            running.wait_until_well()
            assert running.published.figures["database"][1].canary
            yield running

    return watch


@pytest.fixture
def filled(database: Database) -> Database:
    database.fill(*make_companies(1))
    return database


@pytest.fixture
def admin(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Run a statement as the superuser, which is let in when others are not."""
    with contextlib.closing(lab.connect(superuser=True, direct=True, database="postgres")) as connection:
        connection.autocommit = True

        def run(statement: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(statement)

        yield run


def evidence(running: Monitored) -> str:
    return running.kept.told[0].text


@pytest.mark.parametrize(
    ("fault", "cause", "seen"),
    [
        ("postgres-kill", "down", "connect: "),
        ("postgres-stop", "down", "connect: "),
        ("postgres-freeze", "frozen", "no connection within 1.0 s"),
    ],
)
def test_a_server_that_is_gone_or_frozen(
    lab: Lab, whole_server: ConnectParams, watching: Watching, fault: str, cause: str, seen: str
) -> None:
    with watching(whole_server) as running:
        lab.break_(fault)
        running.wait_until_told(f"alert {cause}")
        assert seen in evidence(running)
        lab.heal()
        running.wait_until_told(f"alert {cause}", f"recovery {cause}")
        running.wait_until_well()
        assert len(running.kept.told) == 2


@pytest.mark.parametrize(("fault", "cause"), [("network-drop", "frozen"), ("network-reset", "down")])
def test_a_network_that_swallows_or_resets(
    lab: Lab, whole_server: ConnectParams, watching: Watching, fault: str, cause: str
) -> None:
    through = replace(whole_server, port=lab.need_postgres().proxy_port)
    with watching(through) as running:
        lab.break_(fault)
        running.wait_until_told(f"alert {cause}")
        lab.heal()
        running.wait_until_told(f"alert {cause}", f"recovery {cause}")


def test_a_postmaster_that_is_stopped_while_its_children_serve(
    lab: Lab, whole_server: ConnectParams, watching: Watching
) -> None:
    """Pooled connections go on: only a new one notices."""
    postmaster = postgres.postmaster_pid(lab.need_postgres())
    assert postmaster is not None
    with watching(whole_server) as running, contextlib.closing(lab.connect(direct=True)) as pooled:
        os.kill(postmaster, signal.SIGSTOP)
        try:
            running.wait_until_told("alert frozen")
            with pooled.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)
        finally:
            os.kill(postmaster, signal.SIGCONT)
        running.wait_until_told("alert frozen", "recovery frozen")


def test_a_server_that_is_read_only_by_default(filled: Database, watching: Watching) -> None:
    role = f'ROLE "{filled.params.user}" IN DATABASE {filled.name}'
    with watching(filled.params) as running:
        filled.run(f"ALTER {role} SET default_transaction_read_only = on")
        running.wait_until_told("alert read_only")
        assert "write: its transactions are read-only by default" in evidence(running)
        filled.run(f"SET transaction_read_only = off; ALTER {role} RESET default_transaction_read_only")
        running.wait_until_told("alert read_only", "recovery read_only")


@pytest.mark.parametrize("right", ["SELECT", "UPDATE", "INSERT", "DELETE"])
@pytest.mark.parametrize("table", ["whatsapp_keys", "whatsapp_auth"])
def test_a_right_that_is_lost_and_the_grant_that_gives_it_back(
    filled: Database, watching: Watching, table: str, right: str
) -> None:
    with watching(filled.params) as running:
        filled.run(f'REVOKE {right} ON {table} FROM "{filled.params.user}"')
        running.wait_until_told("alert privileges_lost")
        command = evidence(running).partition("Run: ")[2].splitlines()[0]
        assert command.startswith("GRANT ")
        filled.run(command)
        running.wait_until_told("alert privileges_lost", "recovery privileges_lost")


def test_a_role_that_may_not_log_in(filled: Database, watching: Watching, admin: Callable[[str], None]) -> None:
    with watching(filled.params) as running:
        admin(f'ALTER ROLE "{filled.params.user}" NOLOGIN')
        try:
            running.wait_until_told("alert login_refused")
            assert "not permitted to log in" in evidence(running)
        finally:
            admin(f'ALTER ROLE "{filled.params.user}" LOGIN')
        running.wait_until_told("alert login_refused", "recovery login_refused")


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_a_table_that_somebody_holds(filled: Database, watching: Watching, mode: str) -> None:
    """The first lock stops reads, the second only writes."""
    with watching(filled.params) as running:
        with filled.open() as somebody, somebody.cursor() as cursor:
            cursor.execute(f"LOCK TABLE whatsapp_keys IN {mode} MODE")
            running.wait_until_told("alert locked")
            assert "lock timeout" in evidence(running)
        running.wait_until_told("alert locked", "recovery locked")


def test_a_synchronous_standby_that_is_missing(
    filled: Database, watching: Watching, admin: Callable[[str], None]
) -> None:
    """Only a COMMIT notices. The ones that hang are ended: they would use up the connections, one each few seconds."""
    ours = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    with watching(filled.params) as running:
        admin("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin("SELECT pg_reload_conf()")
        try:
            running.wait_until_told("alert frozen")
            assert "canary: no answer within 1.0 s" in evidence(running)
            running.wait_for_looks(10)
            assert filled.run(ours)[0][0] <= 2
        finally:
            admin("ALTER SYSTEM RESET synchronous_standby_names")
            admin("SELECT pg_reload_conf()")
        running.wait_until_told("alert frozen", "recovery frozen")
        running.wait_for_looks(3)
        assert filled.run(ours)[0][0] == 0
        assert filled.run("SELECT count(*) FROM baileys_resilience.canary")[0][0] <= 2


def test_connections_that_are_all_used(filled: Database, watching: Watching) -> None:
    with watching(filled.params) as running:
        with contextlib.ExitStack() as held:
            while "slots_used_up" not in str(running.kept.kinds):
                with contextlib.suppress(psycopg2.OperationalError):
                    for _each in range(MAX_CONNECTIONS):
                        held.enter_context(contextlib.closing(filled.connect()))
                running.wait_for_looks(1)
            assert running.kept.kinds == ["alert slots_used_up"]
        running.wait_until_told("alert slots_used_up", "recovery slots_used_up")
        running.wait_until_well()
        assert len(running.kept.told) == 2


@pytest.mark.parametrize("what", ["TABLE whatsapp_keys", "TABLE whatsapp_auth"])
def test_a_table_that_is_gone(filled: Database, watching: Watching, what: str) -> None:
    with watching(filled.params) as running:
        filled.run(f"ALTER {what} RENAME TO elsewhere")
        running.wait_until_told("alert tables_missing")
        filled.run(f"ALTER TABLE elsewhere RENAME TO {what.split()[1]}")
        running.wait_until_told("alert tables_missing", "recovery tables_missing")


def test_a_database_that_is_not_there_at_first_is_told_and_watched_when_it_comes(
    lab: Lab, whole_server: ConnectParams, tmp_path: Path
) -> None:
    lab.break_("postgres-stop")
    with monitored(quick_settings(whole_server, tmp_path / "state")) as running:
        running.wait_until_told("alert down")
        lab.heal()
        running.wait_until_told("alert down", "recovery down")


def test_a_replica_that_does_not_follow_any_more(
    filled: Database, tmp_path: Path, admin: Callable[[str], None]
) -> None:
    """By the WAL that its slot keeps. One that nobody named is watched from its first sight on."""
    name = f"standby_{filled.name}"
    admin(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    catch_up = f"SELECT pg_replication_slot_advance('{name}', pg_current_wal_lsn())"
    admin(catch_up)
    alerts = replace(QUICK_ALERTS, lag_bytes=1_000_000)
    try:
        with monitored(quick_settings(filled.params, tmp_path / "state", alerts=alerts)) as running:
            running.wait_until_well()
            assert f"replica {name}: lag" in running.states()
            filled.run("CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
            running.wait_until_told("alert replica_lag")
            assert f"replica {name}" in running.kept.told[0].title
            admin(catch_up)
            running.wait_until_told("alert replica_lag", "recovery replica_lag")
    finally:
        admin(f"SELECT pg_drop_replication_slot('{name}')")


def test_a_replica_that_must_be_there_and_is_not_is_missing_data(filled: Database, tmp_path: Path) -> None:
    alerts = replace(QUICK_ALERTS, unknown_after_seconds=15.0)
    settings = quick_settings(filled.params, tmp_path / "state", alerts=alerts, replicas=("nobody",))
    with monitored(settings) as running:
        running.wait_until_told("unknown no_data")
        assert "it is not among the replicas" in evidence(running)


def test_canaries_that_a_killed_monitor_left_are_ended_by_the_next(
    filled: Database, watching: Watching, admin: Callable[[str], None]
) -> None:
    """Its process and its memory of them are gone; they wait for a standby all the same."""
    left = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND datname = current_database()"
    with watching(filled.params):
        pass
    admin("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    admin("SELECT pg_reload_conf()")
    try:
        source = DatabaseSource(filled.params, TableMapping(), monitor="test", deadline_seconds=1.0)
        while filled.run(left)[0][0] == 0:
            assert source.look().figure.error
        other = DatabaseSource(filled.params, TableMapping(), monitor="test", deadline_seconds=1.0)
        other.write = "SELECT 1"  # the look itself leaves one, too: let it be the only one
        for _each in range(3):
            assert other.look().figure.error
        assert filled.run(left)[0][0] <= 2
    finally:
        admin("ALTER SYSTEM RESET synchronous_standby_names")
        admin("SELECT pg_reload_conf()")


def test_a_look_asks_six_times_at_most(filled: Database, admin: Callable[[str], None]) -> None:
    """Counted by the server: messages that it was sent, whatever is in them."""
    filled.run("SELECT 1")
    with contextlib.closing(psycopg2.connect(**filled.params.libpq())) as connection, connection:
        create_schema(connection.cursor())
    log = Path(filled.lab.need_postgres().data_dir).parent / "postgres.log"
    admin(f"ALTER DATABASE {filled.name} SET log_statement = 'all'")
    begun = log.stat().st_size
    look = DatabaseSource(filled.params, TableMapping(), monitor="test").look()
    assert look.figure.canary
    said = log.read_bytes()[begun:].decode()
    assert 1 <= said.count("LOG:  statement:") <= 6, said
