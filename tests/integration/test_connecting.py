# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real PostgreSQL that cannot or will not answer becomes: the right error, the right hint, in time."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import replace

import pytest

from baileys_resilience.clock import from_iso
from baileys_resilience.errors import (
    DeadlineExceeded,
    Misconfigured,
    ReadOnly,
    Refused,
    ResilienceError,
    Unavailable,
)
from baileys_resilience.postgres import ConnectParams, answers_within, connect, server_now, session
from lab import postgres as lab_postgres
from lab import processes
from tests.support.databases import Database


def error_of(params: ConnectParams) -> ResilienceError:
    with pytest.raises(ResilienceError) as caught:
        connect(params)
    return caught.value


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_password_with_awkward_characters_works(database: Database) -> None:
    assert "'" in database.params.password
    connect(database.params).close()


def test_a_wrong_password_is_refused_and_not_shown(database: Database) -> None:
    error = error_of(replace(database.params, password="wrong-secret"))
    assert type(error) is Refused
    assert error.hint.startswith("check login_user and login_password; a new, empty server")
    assert "wrong-secret" not in str(error)
    assert not error.retryable


def test_an_unknown_user_is_refused(database: Database) -> None:
    assert type(error_of(replace(database.params, user="nobody_here"))) is Refused


def test_an_unknown_database_is_a_wrong_setting(database: Database) -> None:
    error = error_of(replace(database.params, dbname="nothing_here"))
    assert type(error) is Misconfigured
    assert error.hint == "check login_db"


def test_tls_that_the_server_cannot_do_is_a_wrong_setting(database: Database) -> None:
    error = error_of(replace(database.params, ssl_mode="require"))
    assert type(error) is Misconfigured
    assert "ssl_mode" in error.hint


def test_a_port_where_nobody_listens_is_unavailable_and_worth_a_retry(database: Database) -> None:
    error = error_of(replace(database.params, port=free_port()))
    assert type(error) is Unavailable
    assert error.retryable
    assert "check that PostgreSQL runs" in error.hint


def test_an_unknown_host_is_said_to_be_the_resolvers_matter(database: Database) -> None:
    error = error_of(replace(database.params, host="no-such-host.invalid"))
    assert type(error) is Unavailable
    assert "login_host and the resolver" in error.hint


def test_a_write_to_a_read_only_session_is_read_only(database: Database) -> None:
    read_only = replace(database.params, extra={"options": "-c default_transaction_read_only=on"})
    with pytest.raises(ReadOnly) as caught, session(read_only, operation="write") as (connection, _deadline):
        connection.cursor().execute("CREATE TABLE x ()")
    assert "connect to the primary" in caught.value.hint


def test_a_missing_right_is_refused(database: Database) -> None:
    with pytest.raises(Refused) as caught, session(database.params, operation="look") as (connection, _deadline):
        connection.cursor().execute("SELECT * FROM pg_authid")
    assert "grant" in caught.value.hint


def test_a_session_that_the_server_ends_is_unavailable(database: Database) -> None:
    def be_ended() -> None:
        with session(database.params, operation="look") as (connection, _deadline), connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            database.run("SELECT pg_terminate_backend(%s)", cursor.fetchone()[0])
            cursor.execute("SELECT 1")

    with pytest.raises(Unavailable):
        be_ended()


def test_a_server_frozen_in_the_middle_of_a_statement_is_left_in_time(database: Database) -> None:
    postmaster = lab_postgres.postmaster_pid(database.lab.need_postgres())
    assert postmaster
    members: list[int] = []

    def ask_while_it_freezes() -> None:
        patience = session(database.params, operation="export", deadline_seconds=0.5)
        with patience as (connection, _deadline), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            members.extend(processes.signal_tree(postmaster, signal.SIGSTOP))
            cursor.execute("SELECT 1")

    started = time.monotonic()
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            ask_while_it_freezes()
        assert time.monotonic() - started < 5
        assert "use another source" in caught.value.hint
        error = error_of(replace(database.params, connect_timeout_seconds=2))
        assert type(error) is DeadlineExceeded
        started = time.monotonic()
        assert not answers_within(database.params, 0.5)
        assert time.monotonic() - started < 1.5
    finally:
        for pid in members:
            os.kill(pid, signal.SIGCONT)
    assert answers_within(database.params, 10)
    connect(database.params).close()


def test_a_server_that_is_only_waited_for_less_often_is_not_called_frozen(database: Database) -> None:
    patience = session(database.params, operation="export", deadline_seconds=0.3)
    with patience as (connection, deadline), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert not deadline._done.wait(1.0)
        cursor.execute("SELECT 1")


def test_times_come_in_utc_whatever_the_caller_asked_for(database: Database) -> None:
    params = replace(database.params, extra={"options": "-c TimeZone=Asia/Tokyo -c DateStyle=German"})
    with session(params, operation="look") as (connection, _deadline), connection.cursor() as cursor:
        cursor.execute("SELECT '2026-01-05T06:07:08Z'::timestamptz::text")
        assert cursor.fetchone()[0] == "2026-01-05 06:07:08+00"
        assert abs(from_iso(server_now(cursor)).timestamp() - time.time()) < 60


def test_what_was_not_committed_is_rolled_back_at_the_end(database: Database) -> None:
    with session(database.params, operation="write") as (connection, _deadline):
        connection.cursor().execute("CREATE TABLE left_behind ()")
    assert database.run("SELECT to_regclass('left_behind')") == [(None,)]
