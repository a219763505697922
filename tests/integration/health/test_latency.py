# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes of a real database: what they measure, that they leave nothing, and how each fault shows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg2

from baileys_resilience.health.findings import CRITICAL, OK, UNKNOWN, WARNING, Finding
from baileys_resilience.health.latency import CONNECT, READ, WRITE, Latency, ProbePlan, judge_latency, probe
from baileys_resilience.health.thresholds import LatencyThresholds
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from lab import Lab
from tests.integration.health.conftest import MAX_CONNECTIONS
from tests.support.databases import Database, new_database
from tests.support.synthetic import make_companies

TABLES = TableMapping()
FEW = ProbePlan(samples=3)


def findings(found: Latency, thresholds: LatencyThresholds | None = None) -> dict[str, Finding]:
    return {each.figure: each for each in judge_latency(found, thresholds or LatencyThresholds(), TABLES, "wa_app")}


def probed(params: ConnectParams, plan: ProbePlan = FEW, tables: TableMapping = TABLES) -> dict[str, Finding]:
    return findings(probe(params, tables, plan))


def test_a_healthy_database_is_ok_and_every_sample_is_counted(database: Database) -> None:
    database.fill(*make_companies(1))
    found = probe(database.params, TABLES, ProbePlan(samples=20))
    assert {name: len(each.seconds) for name, each in found.operations.items()} == dict.fromkeys(
        (CONNECT, READ, WRITE), 20
    )
    assert (found.in_recovery, found.read_only, found.cut_short) == (False, False, False)
    # Not judged by its times: the machine of a test may be slow.
    lenient = LatencyThresholds(query_ms=1e6, connect_ms=1e6)
    assert {each.status for each in findings(found, lenient).values()} == {OK}


@contextlib.contextmanager
def decoded(database: Database) -> Iterator[Any]:
    """Changes of rows that the WAL tells a logical replica, as a function that takes those since it was asked last."""
    name = f"slot_{database.name}"
    with contextlib.closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE PUBLICATION all_tables FOR ALL TABLES")
            cursor.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (name,))

            def changes() -> list[str]:
                cursor.execute(
                    "SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL,"
                    " 'proto_version', '1', 'publication_names', 'all_tables')",
                    (name,),
                )
                return [row[0] for row in cursor.fetchall()]

            try:
                yield changes
            finally:
                cursor.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def test_the_write_writes_and_leaves_neither_a_row_nor_a_change(database: Database) -> None:
    database.fill(*make_companies(2))
    before = database.everything(versions=True)
    with decoded(database) as changes:
        probe(database.params, TABLES, ProbePlan(samples=5))
        assert changes() == []
        assert database.everything(versions=True) == before
        # The same write without its end would be seen, so it is a write.
        database.run("UPDATE whatsapp_keys SET value = value WHERE key_type = 'pre-key' AND key_id = '1'")
        assert "U" in changes()
    wrote = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'whatsapp_keys'"
    database.run("SELECT pg_stat_force_next_flush()")
    assert database.run(wrote)[0][0] >= 5


def test_nobody_has_to_wait_for_a_key_that_the_application_works_on(database: Database) -> None:
    database.fill(*make_companies(1))
    with database.open() as application, application.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM (SELECT 1 FROM whatsapp_keys FOR UPDATE) AS locked")
        assert probed(database.params, ProbePlan(samples=2, deadline_seconds=1))[WRITE].status == OK


def test_empty_tables_are_no_fault(database: Database) -> None:
    assert {name: each.status for name, each in probed(database.params).items() if each.status == CRITICAL} == {}


def test_tables_that_are_missing_are_critical_with_what_to_set(lab: Lab) -> None:
    with new_database(lab, schema="") as empty:
        found = probed(empty.params)
    assert (found[CONNECT].status, found[READ].status) == (OK, CRITICAL)
    assert 'relation "whatsapp_auth" does not exist' in found[READ].cause
    assert "session_tables" in found[READ].advice
    assert WRITE not in found


def test_a_slow_network_is_measured_and_is_a_warning(database: Database, through_proxy: ConnectParams) -> None:
    """200 ms in each direction make 400 ms a question: below the default of 500, above 300."""
    database.lab.break_("network-delay")
    found = probe(through_proxy, TABLES, FEW)
    read = found.operations[READ].summary
    assert read.p50_ms is not None
    assert read.p50_ms >= 400
    judged = findings(found, LatencyThresholds(query_ms=300, connect_ms=600))
    assert {name: each.status for name, each in judged.items()} == dict.fromkeys((CONNECT, READ, WRITE), WARNING)
    assert "more than 300 ms" in judged[READ].cause


def test_a_network_that_resets_is_critical_at_once(database: Database, through_proxy: ConnectParams) -> None:
    database.lab.break_("network-reset")
    found = probe(through_proxy, TABLES, ProbePlan(samples=20))
    assert len(found.operations[CONNECT].errors) == 2, "two failures in a row end it"
    assert findings(found)[CONNECT].status == CRITICAL


def test_a_server_that_is_down_is_critical(lab: Lab, whole_server: ConnectParams) -> None:
    lab.break_("postgres-stop")
    down = probed(whole_server)[CONNECT]
    assert (down.status, "refused" in down.cause) == (CRITICAL, True)
    assert "check that PostgreSQL runs" in down.advice


