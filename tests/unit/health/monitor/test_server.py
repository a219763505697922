# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The endpoint on a real port: whom it answers what, and where it refuses to listen."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from baileys_resilience.errors import Misconfigured, StoreError, UsageError
from baileys_resilience.health.monitor.loop import Heart
from baileys_resilience.health.monitor.server import _MOST_AT_ONCE, Endpoint, Page, Query, Show, is_loopback, json_page
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


def headers_of(endpoint: Endpoint, path: str = "/a", **headers: str) -> tuple[http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=30)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): each for name, each in headers.items()})
        response = connection.getresponse()
        return response.headers, response.read()
    finally:
        connection.close()


def test_what_follows_the_question_mark_reaches_the_page(serve: Serve) -> None:
    endpoint = serve({"/q": lambda query: json_page(dict(query))})
    assert ask(endpoint, "/q?range=7d&subject=client%20app&empty=") == (
        200,
        b'{"range": "7d", "subject": "client app", "empty": ""}\n',
    )
    status, content = ask(endpoint, "/q?" + "&".join(f"n{number}=1" for number in range(21)))
    assert (status, json.loads(content)["error"]) == (400, "more than 20 parameters")


def test_a_question_that_cannot_be_meant_and_a_disk_that_refuses_are_told_apart(serve: Serve) -> None:
    def wrong(_query: Query) -> Page:
        raise UsageError("is no range", operation="read history", subject="2y", hint="choose 7d")

    def broken(_query: Query) -> Page:
        raise StoreError("Input/output error", operation="open history", subject="file", hint="look at the disk")

    endpoint = serve({"/wrong": wrong, "/broken": broken})
    status, content = ask(endpoint, "/wrong")
    assert (status, json.loads(content)["error"]) == (400, "read history 2y: is no range. HINT: choose 7d")
    status, content = ask(endpoint, "/broken")
    assert (status, json.loads(content)["error"]) == (
        503,
        "open history file: Input/output error. HINT: look at the disk",
    )


def test_a_browser_is_told_to_run_and_load_nothing_that_is_not_ours(serve: Serve) -> None:
    endpoint = serve()
    for path in ("/a", "/nothing"):
        headers, _content = headers_of(endpoint, path)
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= set(policy)
        assert "img-src 'self' data:" in policy
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_what_is_long_is_packed_for_who_takes_that(serve: Serve) -> None:
    long = {"a": "x" * 5000}
    endpoint = serve({"/long": lambda _query: json_page(long), "/a": lambda _query: json_page({})})
    headers, content = headers_of(endpoint, "/long", Accept_Encoding="deflate, gzip;q=1.0, *;q=0.5")
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(content) < 200
    assert json.loads(gzip.decompress(content)) == long
    headers, content = headers_of(endpoint, "/long")
    assert headers["Content-Encoding"] is None
    assert json.loads(content) == long
    assert headers_of(endpoint, "/a", Accept_Encoding="gzip")[0]["Content-Encoding"] is None


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
    threads = [threading.Thread(target=ask, args=(endpoint, "/slow"), daemon=True) for _each in range(_MOST_AT_ONCE)]
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
