# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook, or what it left running on the host, is killed while the application is down: the sessions come up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, playbooks, processes
from tests.integration.playbooks.conftest import Play, extra

Event = dict[str, Any]


@contextmanager
def running_playbook(lab: Lab) -> Iterator[subprocess.Popen[str]]:
    words = ["ansible-playbook", "-i", str(lab.path / "inventory.yml"), "baileys.resilience.emergency_failover"]
    log = lab.path / "logs" / "killed-playbook.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [*words, *extra()], cwd=lab.path, env=playbooks.environment(lab), stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield child
        finally:
            processes.signal_tree(child.pid, signal.SIGKILL)
            child.wait()


def runs(lab: Lab) -> set[Path]:
    return set((Path(lab.state_dir) / "runs").glob("*"))


def wait_for_event(lab: Lab, before: set[Path], wanted: Callable[[Event], bool]) -> Path:
    """The directory of the new run, as soon as its journal has the event."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for run in runs(lab) - before:
            if any(wanted(event) for event in journal(run)):
                return run
        time.sleep(0.002)
    raise AssertionError("the journal never came so far")


def journal(run: Path) -> list[Event]:
    path = run / "journal.jsonl"
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def steps_done(run: Path) -> list[str]:
    return [event["step"] for event in journal(run) if event["event"] == "step_done"]


def left_behind(path: Path, playbook: int) -> list[int]:
    """Processes that have the file open and are no longer the playbook's own."""
    found = []
    own = set(processes.tree(playbook))
    for pid in set(processes.all_pids()) - own:
        try:
            links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if str(path) in links:
            found.append(pid)
    return found


def begins(step: str) -> Callable[[Event], bool]:
    return lambda event: event["event"] == "step_started" and event["step"] == step


def assert_on_files(lab: Lab) -> None:
    assert {each["store"] for each in lab.wait_open()["companies"]} == {"files"}
    for company in lab.companies:
        assert lab.message(company.id, "after the kill") == "delivered"
    assert {device["conflicts"] for device in lab.devices()} == {0}


def test_a_controller_that_dies_leaves_no_stopped_application_behind(live: Lab, play: Play) -> None:
    live.break_("postgres-kill")
    before = runs(live)
    with running_playbook(live) as child:
        run = wait_for_event(live, before, begins("stop"))
        processes.signal_tree(child.pid, signal.SIGKILL)
    assert "verify_connection" not in steps_done(run), "killed too late to show anything"
    processes.wait_until(lambda: "verify_connection" in steps_done(run), "the steps of the downtime end", 60)
    assert_on_files(live)
    refused = play("emergency_failover", *extra())
    assert refused.returncode != 0
    assert "is open since" in " ".join(refused.output.split())
    resumed = play("emergency_failover", *extra(failover_open_run="resume"))
    assert resumed.returncode == 0, resumed.output
    assert resumed.reports[-1]["outcome"] == "done"


@pytest.mark.parametrize("step", ["export", "record_store", "start"])
def test_steps_whose_own_process_is_killed_are_done_by_the_playbook(live: Lab, step: str) -> None:
    live.break_("postgres-kill")
    before = runs(live)
    with running_playbook(live) as child:
        run = wait_for_event(live, before, begins(step))
        killed = left_behind(run / "detached.lock", child.pid)
        assert len(killed) == 1
        os.kill(killed[0], signal.SIGKILL)
        assert "verify_connection" not in steps_done(run), "killed too late to show anything"
        assert child.wait(timeout=120) == 0, (live.path / "logs" / "killed-playbook.log").read_text("utf-8")
    assert journal(run)[-1]["outcome"] == "done"
    assert_on_files(live)
