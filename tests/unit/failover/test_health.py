# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the application: by URL, by a command, and by the log of code that has neither."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.failover import health
from baileys_resilience.failover.health import ApplicationHealth, CompanyHealth, HealthProbe, log_size, parse_health
from baileys_resilience.failover.settings import ApplicationSettings, HealthSettings

OPEN = {"company_id": 962301, "connection": "open", "user": "49@s", "keys_loaded": 1313, "store": "files"}


def ask(kind: str, companies: tuple[str, ...] = ("962301",), **settings: Any) -> ApplicationHealth:
    where = {name: settings.pop(name) for name in ("log_file", "log_offset") if name in settings}
    return HealthProbe(HealthSettings(kind=kind, **settings), ApplicationSettings(), **where).ask(companies)


def test_the_document_is_read_company_by_company_and_ids_become_words() -> None:
    found = parse_health({"pid": 17, "companies": [OPEN, {"company_id": "7", "last_error": "no route"}]})
    assert (found.answered, found.pid) == (True, 17)
    assert found.company("962301") == CompanyHealth("open", "49@s", 1313, "files", None)
    assert found.company("7") == CompanyHealth("unknown", None, None, None, "no route")
    assert found.company("8") == CompanyHealth()


def test_keys_loaded_may_come_as_text() -> None:
    assert parse_health({"companies": [{**OPEN, "keys_loaded": "12"}]}).company("962301").keys == 12


def test_a_document_without_companies_answers_but_knows_none() -> None:
    assert parse_health({}) == ApplicationHealth(True)


@pytest.mark.parametrize(
    "document",
    [
        [],
        7,
        "text",
        {"companies": [{"connection": "open"}]},
        {"companies": [1]},
        {"companies": {"962301": {}}},
        {"pid": "x"},
    ],
)
def test_a_document_of_another_shape_teaches_nothing_and_raises_nothing(document: Any) -> None:
    found = ask("command", command=(sys.executable, "-c", f"print({json.dumps(json.dumps(document))})"))
    assert not found.answered
    assert "cannot be read" in found.problem


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A raw server for one request: real answers, also those that http.server would not give."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _address = listener.accept()
        with connection:
            connection.recv(65536)
            answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/health"
    finally:
        thread.join(timeout=10)
        listener.close()


def says(status: str, body: str) -> Callable[[socket.socket], None]:
    text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    return lambda connection: connection.sendall(text.encode())


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
def test_an_url_is_read_also_when_a_degraded_application_answers_503(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server(says(status, json.dumps({"pid": 1, "companies": [OPEN]}))) as url:
        assert ask("url", url=url).company("962301").connection == "open"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (says("404 Not Found", "no"), "HTTP 404"),
        (says("200 OK", "<html>"), "cannot be read"),
        (lambda connection: connection.sendall(b"what?\r\n\r\n"), ""),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), ""),
        (lambda connection: None, ""),
    ],
)
def test_an_url_that_does_not_give_the_document_is_a_problem_and_no_exception(
    answer: Callable[[socket.socket], None], problem: str
) -> None:
    with server(answer) as url:
        found = ask("url", url=url)
    assert not found.answered
    assert found.problem
    assert problem in found.problem


def test_an_url_where_nobody_listens_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in ask("url", url=f"http://127.0.0.1:{port}/health").problem


@pytest.mark.parametrize("url", ["no url", "http://[::1/health", "file:///etc/hostname"])
def test_an_url_that_is_none_is_a_problem_and_no_exception(url: str) -> None:
    assert not ask("url", url=url).answered


def test_a_command_answers_with_the_same_document_whatever_its_exit_code() -> None:
    source = f"import sys; print({json.dumps(json.dumps({'companies': [OPEN]}))}); sys.exit(1)"
    assert ask("command", command=(sys.executable, "-c", source)).company("962301").connection == "open"


def test_a_command_that_is_missing_silent_or_hangs_is_a_problem_and_no_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_REQUEST_SECONDS", 0.2)
    assert "not found" in ask("command", command=("/nowhere/health",)).problem
    assert ask("command", command=("false",)).problem == "ended with 1"
    assert "no end after" in ask("command", command=("sleep", "30")).problem


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "out.log"


def log_says(log: Path, text: str, company: str, **settings: Any) -> str:
    log.write_text(text)
    return ask("log", (company,), log_file=str(log), **settings).company(company).connection


@pytest.mark.parametrize(
    ("text", "company", "found"),
    [
        ("company 12 connection open\n", "12", "open"),
        ("2026 company 12 connection open (files)\n", "12", "open"),
        ("company 12 connection open\n", "1", "unknown"),
        ("company 12 connection open\n", "2", "unknown"),
        ("company 12 connection opening\n", "12", "unknown"),
        ("company a.c connection open\n", "abc", "unknown"),
        ("company abc connection open\n", "a.c", "unknown"),
        ("", "12", "unknown"),
    ],
)
def test_a_log_tells_of_exactly_the_company_that_is_named(log: Path, text: str, company: str, found: str) -> None:
    assert log_says(log, text, company) == found


@pytest.mark.parametrize(("company", "found"), [("12", "unknown"), ("112", "open"), ("1", "unknown"), ("2", "unknown")])
def test_a_pattern_that_begins_with_the_id_takes_no_part_of_a_longer_one(log: Path, company: str, found: str) -> None:
    assert log_says(log, "112 is open\n", company, log_pattern="{company_id} is open") == found


def test_a_pattern_is_text_and_no_expression(log: Path) -> None:
    pattern = "company {company_id} connection open (files)"
    assert log_says(log, "company 12 connection open (files)\n", "12", log_pattern=pattern) == "open"
    assert log_says(log, "company 12 connection open files\n", "12", log_pattern=pattern) == "unknown"
    assert log_says(log, "[12 open\n", "12", log_pattern="[{company_id} open") == "open"


def test_only_what_was_written_behind_the_offset_counts(log: Path) -> None:
    log.write_text("company 12 connection open\n")
    offset = log_size(str(log))
    assert ask("log", ("12",), log_file=str(log), log_offset=offset).company("12").connection == "unknown"
    with log.open("a") as stream:
        stream.write("company 12 connection open\n")
    assert ask("log", ("12",), log_file=str(log), log_offset=offset).company("12").connection == "open"


def test_a_log_that_was_rotated_is_read_from_its_beginning(log: Path) -> None:
    log.write_text("x" * 1000)
    offset = log_size(str(log))
    assert log_says(log, "company 12 connection open\n", "12", log_offset=offset) == "open"


def test_a_log_that_is_not_there_is_a_problem_and_its_size_is_nought(log: Path) -> None:
    assert log_size(str(log)) == 0
    assert "No such file" in ask("log", log_file=str(log)).problem


def test_the_log_of_the_settings_goes_before_the_one_of_the_service(log: Path, tmp_path: Path) -> None:
    log.write_text("company 12 connection open\n")
    probe = HealthProbe(
        HealthSettings(kind="log", log_file=str(log)), ApplicationSettings(), log_file=str(tmp_path / "other")
    )
    assert probe.ask(("12",)).company("12").connection == "open"
