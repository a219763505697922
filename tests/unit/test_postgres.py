# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connecting: what each sentence of libpq means, secrets kept, silence bounded, no driver error let out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import psycopg2
import pytest

from baileys_resilience import postgres
from baileys_resilience.errors import (
    Conflict,
    DatabaseError,
    DeadlineExceeded,
    Misconfigured,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    Unavailable,
    UsageError,
)
from baileys_resilience.postgres import (
    ConnectParams,
    Deadline,
    answers_within,
    connect,
    connect_within,
    translate,
    translated,
)

PASSWORD = "}X|o<7n?0 '\"$"


@pytest.mark.parametrize(
    ("message", "kind", "hint"),
    [
        ('FATAL:  password authentication failed for user "wa"', Refused, "login_password"),
        ("fe_sendauth: no password supplied", Refused, "login_password"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', Refused, "pg_hba.conf"),
        ('FATAL:  role "wa" does not exist', Refused, "login_user"),
        ('FATAL:  database "wa" does not exist', Misconfigured, "login_db"),
        ('root certificate file "/x" does not exist', Misconfigured, "ca_cert"),
        ("SSL error: certificate verify failed", Refused, "ca_cert"),
        ('server certificate for "a" does not match host name "b"', Refused, "ca_cert"),
        ("server does not support SSL, but SSL was required", Misconfigured, "ssl_mode"),
        ('could not translate host name "db" to address: Name or service not known', Unavailable, "login_host"),
        ('invalid connection option "conect_timeout"', Misconfigured, "connect_params"),
        ("FATAL:  sorry, too many clients already", Unavailable, "max_connections"),
        ("connection to server failed: timeout expired", DeadlineExceeded, "does not answer"),
        ("FATAL:  the database system is starting up", Unavailable, "wait for it"),
        ("FATAL:  the database system is not yet accepting connections", Unavailable, "wait for it"),
        ("connection refused", Unavailable, "check that PostgreSQL runs"),
        ("something that no version of libpq has said yet", Unavailable, "check that PostgreSQL runs"),
    ],
)
def test_each_sentence_of_a_failed_connect_has_its_meaning_and_hint(
    message: str, kind: type[ResilienceError], hint: str
) -> None:
    error = postgres._connect_error(psycopg2.OperationalError(message), ConnectParams(host="db"), "connect")
    assert type(error) is kind
    assert hint in error.hint
    assert error.subject == "db:5432/postgres"


def test_the_password_is_in_no_message_and_no_repr() -> None:
    params = ConnectParams(password=PASSWORD, extra={"sslpassword": "geheim"})
    error = postgres._connect_error(psycopg2.OperationalError(f"bad: {PASSWORD}!"), params, "connect")
    assert PASSWORD not in str(error)
    assert PASSWORD not in repr(params)
    assert "geheim" not in repr(params)


def test_the_startup_packet_holds_no_options_but_the_callers() -> None:
    """PgBouncer refuses them before 1.20."""
    assert "options" not in ConnectParams().libpq()
    assert ConnectParams(extra={"options": "-c search_path=wa"}).libpq()["options"] == "-c search_path=wa"


def test_a_host_that_never_answers_is_left_after_a_fraction_of_libpqs_shortest_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            connect_within(ConnectParams("127.0.0.1", silent.getsockname()[1]), 0.3)
        assert time.monotonic() - started < 1.5
    assert "does not answer" in caught.value.hint


def test_a_server_that_says_why_not_is_asked_again_and_a_refused_connection_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[ResilienceError] = [Unavailable("FATAL:  sorry, too many clients already")] * 2
    asked = 0

    def answer(_params: ConnectParams, *, operation: str) -> str:
        nonlocal asked
        asked += 1
        if answers:
            raise answers.pop()
        return "a connection"

    monkeypatch.setattr(postgres, "connect", answer)
    assert (connect_within(ConnectParams(), 5.0), asked) == ("a connection", 3)
    answers.append(Unavailable("connection refused"))
    with pytest.raises(Unavailable):
        connect_within(ConnectParams(), 5.0)
    assert asked == 4


@pytest.mark.parametrize(("seconds", "told"), [(0.9, "starting up"), (30.0, "no time")])
def test_what_the_server_said_counts_where_there_was_no_time_for_another_answer(
    monkeypatch: pytest.MonkeyPatch, seconds: float, told: str
) -> None:
    answers: list[ResilienceError] = [DeadlineExceeded("no time"), Unavailable("FATAL:  the database is starting up")]

    def answer(_params: ConnectParams, _seconds: float, *, operation: str) -> None:
        raise answers.pop()

    monkeypatch.setattr(postgres, "connect_once_within", answer)
    with pytest.raises(Unavailable) as caught:
        connect_within(ConnectParams(), seconds)
    assert told in caught.value.cause
    assert not answers


def test_a_root_certificate_that_is_missing_is_said_before_connecting() -> None:
    with pytest.raises(Misconfigured) as caught:
        connect(ConnectParams(host="192.0.2.1", ca_cert="/none/root.crt"))
    assert "ca_cert" in caught.value.hint
    assert caught.value.subject == "/none/root.crt"


@pytest.mark.parametrize("extra", [{"conect_timeout": "1"}, {"sslmode": "sometimes"}, {"port": "many"}])
def test_a_connect_parameter_that_cannot_be_is_the_callers_mistake(extra: dict[str, str]) -> None:
    with pytest.raises((Misconfigured, UsageError)) as caught:
        connect(ConnectParams(host="127.0.0.1", port=1, extra=extra))
    assert "connect_params" in caught.value.hint or "ssl_mode" in caught.value.hint


class _Diagnosed(psycopg2.Error):
    """An error of the driver with the SQLSTATE that a server would give it."""

    def __init__(self, state: str | None) -> None:
        super().__init__("it went wrong")
        self._state = state

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self._state


@pytest.mark.parametrize(
    ("state", "kind", "retryable"),
    [
        ("25006", ReadOnly, False),
        ("42P01", SchemaMismatch, False),
        ("42703", SchemaMismatch, False),
        ("3F000", SchemaMismatch, False),
        ("42501", Refused, False),
        ("28P01", Refused, False),
        ("40001", Conflict, True),
        ("40P01", Conflict, True),
        ("55P03", Conflict, True),
        ("57014", DeadlineExceeded, True),
        ("57P01", Unavailable, True),
        ("08006", Unavailable, True),
        ("53300", Unavailable, True),
        (None, Unavailable, True),
        ("22P02", UsageError, False),
        ("XX001", DatabaseError, False),
    ],
)
def test_each_sqlstate_has_its_class(state: str | None, kind: type[ResilienceError], retryable: bool) -> None:
    error = translate(_Diagnosed(state), operation="export company", subject="962301")
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.hint
    assert str(error).startswith("export company 962301: it went wrong")


@pytest.mark.parametrize(
    "kind",
    [
        psycopg2.Error,
        psycopg2.InterfaceError,
        psycopg2.DatabaseError,
        psycopg2.DataError,
        psycopg2.OperationalError,
        psycopg2.IntegrityError,
        psycopg2.InternalError,
        psycopg2.ProgrammingError,
        psycopg2.NotSupportedError,
        psycopg2.extensions.QueryCanceledError,
        psycopg2.extensions.TransactionRollbackError,
    ],
)
def test_no_driver_exception_escapes(kind: type[psycopg2.Error]) -> None:
    with pytest.raises(ResilienceError) as caught, translated("export company", "962301"):
        raise kind("connection already closed")
    assert caught.value.__cause__.__class__ is kind


def test_errors_that_are_not_the_drivers_pass_unchanged() -> None:
    with pytest.raises(KeyError), translated("export company", "962301"):
        raise KeyError("mine")


# A server that accepts and says nothing


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody accepts every connection and never says a word."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for each in kept:
        each.close()


def test_connecting_to_a_server_that_says_nothing_ends_in_time(silent_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        connect(ConnectParams(host="127.0.0.1", port=silent_port, connect_timeout_seconds=2))
    assert time.monotonic() - started < 4
    assert "does not answer" in caught.value.hint


def test_whether_anybody_answers_is_known_in_less_time_than_libpq_would_take(silent_port: int) -> None:
    started = time.monotonic()
    assert not answers_within(ConnectParams(host="127.0.0.1", port=silent_port), 0.3)
    assert 0.3 <= time.monotonic() - started < 1.5
    assert answers_within(ConnectParams(host="127.0.0.1", port=1), 5), "a refusal is an answer"
    assert answers_within(ConnectParams(host="127.0.0.1", extra={"no_such": "option"}), 5)


class _Connection:
    """As much of a connection as a deadline looks at."""

    def __init__(self, sock: socket.socket, status: int) -> None:
        self._sock = sock
        self.status = status

    def fileno(self) -> int:
        return self._sock.fileno()

    def get_transaction_status(self) -> int:
        return self.status


ACTIVE = psycopg2.extensions.TRANSACTION_STATUS_ACTIVE
IDLE = psycopg2.extensions.TRANSACTION_STATUS_INTRANS


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        yield ours, theirs


def test_silence_while_an_answer_is_owed_is_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    started = time.monotonic()
    deadline = Deadline(_Connection(pair[0], ACTIVE), 0.3, operation="export", subject="db")
    with pytest.raises(DeadlineExceeded) as caught, deadline:
        assert pair[0].recv(1) == b""  # the deadline shuts the socket down, which ends a blocking read
    assert time.monotonic() - started < 3
    assert "another source" in caught.value.hint


def _receive_and_fail(sock: socket.socket) -> None:
    sock.recv(1)
    raise Unavailable("connection lost")


def test_a_deadline_that_ends_a_failing_block_keeps_its_cause(pair: tuple[socket.socket, socket.socket]) -> None:
    deadline = Deadline(_Connection(pair[0], ACTIVE), 0.2, operation="export", subject="db")
    with pytest.raises(DeadlineExceeded) as caught, deadline:
        _receive_and_fail(pair[0])
    assert isinstance(caught.value.__cause__, Unavailable)


def test_time_that_we_spend_ourselves_does_not_count(pair: tuple[socket.socket, socket.socket]) -> None:
    with Deadline(_Connection(pair[0], IDLE), 0.2, operation="export", subject="db") as deadline:
        assert not deadline._done.wait(0.6)
        assert not deadline.expired


def test_progress_keeps_a_slow_answer_alive(pair: tuple[socket.socket, socket.socket]) -> None:
    with Deadline(_Connection(pair[0], ACTIVE), 0.4, operation="export", subject="db") as deadline:
        for _ in range(20):
            deadline._done.wait(0.05)
            deadline.progress()
        assert not deadline.expired
