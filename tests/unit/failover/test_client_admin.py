# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that answers late, without an end, or what nobody understands: it is known as such, and the application can
still be restarted.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError, ResilienceError, StoreError, Unavailable
from baileys_resilience.failover import live
from baileys_resilience.failover.client_admin import ask, ask_status, journal_errors
from baileys_resilience.failover.client_memory import ClientMemory, assess_client, drain
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.daily_check import held_too_long
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import SourceReport
from tests.support.client_admin import client

COMPANY = "962301"
STATUS = "GET /status"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a unix socket's name holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="client-") as path:
        yield Path(path)


@pytest.fixture
def settings(tmp_path: Path, directory: Path) -> FailoverSettings:
    (tmp_path / "app").mkdir()
    return settings_from_dict(
        {
            "host": "app1", "companies": [COMPANY], "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"), "client_dir": str(directory), "database": {},
            "application": {"dir": str(tmp_path / "app")}, "policy": {"mode": "auto"},
        }
    )  # fmt: skip


def session(**more: Any) -> dict[str, Any]:
    return {"sessions": [{"company": COMPANY, "store": "postgres", **more}]}


@pytest.mark.parametrize(
    "said",
    [
        {"sessions": None},
        {"sessions": 5},
        {"sessions": ["x"]},
        {"sessions": [{}]},
        {"sessions_dir": "a\0b"},
        {"export_dir": ["a"]},
        session(company={}),
        session(store="\ud800"),
        session(hold="yes"),
        session(hold={"hold": 5}),
        session(outage="x"),
        session(outage={"journal_error": {"a": 1}}),
        session(epoch="x"),
        session(epoch=float("inf")),
        session(undecodable=[1]),
        session(counts=[1]),
        session(counts={"session": "x"}),
        session(counts={"session": None}),
    ],
)
def test_a_status_that_nobody_understands_leads_to_a_restart(settings: FailoverSettings, said: dict[str, Any]) -> None:
    with client(Path(settings.client_dir), {STATUS: (200, said)}):
        with pytest.raises(ApplicationError, match="not to be understood"):
            ask_status(settings.client_dir)
        mode = live.choose_mode(FailoverContext(settings, "", "files"))
        assert (mode.name, mode.why_not_live) == ("restart", "the client's word on itself is not to be understood")
        report = assess_client(settings, [COMPANY], SourceReport("journal", ""), [])
        assert (report.answers, report.offers) == (False, {})
        assert journal_errors(settings.client_dir) == {}
        assert held_too_long(settings) == []


@pytest.mark.parametrize("said", [{}, {"exported": []}, {"exported": {COMPANY: "x"}}, {"drained": {COMPANY: [1]}}])
def test_a_copy_that_it_does_not_name_is_none(directory: Path, said: dict[str, Any]) -> None:
    asked = (f"POST /export?company={COMPANY}&form=file", f"POST /drain?company={COMPANY}&form=file&export=true")
    with client(directory, dict.fromkeys(asked, (200, said))):
        with pytest.raises(StoreError, match="has not said what it exported"):
            ClientMemory(str(directory), {}).creds(COMPANY)
        with pytest.raises(ApplicationError, match="has not said what it exported"):
            drain(str(directory), COMPANY, accept_data_loss=False)


@pytest.mark.parametrize("snapshot_at", ["yesterday", None, 5, "2026-01-31T03:00:00Z\x1b[2J"])
def test_a_copy_without_a_time_is_none(directory: Path, snapshot_at: Any) -> None:
    copy = {"sha256": "x", "snapshot_at": snapshot_at}
    answers = {f"POST /export?company={COMPANY}&form=file": (200, {"exported": {COMPANY: copy}})}
    with client(directory, answers), pytest.raises(StoreError, match="has not said what it exported"):
        ClientMemory(str(directory), {}).creds(COMPANY)


@pytest.mark.parametrize("hold", [None, "", 5, "a\nb"])
def test_a_hold_without_an_id_is_none(settings: FailoverSettings, hold: Any) -> None:
    asked = f"POST /store?company={COMPANY}&phase=hold&to=files&holdMs=25000&form=file"
    copy = {"sha256": "x", "snapshot_at": "2026-01-31T03:00:00Z"}
    context, answers = FailoverContext(settings, "", "files"), {asked: (200, {"hold": hold, "export": copy})}
    with client(Path(settings.client_dir), answers), pytest.raises(ApplicationError, match="which hold this is"):
        live.hold(context, COMPANY)


def test_what_it_says_moves_no_cursor_and_fills_no_report(directory: Path) -> None:
    said = "\x1b]0;owned\x07\r\nall is well" + "x" * 100_000
    with client(directory, {STATUS: (409, {"error": said})}), pytest.raises(ResilienceError) as caught:
        ask(str(directory), "GET", "/status", seconds=5)
    assert len(caught.value.cause) < 600
    assert caught.value.cause.isprintable()


@pytest.mark.parametrize("piece", [b"X-A: b\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"X"])
def test_a_head_that_has_no_end_is_not_waited_for(directory: Path, piece: bytes) -> None:
    """Each piece comes soon behind the last one, so that a time-out for each of them never ends."""
    over = threading.Event()

    def dribble() -> None:
        connection, _address = server.accept()
        with connection:
            connection.sendall(b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
            try:
                while not over.wait(0.02):
                    connection.sendall(piece)
            except OSError:
                return

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "admin.sock"))
        server.listen()
        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            with pytest.raises(Unavailable, match="no end of its answer in time"):
                ask(str(directory), "GET", "/status", seconds=0.3)
        finally:
            over.set()
            thread.join()
