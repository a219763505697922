# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The board for a human: what is on it, what it says of troubles, and what a monitor that is not well costs."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import now_iso
from baileys_resilience.errors import Refused, Unavailable, UsageError
from baileys_resilience.health.monitor import commands, watching
from baileys_resilience.health.monitor.asking import ask_monitor
from baileys_resilience.health.monitor.commands import Told, health
from baileys_resilience.health.monitor.configuration import ListenSettings, MonitorSettings
from baileys_resilience.health.monitor.server import Endpoint, Page, json_page
from baileys_resilience.health.monitor.status import as_status
from baileys_resilience.health.monitor.terminal import board_of
from baileys_resilience.postgres import ConnectParams
from tests.unit.health.monitor.test_figures import FIGURES, published

REFUSED = [{"service": "telegram", "queued": 3, "refused": True}, {"service": "sentry", "queued": 0, "refused": False}]
HOUR = {"samples": 720, "p50_ms": 1.24, "p95_ms": 2.5, "p99_ms": 12.6, "max_ms": 20.0}


def content(*, down: bool = False, **more: Any) -> dict[str, Any]:
    found = as_status(published(FIGURES, down=down), services=REFUSED)
    return {**json.loads(json.dumps(found, default=str)), "at": now_iso(), **more}


def text(of: dict[str, Any], *remarks: str, **options: Any) -> str:
    return "\n".join(line for _status, line in board_of(of, remarks, **options).lines())


def test_each_part_has_its_line() -> None:
    lines = text(content()).splitlines()
    assert [line.split("  ")[0] for line in lines if line][:13] == [
        "OVERALL", "database", "latency", "connections", "client app", "client gone", "pgbouncer", "keys", "key ages",
        "replicas", "mirror", "disk", "backup",
    ]  # fmt: skip
    assert lines[0].startswith("OVERALL       ok       2")
    assert "database      ok       db:5432/whatsapp: serves" in lines
    assert "latency       ok       connect 20, read 600, canary 4.0 ms (the last look)" in lines
    assert "connections   unknown  20 used (20.6 %), 77 free" in lines
    assert (
        "client app    unknown  2 of 10 connections lent out, 1 operations wait; 1 companies run without the database"
        in lines
    )
    assert "client gone   ok       does not answer" in lines
    assert "pgbouncer     unknown  app@wa 3 of 3 lent out, 2 wait" in lines
    # whole days in the hour of the day in which the dump was made
    assert any(re.match(r"backup        unknown  dump \d+ d( \d+ h)? old", line) for line in lines)
    assert "keys          unknown  30 of 3 companies, 0.0 MB; 3 may go, 6 are old" in lines
    assert "key ages               <1d 30" in lines
    assert "replicas      unknown  standby 0.0 MB behind" in lines
    assert "disk          unknown  /data: 91.5 % used" in lines
    assert "telegram      warning  refuses our messages, 3 wait: see docs/alerts.md" in lines
    assert "sentry        ok       nothing waits" in lines
    assert "Not looked at: a sentence" in lines


def test_a_failover_that_may_be_asked_for_has_a_line() -> None:
    assert "auto failover" not in text(content())
    asked = {"state": "waits for both signals", "after_seconds": 60.0, "asked_at": None}
    assert "auto failover          waits for both signals" in text(content(auto_failover=asked)).splitlines()


def test_the_last_hour_counts_more_than_the_last_look() -> None:
    hour = [
        {"subject": "database db:5432/whatsapp", "operation": "read", **HOUR},
        {"subject": "database db:5432/whatsapp", "operation": "write", **HOUR, "samples": 0},
        {"subject": "client app", "operation": "get", **HOUR},
        {"subject": "client app", "operation": "load", **HOUR, "p95_ms": 31.0},
    ]
    lines = text(content(latency=hour))
    assert "latency       ok       read 1.2/2.5/13 ms (P50/P95/P99 of the last hour)" in lines
    assert "run without the database; P95 of load 31 ms\n" in lines


def test_a_trouble_says_what_was_seen_and_what_to_run() -> None:
    lines = text(content(down=True)).splitlines()
    assert lines[0].startswith("OVERALL       critical")
    at = lines.index("critical: database db:5432/whatsapp: PostgreSQL takes no connections")
    assert lines[at + 1 : at + 4] == [
        "  connect: Connection refused",
        "  Run: ansible-playbook baileys.resilience.emergency_failover --check",
        "  Note: see the runbook, 1. PostgreSQL is unreachable",
    ]


def test_what_was_well_and_is_not_looked_at_any_more_is_unknown() -> None:
    """While a database is down its connections keep their last verdict, and have no figure."""
    judged = {"status": "ok", "title": "", "seconds": 0.0, "evidence": "", "command": "", "note": "", "subject": "db"}
    subjects = {"database db": {"concerns": {"connections": judged, "latency": judged}}}
    lines = text({"status": "critical", "at": "", "subjects": subjects}).splitlines()
    assert "latency       unknown  nothing is known yet" in lines
    assert "connections   unknown  nothing is known yet" in lines


