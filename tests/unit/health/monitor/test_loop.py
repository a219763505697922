# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real loop with stand-ins for what it looks at: it comes round whatever they do, and tells systemd so."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baileys_resilience.errors import Busy, Misconfigured, UsageError
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import DATABASE, Subject
from baileys_resilience.health.alerts.readings import Probe, Reading
from baileys_resilience.health.monitor.arguments import duration
from baileys_resilience.health.monitor.commands import run, silence
from baileys_resilience.health.monitor.configuration import ListenSettings
from baileys_resilience.health.monitor.loop import Loop
from baileys_resilience.health.monitor.saved import AlertFile, Requests, leave_request
from baileys_resilience.health.monitor.source import Look
from baileys_resilience.health.monitor.systemd import Systemd
from baileys_resilience.health.monitor.watch import Watch
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.progress import Silent
from tests.support.monitored import QUICK_ALERTS, Kept, quick_settings

SUBJECT = Subject(DATABASE, "db")


class Stand:
    name = "stand"
    interval_seconds = 1.0
    limit_seconds = 30.0
    quick = True

    def __init__(self, work: Callable[[], Look]) -> None:
        self._work = work

    def look(self) -> Look:
        return self._work()

    def failed(self, problem: str) -> list[Reading]:
        return [Probe(SUBJECT, problem=problem)]


@contextmanager
def looping(tmp_path: Path, *stands: Stand, beats: threading.Semaphore | None = None) -> Iterator[tuple[Loop, Watch]]:
    watch = Watch(Alerts(QUICK_ALERTS), AlertFile(tmp_path / "state"), Kept(), Silent())
    Requests(tmp_path / "state")
    counter = beats or threading.Semaphore(0)
    loop = Loop(stands, watch, log=Silent(), requests=Requests(tmp_path / "state"), on_beat=lambda: counter.release())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop, watch
    finally:
        loop.stop()
        thread.join(30)
        assert not thread.is_alive()


def test_a_look_that_hangs_keeps_neither_the_loop_nor_the_others(tmp_path: Path) -> None:
    gate, seen, beats = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def hang() -> Look:
        gate.wait(30)
        return Look()

    def well() -> Look:
        seen.release()
        return Look([Probe(SUBJECT)])

    try:
        with looping(tmp_path, Stand(hang), Stand(well), beats=beats) as (loop, _watch):
            assert seen.acquire(timeout=30)
            assert seen.acquire(timeout=30), "the other one looks again"
            for _each in range(5):
                assert beats.acquire(timeout=30)
            assert loop.heart.beats >= 5
    finally:
        gate.set()


def test_the_end_keeps_what_is_known(tmp_path: Path) -> None:
    done = threading.Event()

    def well() -> Look:
        done.set()
        return Look([Probe(SUBJECT)])

    with looping(tmp_path, Stand(well)):
        assert done.wait(30)
    assert json.loads((tmp_path / "state" / "alerts.json").read_text())["format"] == "baileys-resilience/alerts"


def test_requests_are_taken_once_and_what_is_no_request_is_refused(tmp_path: Path) -> None:
    state, beats = tmp_path / "state", threading.Semaphore(0)
    with looping(tmp_path, Stand(lambda: Look([Probe(SUBJECT)])), beats=beats) as (loop, watch):
        for content in ([], {"request": "dance"}, {"request": "silence"}, {"request": "silence", "seconds": "x"},
                        {"request": "silence", "seconds": -5}, {"request": "silence", "seconds": 60, "subject": 5},
                        {"request": "silence", "seconds": 600, "subject": ["database", "db"]}):  # fmt: skip
            leave_request(state, content, None)
        (state / "requests" / "00-broken.json").write_text("{")
        while list((state / "requests").iterdir()):
            assert beats.acquire(timeout=30)
        assert beats.acquire(timeout=30)
        assert watch.published is not None
        assert [each["subject"] for each in watch.published.silences] == ["database db"]
        assert loop.heart.beats > 0


def test_silence_waits_for_the_monitor_and_says_where_there_is_none(tmp_path: Path) -> None:
    settings = quick_settings(ConnectParams(), tmp_path / "state")
    with pytest.raises(Exception, match="no place for requests"):
        silence(settings, 60.0)
    with looping(tmp_path, Stand(lambda: Look([Probe(SUBJECT)]))):
        assert silence(settings, 3600.0, "database db").lines == ["nothing is told of database db for 1 h"]
        assert silence(settings, 0.0).lines == ["everything is told again"]
    with pytest.raises(Busy):
        silence(settings, 60.0, wait_seconds=0.1)
    assert list((tmp_path / "state" / "requests").iterdir()) == []
    for seconds, subject in ((-1.0, ""), (1e9, ""), (60.0, "db"), (60.0, "planet earth")):
        with pytest.raises(UsageError):
            silence(settings, seconds, subject)


def test_two_monitors_on_one_state_are_refused_and_a_taken_port_is_said(tmp_path: Path) -> None:
    settings = quick_settings(ConnectParams(), tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wants = quick_settings(ConnectParams(), tmp_path / "state", listen=ListenSettings(port=port))
        with pytest.raises(Misconfigured) as caught:
            run(wants, Silent())
        assert "in use" in caught.value.cause
    from baileys_resilience.locks import held

    busy = Busy("ours")
    with held(tmp_path / "state" / "monitor.lock", 0.0, busy), pytest.raises(Busy) as second:
        run(settings, Silent())
    assert "another monitor runs" in second.value.cause


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_of_it_at_the_socket_that_it_names(tmp_path: Path, abstract: bool) -> None:
    address = f"@baileys-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + address[1:] if abstract else address)
        receiver.settimeout(30)
        Systemd({"NOTIFY_SOCKET": address}).tell("READY=1", "STATUS=well")
        assert receiver.recv(100) == b"READY=1\nSTATUS=well"
    Systemd({"NOTIFY_SOCKET": address}).tell("WATCHDOG=1")  # nobody there any more: no error
    Systemd({}).tell("READY=1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("30min", 1800.0), ("2h", 7200.0), ("1.5 h", 5400.0), ("1d", 86400.0)],
)
def test_times_are_written_as_one_says_them(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1w", "1h30"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is no time"):
        duration(text)
