# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The downtime runs in a process of its own: a second operator does not disturb it, and when its own has gone it ends
what it began.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from baileys_resilience.errors import Busy
from baileys_resilience.steps import detached
from tests.support.small_host import SmallHost


def wait_until(condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


def begin(host: SmallHost) -> None:
    """As far as the playbook's task `stop`: what follows goes on by itself, and waits for the connection."""
    host.say_connection("connecting")
    operation = host.operation()
    operation.begin()
    for step in ("preflight", "choose_source", "stage"):
        operation.step(step, detached=True)
    operation.step("stop", detached=True)
    wait_until(lambda: "verify_connection" in events(host, "step_started"), "the connection is waited for")


def events(host: SmallHost, kind: str) -> list[str]:
    return [event.get("step", "") for event in host.journal() if event["event"] == kind]


def starts(host: SmallHost) -> list[str]:
    return (host.folder / "starts").read_text().split()


def test_a_resume_waits_for_the_process_that_is_at_work(host: SmallHost) -> None:
    begin(host)
    threading.Timer(0.5, host.say_connection, ["open"]).start()
    outcome = host.operation().resume()
    assert outcome.report is not None
    assert outcome.report["outcome"] == "done"
    assert (host.store, starts(host)) == ("files", ["postgres", "files"])
    assert events(host, "step_done").count("verify_connection") == 1


def test_an_undo_is_refused_while_a_step_is_at_work_and_leaves_the_application_alone(host: SmallHost) -> None:
    begin(host)
    pid = (host.folder / "app.pid").read_text()
    with pytest.raises(Busy) as caught:
        host.operation().undo("by a second operator")
    assert "is open since" in caught.value.cause
    assert "if it still runs, wait for it" in caught.value.hint
    assert ((host.folder / "app.pid").read_text(), host.store) == (pid, "files")
    host.say_connection("open")
    wait_until(lambda: "verify_connection" in events(host, "step_done"), "the first operator's run goes on")
    assert host.operation().finish().report is not None


def test_a_failure_for_which_nobody_comes_back_is_taken_back_on_the_host(
    host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detached, "PATIENCE_SECONDS", 0.2)
    begin(host)
    wait_until(lambda: bool(events(host, "run_finished")), "the run is taken back")
    assert host.journal()[-1]["outcome"] == "undone"
    assert (host.store, host.recorded) == ("postgres", {"postgres"})
    # A controller that was merely slow asks for its step and then for the undo.
    late = host.operation().undo("by a slow controller")
    assert late.changed is False
    assert "undone before" in late.message
    assert late.report is not None
    assert "no session connected" in late.report["error"]


def test_a_failure_that_the_next_task_asks_for_is_left_to_it(host: SmallHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "PATIENCE_SECONDS", 5.0)
    begin(host)
    with pytest.raises(Exception, match="no session connected"):
        host.operation().step("verify_connection", detached=True)
    assert not events(host, "undo_started")
    assert host.operation().undo("by the controller").changed
    assert host.store == "postgres"


def test_a_command_whose_terminal_is_gone_completes_its_run(host: SmallHost) -> None:
    config = host.folder / "failover.json"
    config.write_text(json.dumps(host.content()))
    config.chmod(0o600)
    host.say_connection("connecting")
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "failover", "run"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing)
    os.close(writing)
    runs = host.folder / "state" / "runs"
    wait_until(lambda: any(runs.glob("*")) and "start" in events(host, "step_done"), "the application is started")
    os.close(reading)
    child.send_signal(signal.SIGHUP)
    host.say_connection("open")
    assert child.wait(timeout=30) == 0
    assert (host.store, host.journal()[-1]["outcome"]) == ("files", "done")
