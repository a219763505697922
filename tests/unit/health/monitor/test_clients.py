# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's own words as figures and readings, also when it lies, hangs or is another one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baileys_resilience.errors import Misconfigured
from baileys_resilience.health.alerts.readings import Client
from baileys_resilience.health.client_metrics import ClientPool
from baileys_resilience.health.monitor.clients import ClientSource, read_token
from baileys_resilience.health.monitor.server import Endpoint, Page

TOKEN = "0123456789abcdef"
TEXT = """\
# TYPE wa_session_pool_connections gauge
wa_session_pool_connections{state="idle"} 3
wa_session_pool_connections{state="active"} 1
wa_session_pool_max_connections 10
wa_session_pool_pending_requests 2
wa_session_slow_queries_total{operation="get"} 4
wa_session_slow_queries_total{operation="set"} 1
wa_session_cache_age_seconds{company="962301"} 12.5
wa_session_cache_age_seconds{company="962302"} 0
wa_session_cache_keys{company="962301"} 5
wa_session_query_duration_seconds_bucket{le="0.1",operation="load"} 7
wa_session_query_duration_seconds_bucket{le="+Inf",operation="load"} 8
wa_session_query_duration_seconds_bucket{le="x",operation="load"} 8
wa_session_query_duration_seconds_bucket{le="0.5",operation="load"} NaN
"""


@contextmanager
def client(text: str) -> Iterator[int]:
    page = Page(200, "text/plain", text.encode())
    endpoint = Endpoint("127.0.0.1", 0, {"/metrics": lambda _query: page}, token=TOKEN)
    endpoint.start()
    try:
        yield endpoint.port
    finally:
        endpoint.close()


def look(port: int, token: str = TOKEN, deadline_seconds: float = 30.0) -> Client:
    source = ClientSource("app", port=port, token=token, deadline_seconds=deadline_seconds)
    reading = source.look().readings[0]
    assert isinstance(reading, Client)
    return reading


def test_what_it_says_is_read() -> None:
    with client(TEXT) as port:
        found = look(port)
    assert (found.hangs, found.problem) == (False, "")
    assert found.pool == ClientPool(3, 1, 2, 10)
    assert found.slow_total == 5
    assert found.cached == {"962301": 12.5, "962302": 0.0}


def test_its_histogram_is_read_and_what_is_no_count_passed_over() -> None:
    with client(TEXT) as port:
        figure = ClientSource("app", port=port, token=TOKEN, deadline_seconds=30.0).look().figure
    assert figure.times == {"load": [(0.1, 7.0), (float("inf"), 8.0)]}


def test_a_client_without_slow_queries_and_outages_has_none() -> None:
    """prom-client names a label only when it was used once."""
    with client("\n".join(line for line in TEXT.splitlines() if "slow" not in line and "cache" not in line)) as port:
        found = look(port)
    assert (found.slow_total, found.cached) == (0, {})


@pytest.mark.parametrize("text", ["", "hello", "<html>", "wa_session_other 1"])
def test_another_program_on_its_port_is_missing_data(text: str) -> None:
    with client(text) as port:
        found = look(port)
    assert (found.pool, found.slow_total, found.cached) == (None, None, None)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e400"])
def test_figures_that_cannot_be_are_missing_data(value: str) -> None:
    with client(TEXT.replace("} 4", f"}} {value}").replace("connections 10", f"connections {value}")) as port:
        found = look(port)
    assert (found.slow_total, found.pool) == (None, None)


def test_counters_that_are_without_an_end_together_are_no_count() -> None:
    names = ("get", "set")
    text = "".join(f'wa_session_slow_queries_total{{operation="{each}"}} 1e308\n' for each in names)
    with client(f'{text}wa_session_cache_age_seconds{{company="962301"}} 3\n') as port:
        found = look(port)
    assert (found.slow_total, found.cached) == (None, {"962301": 3.0})


def test_a_wrong_token_says_which_one_is_wanted() -> None:
    with client(TEXT) as port:
        found = look(port, token="another")
    assert "does not take the token" in found.problem
    assert "WA_SESSION_ADMIN_TOKEN" in found.problem


def test_nobody_there_is_missing_data() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = look(free.getsockname()[1])
    assert not found.hangs
    assert "does not answer" in found.problem


def silent(connection: socket.socket, ended: threading.Event) -> None:
    ended.wait(30)


def drops(connection: socket.socket, ended: threading.Event) -> None:
    """A byte now and then: each of them is an answer to a socket's own time-out."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not ended.wait(0.05):
        try:
            connection.sendall(b"#")
        except OSError:
            return


@pytest.mark.parametrize("behaviour", [silent, drops])
def test_a_client_that_takes_the_question_and_gives_no_answer_hangs(
    behaviour: Callable[[socket.socket, threading.Event], None],
) -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _address = server.accept()
            with connection:
                behaviour(connection, ended)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            found = look(server.getsockname()[1], deadline_seconds=0.5)
        finally:
            ended.set()
            thread.join()
    assert found.hangs


def test_a_token_file_is_read_at_each_look(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    with client(TEXT) as port:
        source = ClientSource("app", port=port, token_file=str(path), deadline_seconds=30.0)
        assert "does not take the token" in str(source.look().readings[0])
        path.write_text(f"{TOKEN}\n# of the client\n")
        assert isinstance(source.look().readings[0], Client)
        assert source.look().figure.answers


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", "tökén".encode()])
def test_a_file_without_a_token_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(Misconfigured):
        read_token(str(path))
    with pytest.raises(Misconfigured):
        read_token(str(tmp_path / "none"))
