# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint on a real port: whom it answers what, and where it refuses to listen."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from baileys_resilience.errors import Misconfigured
from baileys_resilience.health.monitor.loop import Heart
from baileys_resilience.health.monitor.server import Endpoint, Page, Query, Show, is_loopback, json_page
from baileys_resilience.health.monitor.service import healthz

Serve = Callable[..., Endpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[Endpoint] = []

    def start(pages: dict[str, Show] | None = None, host: str = "127.0.0.1", **more: object) -> Endpoint:
        endpoint = Endpoint(host, 0, pages or {"/a": lambda _query: json_page({"a": 1})}, **more)  # type: ignore[arg-type]
        running.append(endpoint)
        endpoint.start()
        return endpoint

    yield start
    for each in running:
        each.close()


def ask(endpoint: Endpoint, path: str = "/a", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): each for name, each in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_shows_its_pages_and_names_them_where_there_is_none(serve: Serve) -> None:
    endpoint = serve()
    assert ask(endpoint) == (200, b'{"a": 1}\n')
    assert ask(endpoint, "/a?x=1")[0] == 200
    assert ask(endpoint, method="HEAD") == (200, b"")
    status, content = ask(endpoint, "/nothing")
    assert (status, json.loads(content)["error"]) == (404, "there is /a")
    assert ask(endpoint, method="POST")[0] == 501


def test_beyond_the_loopback_address_a_token_is_needed(serve: Serve) -> None:
    with pytest.raises(Misconfigured) as caught:
        serve(host="0.0.0.0")
    assert "set listen.token" in caught.value.hint
    endpoint = serve(host="0.0.0.0", token="secret-token")
    assert ask(endpoint)[0] == 401
    assert ask(endpoint, Authorization="Bearer wrong")[0] == 401
    assert ask(endpoint, Authorization="Bearer secret-token")[0] == 200
    assert ask(endpoint, Authorization="Bearer secret-token", Host="monitor.example.net")[0] == 200


def test_the_question_whether_it_lives_needs_no_token(serve: Serve) -> None:
    pages: dict[str, Show] = {"/healthz": lambda _query: healthz(Heart()), "/a": lambda _query: json_page({})}
    endpoint = serve(pages, token="secret-token", open_paths=("/healthz",))
    assert ask(endpoint, "/healthz")[0] == 200
    assert ask(endpoint, "/a")[0] == 401


def test_a_name_that_was_made_to_lead_here_reads_nothing(serve: Serve) -> None:
    """A page in somebody's browser can have its own name resolve to 127.0.0.1."""
    endpoint = serve()
    assert ask(endpoint, Host="evil.example.net")[0] == 403
    for name in ("localhost:1", "127.0.0.1", "[::1]:80"):
        assert ask(endpoint, Host=name)[0] == 200


def test_a_port_that_is_taken_says_how_to_find_who_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured) as caught:
            Endpoint("127.0.0.1", port, {})
    assert "in use" in caught.value.cause
    assert f"sport = :{port}" in caught.value.hint


def test_a_loop_that_stands_still_is_ill() -> None:
    heart = Heart()
    assert healthz(heart).status == 200
    heart.beat_at -= 60.0
    assert healthz(heart).status == 503
    heart.beat()
    assert healthz(heart).status == 200


def test_many_who_ask_at_once_are_sent_away_and_the_next_is_served(serve: Serve) -> None:
    gate, entered = threading.Event(), threading.Semaphore(0)

    def slow(_query: Query) -> Page:
        entered.release()
        gate.wait(30)
        return json_page({})

    endpoint = serve({"/slow": slow, "/a": lambda _query: json_page({})})
    threads = [threading.Thread(target=ask, args=(endpoint, "/slow"), daemon=True) for _each in range(16)]
    for thread in threads:
        thread.start()
    for _each in threads:
        assert entered.acquire(timeout=30)
    assert ask(endpoint)[0] == 503
    gate.set()
    for thread in threads:
        thread.join(30)
    assert ask(endpoint)[0] == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("db.example.net", False), ("127.0.0.1.example.net", False)],
)  # fmt: skip
def test_which_addresses_are_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