def hangs(params: ConnectParams) -> None:
    plan = ProbePlan(samples=20, deadline_seconds=1, total_seconds=20)
    found = probe(params, TABLES, plan)
    assert found.duration_seconds < plan.total_seconds
    hung = findings(found)[CONNECT]
    assert (hung.status, hung.cause) == (CRITICAL, "2 of 2 failed: no connection within 1.0 s")
    assert "emergency_failover --check" in hung.advice


def test_a_frozen_server_is_critical_within_the_deadline(lab: Lab, whole_server: ConnectParams) -> None:
    lab.break_("postgres-freeze")
    hangs(whole_server)


def test_a_network_that_swallows_everything_is_critical_within_the_deadline(
    lab: Lab, through_proxy: ConnectParams
) -> None:
    lab.break_("network-drop")
    hangs(through_proxy)


def test_a_question_that_hangs_ends_by_our_own_clock(database: Database) -> None:
    database.run(
        "ALTER TABLE whatsapp_auth RENAME TO auth;"
        " CREATE VIEW whatsapp_auth AS SELECT auth.* FROM (SELECT pg_sleep(100)) AS long LEFT JOIN auth ON true"
    )
    plan = ProbePlan(samples=20, deadline_seconds=1, total_seconds=20)
    found = probe(database.params, TABLES, plan)
    assert found.duration_seconds < plan.total_seconds
    assert findings(found)[READ].cause == "2 of 2 failed: no answer within 1.0 s"


def test_a_question_that_the_time_of_all_did_not_suffice_for_is_unknown_not_well(database: Database) -> None:
    database.run("DROP TABLE whatsapp_auth; CREATE VIEW whatsapp_auth AS SELECT pg_sleep(100)::text AS a")
    found = probe(database.params, TABLES, ProbePlan(samples=2, deadline_seconds=1, total_seconds=1))
    assert found.cut_short
    judged = findings(found)
    assert (judged[CONNECT].status, judged[READ].status, judged[WRITE].status) == (OK, UNKNOWN, UNKNOWN)
    assert "raise total_deadline" in judged[READ].advice


def test_the_time_of_all_samples_ends_the_probing_and_is_no_fault(
    database: Database, through_proxy: ConnectParams
) -> None:
    database.lab.break_("network-delay")
    plan = ProbePlan(samples=1000, deadline_seconds=3, total_seconds=5)
    found = probe(through_proxy, TABLES, plan)
    assert found.cut_short
    assert 1 <= len(found.operations[READ].seconds) < 1000
    assert CRITICAL not in {each.status for each in findings(found).values()}


def test_used_up_connections_are_critical(database: Database) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(psycopg2.OperationalError):
            for _each in range(MAX_CONNECTIONS):
                held.enter_context(contextlib.closing(database.connect()))
        found = probed(database.params)[CONNECT]
    assert found.status == CRITICAL
    assert "2 of 2 failed" in found.cause
    assert "raise max_connections" in found.advice


def test_a_server_that_takes_no_writes_is_critical_unless_only_reads_were_asked_for(database: Database) -> None:
    database.run(
        f"ALTER ROLE {database.params.user} IN DATABASE {database.name} SET default_transaction_read_only = on"
    )
    found = probe(database.params, TABLES, FEW)
    assert found.read_only is True
    judged = findings(found)
    assert (judged[READ].status, judged[WRITE].status) == (OK, CRITICAL)
    assert "connect to the primary" in judged[WRITE].advice
    reads = probed(database.params, replace(FEW, write=False))
    assert (reads[READ].status, WRITE in reads) == (OK, False)


def test_a_table_that_somebody_holds_is_critical_with_how_to_find_who(database: Database) -> None:
    with database.open() as somebody, somebody.cursor() as cursor:
        cursor.execute("LOCK TABLE whatsapp_keys IN SHARE MODE")
        found = probed(database.params, ProbePlan(samples=2, deadline_seconds=1))
    assert (found[READ].status, found[WRITE].status) == (OK, CRITICAL)
    assert "lock timeout" in found[WRITE].cause
    assert "pg_locks" in found[WRITE].advice


def test_lost_privileges_are_critical_and_name_a_grant_that_helps(database: Database) -> None:
    user = database.params.user
    database.run(f'REVOKE UPDATE ON whatsapp_keys FROM "{user}"')
    found = probed(database.params)
    assert (found[READ].status, found[WRITE].status) == (OK, CRITICAL)
    database.run(f'REVOKE SELECT ON whatsapp_keys FROM "{user}"')
    for figure in (READ, WRITE):
        advice = probed(database.params)[figure].advice
        database.run(advice.partition(";")[0])
    assert WRITE in probed(database.params)
    assert CRITICAL not in {each.status for each in probed(database.params).values()}


def test_an_option_that_libpq_does_not_know_says_where_it_is_set(database: Database) -> None:
    found = probed(replace(database.params, extra={"no_such_option": "1"}))[CONNECT]
    assert (found.status, "no_such_option" in found.cause) == (CRITICAL, True)
    assert "check connect_params" in found.advice
