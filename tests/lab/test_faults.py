# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault breaks what it says, shows in the status, and is undone by heal."""

from __future__ import annotations

import time

import psycopg2
import pytest

from lab import Lab, LabError, LabStateError, postgres, processes
from lab.faults import FAULTS
from tests.lab.helpers import rows

KILLED = ("postgres-kill", "postgres-stop")


def count(lab: Lab, **options: bool) -> int:
    connection = lab.connect(**options)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM whatsapp_keys")
            return int(cursor.fetchall()[0][0])
    finally:
        connection.close()


@pytest.mark.parametrize("fault", KILLED)
def test_a_killed_or_stopped_server_refuses_at_once_and_comes_back_with_its_rows(healed: Lab, fault: str) -> None:
    before = rows(healed)
    old = postgres.postmaster_pid(healed.need_postgres())
    members = processes.tree(old or 0)
    healed.break_(fault)
    assert not any(processes.is_alive(pid) for pid in members)
    began = time.monotonic()
    for direct in (True, False):
        with pytest.raises(psycopg2.OperationalError):
            healed.connect(direct=direct)
    assert time.monotonic() - began < 1
    assert [entry["action"] for entry in healed.heal()] == ["started"]
    assert rows(healed) == before


def test_a_frozen_server_accepts_tcp_but_never_answers_until_it_is_thawed(healed: Lab) -> None:
    pooled = healed.connect()
    healed.break_("postgres-freeze")
    pid = postgres.postmaster_pid(healed.need_postgres())
    assert pid is not None
    assert all(postgres.is_frozen(member) for member in processes.tree(pid))
    with pytest.raises(psycopg2.OperationalError, match="timeout"):
        healed.connect(timeout_seconds=2)
    healed.heal()
    assert not any(postgres.is_frozen(member) for member in processes.tree(pid))
    with pooled.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
    pooled.close()


def test_a_dropping_network_hangs_new_connections_and_running_queries(healed: Lab) -> None:
    pooled = healed.connect(tcp_user_timeout=1500, options="-c statement_timeout=1000")
    healed.break_("network-drop")
    began = time.monotonic()
    with pytest.raises(psycopg2.OperationalError, match="timeout"):
        healed.connect(timeout_seconds=2)
    assert 1.9 < time.monotonic() - began < 4
    assert count(healed, direct=True) > 0, "the server itself is well"
    healed.heal()
    assert count(healed) > 0
    with pooled.cursor() as cursor:
        cursor.execute("SELECT 1")
    pooled.close()


def test_a_resetting_network_resets_open_and_new_connections(healed: Lab) -> None:
    pooled = healed.connect()
    healed.break_("network-reset")
    with pytest.raises(psycopg2.OperationalError), pooled.cursor() as cursor:
        cursor.execute("SELECT 1")
    with pytest.raises(psycopg2.OperationalError):
        healed.connect()
    healed.heal()
    assert count(healed) > 0


def test_a_slow_network_takes_the_delay_both_ways(healed: Lab) -> None:
    connection = healed.connect()
    healed.break_("network-delay", delay_ms=150)
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    assert 0.6 <= time.monotonic() - began < 3, "BEGIN and SELECT: two round trips of 300 ms"


@pytest.mark.parametrize("fault", ["creds-corrupt", "keys-corrupt", "rows-delete"])
def test_a_data_fault_touches_one_company_and_heal_puts_every_row_back(healed: Lab, fault: str) -> None:
    before = rows(healed)
    victim = healed.companies[1].id
    healed.break_(fault, company=victim)
    after = rows(healed)
    assert {row[1] for row in set(before) - set(after)} == {victim}
    assert [entry["left_alone"] for entry in healed.heal() if entry["healed"] == fault] == [0]
    assert rows(healed) == before


@pytest.mark.parametrize(("variant", "stored"), [("null", None), ("empty", "{}")])
def test_creds_can_be_null_or_empty(healed: Lab, variant: str, stored: str | None) -> None:
    healed.break_("creds-corrupt", variant=variant)
    assert next(row[4] for row in rows(healed) if row[0] == "auth") == stored


def test_half_of_the_keys_of_each_type_are_deleted(healed: Lab) -> None:
    victim = healed.companies[0].id
    before = [row for row in rows(healed) if row[0] == "key" and row[1] == victim]
    healed.break_("rows-delete", company=victim)
    after = [row for row in rows(healed) if row[0] == "key" and row[1] == victim]
    assert len(after) == len(before) // 2
    assert {row[2] for row in after} == {row[2] for row in before}


def test_a_row_written_after_the_fault_is_left_alone(healed: Lab) -> None:
    victim = healed.companies[0].id
    before = rows(healed)
    healed.break_("keys-corrupt", company=victim)
    changed = next(row for row in sorted(set(rows(healed)) - set(before)) if row[2] == "session")
    connection = healed.connect(direct=True)
    key = "WHERE company_id = %s AND key_type = %s AND key_id = %s"
    with connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE whatsapp_keys SET value = '{{\"newer\": true}}' {key}", changed[1:4])
    done = next(entry for entry in healed.heal() if entry["healed"] == "keys-corrupt")
    assert done["left_alone"] == 1
    assert done["put_back"] >= 7
    assert '{"newer": true}' in [row[4] for row in rows(healed)]
    original = next(row for row in before if row[:4] == changed[:4])
    with connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE whatsapp_keys SET value = %s {key}", [original[4], *changed[1:4]])
    connection.close()


def test_faults_of_different_kinds_add_up_and_heal_undoes_them_all(healed: Lab) -> None:
    before = rows(healed)
    for fault in ("creds-corrupt", "rows-delete", "network-reset", "postgres-kill"):
        healed.break_(fault)
    assert len(healed.status()["faults"]) == 4
    healed.heal()
    status = healed.status()
    assert status["ok"], status
    assert rows(healed) == before
    assert healed.heal() == [], "nothing is left to heal"


def test_a_second_fault_of_the_same_kind_is_refused(healed: Lab) -> None:
    healed.break_("network-drop")
    with pytest.raises(LabStateError, match="network-drop is active") as caught:
        healed.break_("network-reset")
    assert "lab heal" in caught.value.hint


def test_wrong_names_are_refused_with_the_right_ones(healed: Lab) -> None:
    with pytest.raises(LabError) as unknown_fault:
        healed.break_("postgres-explode")
    assert all(name in unknown_fault.value.hint for name in FAULTS)
    with pytest.raises(LabError) as unknown_company:
        healed.break_("rows-delete", company="1")
    assert healed.companies[0].id in unknown_company.value.hint


def test_a_data_fault_without_a_database_says_so_and_is_not_recorded(healed: Lab) -> None:
    healed.break_("postgres-stop")
    with pytest.raises(LabStateError, match="PostgreSQL does not answer"):
        healed.break_("creds-corrupt")
    assert [fault["name"] for fault in healed.status()["faults"]] == ["postgres-stop"]


def test_a_dead_proxy_is_reported_and_healed_on_the_same_ports(healed: Lab) -> None:
    proxy = healed.need_proxy()
    processes.kill_all([proxy.pid])
    assert "proxy" in str(healed.status()["parts"]["proxy"]["error"])
    healed.heal()
    assert healed.need_proxy().control == proxy.control
    assert count(healed) > 0