def test_before_the_first_look_everything_is_unknown() -> None:
    board = board_of({"status": "unknown", "at": ""})
    assert (board.status, {row.status for row in board.rows}) == ("unknown", {"unknown"})
    assert [row.name for row in board.rows] == ["database", "latency", "connections", "keys"]


def test_a_monitor_that_hangs_is_not_believed() -> None:
    found = content(at="2026-01-31T03:00:00Z")
    assert board_of(found).status == "unknown"
    assert "systemctl restart baileys-resilience-monitor" in text(found)


def test_a_name_does_not_command_the_terminal() -> None:
    found = content()
    found["figures"]["disk"]["path"] = "/data\x1b]0;gone\x07"
    assert "/data?]0;gone?: 91.5 % used" in text(found)


def test_silences_are_said() -> None:
    assert "Silence: nothing is told of all for 2 h" in text(content(silences=[{"subject": "all", "seconds": 7200}]))


@contextmanager
def listening(pages: dict[str, Page], token: str = "") -> Iterator[ListenSettings]:
    endpoint = Endpoint(
        "127.0.0.1", 0, {path: (lambda _query, page=page: page) for path, page in pages.items()}, token=token
    )
    endpoint.start()
    try:
        yield ListenSettings(port=endpoint.port, token=token)
    finally:
        endpoint.close()


@pytest.fixture
def settings(tmp_path: Path) -> MonitorSettings:
    return MonitorSettings(ConnectParams(host="127.0.0.1", port=1), state_dir=str(tmp_path))


def test_the_monitor_is_asked_for_both_and_missing_latency_is_no_trouble(settings: MonitorSettings) -> None:
    latency = {"operations": [{"subject": "database db", "operation": "read", **HOUR}]}
    pages = {"/api/status": json_page(content()), "/api/latency": json_page(latency)}
    with listening(pages, token="a-token") as listen:
        found = health(replace(settings, listen=listen))
        assert (found.exit_code, found.content["latency"]) == (0, latency["operations"])
        with pytest.raises(Refused, match="refuses the token"):
            ask_monitor(replace(listen, token="another"), "/api/status")
    with listening({"/api/status": json_page(content(down=True)), "/api/latency": json_page({}, 503)}) as listen:
        found = health(replace(settings, listen=listen))
        assert (found.exit_code, "latency" in found.content) == (2, False)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (Page(200, "text/html", b"<html>"), "is no monitor"),
        (json_page([]), "it answers 200"),
        (json_page({"status": "unknown", "cause": "nothing was looked at yet"}, 503), "nothing was looked at yet"),
    ],
)
def test_what_is_no_answer_of_a_monitor_is_told(page: Page, why: str) -> None:
    with listening({"/api/status": page}) as listen, pytest.raises(Unavailable, match=why):
        ask_monitor(listen, "/api/status")


def test_without_a_monitor_there_is_one_look_which_says_so(
    settings: MonitorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "once", lambda _settings: Told(content()))
    with listening({}) as listen:
        gone = replace(settings, listen=listen)
    found = health(gone)
    assert found.exit_code == 1
    said = "No monitor answers (Connection refused), so this is one look. Run: systemctl"
    assert found.content["remarks"][0].startswith(said)
    assert found.content["remarks"][0] in found.lines
    assert health(replace(settings, listen=ListenSettings(port=0))).exit_code == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watch_twice(
    settings: MonitorSettings, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, as_json: bool = False
) -> Told:
    looks = iter([content(), content(down=True)])

    def look(_settings: MonitorSettings) -> Told:
        found = next(looks)
        board = board_of(found)
        return Told(found, [line for _status, line in board.lines()], commands.EXIT_CODES[board.status], board)

    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "health", look)
    told = watching.watched(settings, 10.0, as_json=as_json, stream=stream, wait=wait)
    assert waited == [10.0, 10.0]
    return told


def test_watching_ends_with_the_last_look(settings: MonitorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    told = watch_twice(settings, monkeypatch, stream)
    assert (told.exit_code, told.lines, told.content) == (2, [], {})
    assert stream.getvalue().count("OVERALL") == 2
    assert "\x1b" not in stream.getvalue()


def test_watching_as_json_is_a_line_a_look(settings: MonitorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    watch_twice(settings, monkeypatch, stream, as_json=True)
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == ["ok", "critical"]


def test_a_terminal_has_colours(settings: MonitorSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    watch_twice(settings, monkeypatch, stream)
    assert "PostgreSQL takes no connections" in stream.getvalue()
    assert "\x1b[1;31m" in stream.getvalue()


@pytest.mark.parametrize("seconds", [0.0, 0.5, 3601.0, float("nan")])
def test_intervals_that_cannot_be_are_refused(settings: MonitorSettings, seconds: float) -> None:
    with pytest.raises(UsageError, match="give --watch 1 to 3600"):
        watching.watched(settings, seconds, as_json=False, stream=io.StringIO())
