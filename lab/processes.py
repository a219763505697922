# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, recognising and stopping the lab's processes.

A pid alone is not an identity: pids are used again. A process is named by its pid and its start time in clock ticks,
and every child carries the lab's folder in its environment, so that `down` finds what lab.json never came to name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .errors import LabError, LabTimeout

LAB_MARK = "BAILEYS_LAB_DIR"
T = TypeVar("T")


def start_ticks(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, started: int | None = None) -> bool:
    ticks = start_ticks(pid)
    return ticks is not None and (started is None or ticks == started)


def wait_until(check: Callable[[], T | None], what: str, timeout_seconds: float, interval_seconds: float = 0.05) -> T:
    """Poll until check() returns something true, and return that."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise LabTimeout(f"{what}: not within {timeout_seconds:g} seconds")
        time.sleep(interval_seconds)


def lab_environment(lab_dir: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment with the lab's mark and without what would leak into the lab's programs."""
    leaky = (
        "COVERAGE_",
        "COMPANIES",
        "NODE_OPTIONS",
        "PG",
        "PM2_",
        "PORT",
        "POSTGRES_",
        "USE_",
        "WA_",
        "npm_config_prefix",
        "pm_",
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith(leaky)}
    env[LAB_MARK] = str(lab_dir)
    env.update(extra or {})
    return env


def spawn(argv: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, in a session of its own, its output appended to a 0600 log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def spawn_ready(
    argv: Sequence[str], ready: Path, log: Path, env: Mapping[str, str], cwd: Path, timeout_seconds: float = 20.0
) -> dict[str, Any]:
    """Start a process that writes a JSON ready file, and return that file's content."""
    ready.unlink(missing_ok=True)
    process = spawn(argv, log, env, cwd)

    def content() -> dict[str, Any] | None:
        if process.poll() is not None:
            tail = log.read_text(errors="replace")[-2000:]
            raise LabError(
                f"{Path(argv[-1]).name if len(argv) < 3 else ' '.join(argv[1:3])} ended with code "
                f"{process.returncode} before it was ready: {tail}",
                f"see {log}",
            )
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(ready.read_text())
            return found
        return None

    return wait_until(content, f"{ready.name} of process {process.pid}", timeout_seconds, 0.02)


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout_seconds: float, what: str) -> str:
    """Run a program to its end and return its standard output; its output is in the error when it fails."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout_seconds)
    except BaseException as exc:
        # Ctrl-C reaches only this process, since the child has a session of its own: take its whole group along.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(exc, subprocess.TimeoutExpired):
            raise LabTimeout(f"{what}: not done within {timeout_seconds:g} seconds") from exc
        raise
    if process.returncode != 0:
        raise LabError(f"{what} failed with code {process.returncode}: {(err or out).strip()[-3000:]}")
    return out


def tree(pid: int) -> list[int]:
    """A process and all its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for other in all_pids():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(other)
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def signal_tree(pid: int, number: signal.Signals) -> list[int]:
    """Signal a whole tree. The root is stopped first, so that it cannot fork while its children are listed."""
    with contextlib.suppress(ProcessLookupError):
        if number in (signal.SIGKILL, signal.SIGSTOP):
            os.kill(pid, signal.SIGSTOP)
    members = tree(pid)
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, number)
    return members


def reap(pid: int) -> None:
    """Collect the exit status if the process was our own child: a zombie still counts as present for others."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill_all(pids: Sequence[int], timeout_seconds: float = 5.0) -> None:
    """SIGKILL processes and wait until they are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def gone() -> bool:
        for pid in pids:
            reap(pid)
        return not any(is_alive(pid) for pid in pids)

    wait_until(gone, f"end of processes {list(pids)}", timeout_seconds, 0.01)


def stop(pid: int, started: int | None, timeout_seconds: float = 3.0) -> None:
    """End one process: politely, then not."""
    if not is_alive(pid, started):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)

    def gone() -> bool:
        reap(pid)
        return not is_alive(pid, started)

    try:
        wait_until(gone, f"end of process {pid}", timeout_seconds, 0.01)
    except LabTimeout:
        kill_all([pid])


def marked_processes(lab_dir: Path, pm2_home: str | None = None) -> list[int]:
    """Every live process that belongs to a lab."""
    return [
        pid
        for pid in all_pids()
        if pid != os.getpid() and start_ticks(pid) is not None and _belongs(pid, lab_dir, pm2_home)
    ]


def _belongs(pid: int, lab_dir: Path, pm2_home: str | None) -> bool:
    with contextlib.suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"{LAB_MARK}={lab_dir}".encode() in environment:
            return True
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        # A playbook may have started PM2's daemon anew, without our mark. Only Node programs count: a shell in which
        # somebody exported PM2_HOME to look at the lab is not ours to end.
        if program.startswith("node") and pm2_home and f"PM2_HOME={pm2_home}".encode() in environment:
            return True
        # PostgreSQL writes its titles over its environment, but works in its data directory.
        return program.startswith("postgres") and Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(lab_dir)
    return False
