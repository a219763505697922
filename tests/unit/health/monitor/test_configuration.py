# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's configuration: what is wrong is refused by its name, and no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import Misconfigured, ResilienceError
from baileys_resilience.health.monitor.configuration import load_monitor_settings

PASSWORD = "}X|<?{'\""


def write(tmp_path: Path, content: Any, mode: int = 0o600) -> Path:
    path = tmp_path / "monitor.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def settings(**more: Any) -> dict[str, Any]:
    return {"database": {"host": "db", "password": PASSWORD}, **more}


def refusal(path: Path) -> ResilienceError:
    with pytest.raises(Misconfigured) as caught:
        load_monitor_settings(path)
    assert PASSWORD not in str(caught.value)
    return caught.value


def test_defaults_need_nothing_but_a_database(tmp_path: Path) -> None:
    made = load_monitor_settings(write(tmp_path, settings()))
    assert (made.database.host, made.interval_seconds, made.listen.host, made.clients) == ("db", 5.0, "127.0.0.1", ())
    assert PASSWORD not in repr(made)


@pytest.mark.parametrize(
    ("content", "subject", "said"),
    [
        ({}, "database", "missing"),
        (settings(intervall=5), "intervall", "there is no such setting"),
        (settings(database={"hots": "db"}), "database.hots", "there is no such setting"),
        (settings(database=[]), "database", "names with values"),
        (settings(interval_seconds="5"), "interval_seconds", "is no number"),
        (settings(interval_seconds=0), "interval_seconds", "out of range"),
        (settings(interval_seconds=30), "interval_seconds", "out of range"),
        (settings(keys_interval_seconds=7200), "keys_interval_seconds", "out of range"),
        (settings(interval_seconds=True), "interval_seconds", "is no number"),
        (settings(deadline_seconds=60), "deadline_seconds", "out of range"),
        (settings(keys_interval_seconds=86400), "keys_interval_seconds", "out of range"),
        (settings(write="yes"), "write", "neither true nor false"),
        (settings(pgbouncer_dsn="stats@bouncer"), "pgbouncer_dsn", "is no connection string"),
        (settings(auto_failover={"host": "a"}), "auto_failover", "it needs two signals"),
        (settings(auto_failover={}), "auto_failover.host", "missing"),
        (settings(data_dirs="/var"), "data_dirs", "a list is needed"),
        (settings(data_dirs=[1]), "data_dirs", "is no text"),
        (settings(tables={}), "tables", "there is no such setting"),
        (settings(session_tables={"key": {}}), "session_tables", "unknown name key"),
        (settings(alerts={"query_mss": 1}), "alerts.query_mss", "there is no such setting"),
        (settings(alerts={"failures": 0}), "alerts.failures", "out of range"),
        (settings(listen={"port": 70000}), "listen.port", "out of range"),
        (settings(listen={"port": 1.5}), "listen.port", "is no whole number"),
        (settings(clients=[{"port": 1, "token": "t"}]), "clients[0].name", "missing"),
        (settings(clients=[{"name": "a"}]), "clients.a", "either a directory or a port"),
        (settings(clients=[{"name": "a", "port": 1}]), "clients.a", "a token"),
        (settings(clients=[{"name": "a", "directory": "/x"}, {"name": "a", "directory": "/y"}]), "clients.a", "two"),
        (settings(clients=[{"name": "a\nb", "directory": "/x"}]), "clients", "is no name"),
        (settings(notify={"telegram_chat_id": 5}), "notify.telegram_chat_id", "is no text"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(tmp_path: Path, content: Any, subject: str, said: str) -> None:
    error = refusal(write(tmp_path, content))
    assert error.subject == subject
    assert said in error.cause
    assert error.hint
    assert "monitor.json" in str(error)


@pytest.mark.parametrize("text", ["", "{", "[]", "17", "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    refusal(write(tmp_path, text))


def test_a_file_that_is_not_there_says_what_makes_it(tmp_path: Path) -> None:
    assert "health_monitor" in refusal(tmp_path / "none.json").hint


@pytest.mark.parametrize(
    ("mode", "fine"), [(0o600, True), (0o440, True), (0o640, True), (0o604, False), (0o660, False)]
)
def test_only_a_group_may_read_it_too(tmp_path: Path, mode: int, fine: bool) -> None:
    path = write(tmp_path, settings(), mode)
    if fine:
        assert load_monitor_settings(path).database.host == "db"
    else:
        assert f"chmod 0600 {path}" in refusal(path).hint


def test_a_root_certificate_that_the_unit_hands_over_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, {"database": {"host": "db", "ca_cert": "/etc/closed/root.crt"}})
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert load_monitor_settings(path).database.ca_cert == "/etc/closed/root.crt"
    (tmp_path / "ca.crt").write_text("x")
    assert load_monitor_settings(path).database.ca_cert == str(tmp_path / "ca.crt")
