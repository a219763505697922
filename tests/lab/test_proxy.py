# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy, byte by byte: what a client on a plain socket sees in each mode."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator

import pytest

from lab import Lab, LabError

# PostgreSQL answers this request with one byte, N: it has no TLS.
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def dial(lab: Lab, timeout_seconds: float = 5.0) -> socket.socket:
    server = lab.need_postgres()
    return socket.create_connection((server.host, server.proxy_port), timeout=timeout_seconds)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(SSL_REQUEST)
    return connection.recv(16)


@pytest.fixture
def line(healed: Lab) -> Iterator[socket.socket]:
    """An open connection through the proxy that has asked nothing yet."""
    with dial(healed) as connection:
        deadline = time.monotonic() + 5
        while healed.proxy_mode("pass")["connections"] < 1:
            assert time.monotonic() < deadline
        yield connection


def test_in_pass_mode_bytes_go_through(line: socket.socket) -> None:
    assert ask(line) == b"N"


def test_in_drop_mode_an_open_connection_stays_open_and_hears_nothing(healed: Lab, line: socket.socket) -> None:
    healed.proxy_mode("drop")
    line.settimeout(0.7)
    with pytest.raises(TimeoutError):
        ask(line)


def test_a_connection_that_lost_bytes_is_reset_when_the_network_heals(healed: Lab, line: socket.socket) -> None:
    healed.proxy_mode("drop")
    line.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(line)
    healed.proxy_mode("pass")
    line.settimeout(5)
    with pytest.raises(ConnectionResetError):
        line.recv(16)


def test_a_connection_that_was_idle_while_the_network_dropped_goes_on(healed: Lab, line: socket.socket) -> None:
    healed.proxy_mode("drop")
    healed.proxy_mode("pass")
    assert ask(line) == b"N"


def test_in_drop_mode_a_new_connection_is_not_accepted_and_is_after_healing(healed: Lab) -> None:
    healed.proxy_mode("drop")
    for _attempt in range(3):
        with pytest.raises(TimeoutError):
            dial(healed, 0.4)
    healed.proxy_mode("pass")
    with dial(healed) as connection:
        assert ask(connection) == b"N"


def test_in_reset_mode_open_and_new_connections_get_a_tcp_reset(healed: Lab, line: socket.socket) -> None:
    healed.proxy_mode("reset")
    with pytest.raises(ConnectionResetError):
        line.recv(16)
    with pytest.raises(ConnectionResetError), dial(healed) as fresh:
        fresh.recv(16)


def test_with_a_dead_server_the_client_gets_a_reset_never_a_clean_end(healed: Lab) -> None:
    healed.break_("postgres-kill")
    with pytest.raises(ConnectionResetError), dial(healed) as fresh:
        fresh.recv(16)


def test_in_delay_mode_the_answer_takes_both_directions_and_nothing_is_lost(healed: Lab, line: socket.socket) -> None:
    healed.proxy_mode("delay", 100)
    began = time.monotonic()
    assert ask(line) == b"N"
    assert 0.2 <= time.monotonic() - began < 1.5
    connection = healed.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT v, md5(v) FROM (SELECT string_agg(g::text, ' ') v FROM generate_series(1, 900000) g) s")
        text, digest = cursor.fetchall()[0]
    connection.close()
    assert hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == digest


def test_an_unknown_mode_is_refused_and_changes_nothing(healed: Lab) -> None:
    with pytest.raises(LabError, match="unknown mode"):
        healed.proxy_mode("explode")
    assert healed.proxy_mode("pass")["mode"] == "pass"
