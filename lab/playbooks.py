# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the collection's playbooks against a lab, and the mirror beside it, as an operator would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from . import processes
from .errors import LabError
from .inventory import HOST
from .state import PROJECT, LabState

PLAYBOOK_SECONDS = 240.0
Listener = Callable[[str], None]


@dataclass
class Played:
    """One run of a playbook: how it ended, how long it took, what it printed, and the reports it left."""

    returncode: int
    seconds: float
    output: str
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def recap(self) -> dict[str, int]:
        """ok, changed, failed, ... of the lab's host."""
        lines = [line for line in self.output.splitlines() if line.startswith(HOST) and "unreachable=" in line]
        if not lines:
            return {}
        pairs = (word.split("=") for word in lines[-1].split(":", 1)[1].split())
        return {name: int(number) for name, number in pairs}


def environment(state: LabState) -> dict[str, str]:
    """What ansible-playbook needs to find the collection as it ships, and nothing of the caller's own Ansible."""
    python = Path(sys.executable)
    done = subprocess.run([PROJECT / "scripts" / "collection-dir"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the collection cannot be built: {done.stderr.strip()}", "make setup")
    # A test that counts lines has none to count in ansible-playbook, and would wait for it half as long again.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "COVERAGE_"))}
    return {
        **own,
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PWD": str(state.path),
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": done.stdout.strip(),
        "ANSIBLE_HOME": str(state.path / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        processes.LAB_MARK: str(state.path),
    }


def play(
    state: LabState, name: str, *arguments: str, listener: Listener | None = None, env: dict[str, str] | None = None
) -> Played:
    """Run `ansible-playbook baileys.resilience.<name>` in the lab's folder; reports go to `<lab>/reports`."""
    command = ["ansible-playbook", "-i", str(state.path / "inventory.yml"), f"baileys.resilience.{name}", *arguments]
    before = _written(state)
    began = time.monotonic()
    lines: list[str] = []
    child = subprocess.Popen(
        command,
        cwd=state.path,
        env=env or environment(state),
        text=True,
        bufsize=1,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.append(line)
            if listener:
                listener(line.rstrip("\n"))
            if time.monotonic() - began > PLAYBOOK_SECONDS:
                raise LabError(f"{name} did not end within {PLAYBOOK_SECONDS:g} s", "".join(lines)[-2000:])
        code = child.wait(timeout=30)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    # A run that was left open and is resumed has one report, written anew.
    fresh = [path for path, when in _written(state).items() if before.get(path) != when]
    reports = [json.loads(path.read_text("utf-8")) for path in fresh]
    return Played(code, time.monotonic() - began, "".join(lines), reports)


def _written(state: LabState) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in report_files(state)}


def report_files(state: LabState) -> list[Path]:
    """The JSON reports on the controller, oldest first."""
    return sorted((state.path / "reports").glob("*.json"))


def command(state: LabState, *words: str, timeout_seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """`baileys-resilience ...` with the configuration that failover_prepare.yml wrote."""
    argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(state.path / "failover.json"), *words]
    return subprocess.run(
        argv,
        cwd=state.path,
        env=processes.lab_environment(state.path),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


@contextmanager
def mirror(state: LabState, interval_seconds: float = 2.0) -> Iterator[Callable[[], float]]:
    """Run the live mirror as a process of the lab. Yields a function that waits until everything that PostgreSQL held
    when it was called is in the mirror, and returns the seconds that took.
    """
    argv = [
        sys.executable,
        "-m",
        "baileys_resilience.cli",
        "--config",
        str(state.path / "failover.json"),
        "mirror",
        "run",
        "--interval",
        str(interval_seconds),
    ]
    with open(state.path / "logs" / "mirror.log", "ab") as log:
        child = subprocess.Popen(
            argv,
            cwd=state.path,
            env=processes.lab_environment(state.path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def caught_up() -> float:
        began = time.monotonic()
        wanted = time.time()
        processes.wait_until(lambda: _mirrored_at(state, child) > wanted, "the mirror is up to date", 60, 0.2)
        return time.monotonic() - began

    try:
        yield caught_up
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _mirrored_at(state: LabState, child: subprocess.Popen[bytes]) -> float:
    """Time of the mirror's snapshot, in seconds since the epoch; 0 while there is none."""
    if child.poll() is not None:
        log = state.path / "logs" / "mirror.log"
        raise LabError(f"the mirror ended with exit code {child.returncode}", log.read_text("utf-8")[-2000:])
    done = command(state, "--json", "mirror", "status")
    if not done.stdout.startswith("{"):
        return 0.0
    snapshot_at = json.loads(done.stdout).get("snapshot_at")
    return datetime.fromisoformat(snapshot_at).timestamp() if snapshot_at else 0.0
