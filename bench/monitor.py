# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the monitor takes to tell of each fault, and what it costs, beside Prometheus on the same faults.

The real command with its own defaults beside the lab's PostgreSQL. Each fault comes at a random moment of another part
of the monitor's interval, so that a few trials cover it; the time is from the fault to the notice: a line of the
monitor's log, and the request of Alertmanager. CPU and memory are of the processes while all is well.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from baileys_resilience.sessions.published import create_schema
from bench import prometheus_peers
from bench.measure import Result, human, seconds
from bench.monitor_faults import Fault, all_faults
from lab import Lab, ports
from tests.support.database import fill_many

INTERVAL_SECONDS = 5.0
COMPANIES = 100
PATIENCE_SECONDS = 60.0
#: A fault that the peers have not told for so long in the first two trials is none that they tell.
PEERS_PATIENCE_SECONDS = 30.0
IDLE_SECONDS = 60.0
WORST_FLOOR_SECONDS, CPU_FLOOR_PERCENT, MEMORY_FLOOR_MIB, METRICS_FLOOR_SECONDS = 15.0, 1.0, 60.0, 0.010
DISK_SIZE = "1g"
#: side by side, each with its own server and those who watch it; all of them wait most of the time
LABS = 3


class Running:
    """The command, and what it says with the moment at which it said it."""

    def __init__(self, config: Path, port: int) -> None:
        argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "--json", "monitor"]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        self.port = port
        self.said: list[tuple[float, dict[str, str]]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                self.said.append((time.monotonic(), json.loads(line)))

    def wait_for(self, kind: str, since: float) -> float:
        """Seconds after `since`."""
        while time.monotonic() - since < PATIENCE_SECONDS:
            for at, what in self.said:
                if at >= since and what.get("kind") == kind:
                    return at - since
            time.sleep(0.01)
        raise AssertionError(f"no {kind} within {PATIENCE_SECONDS:g} s: {self.said[-3:]}")

    def wait_until_up(self) -> None:
        """Until it answers and has looked once."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._looks()
                return
            except (OSError, StopIteration):
                if time.monotonic() > limit:
                    raise
            time.sleep(0.05)

    def wait_for_a_look(self) -> None:
        """Until one has just ended."""
        looks = self._looks()
        while self._looks() == looks:
            time.sleep(0.05)

    def _looks(self) -> float:
        """By the time of the last read, since the disk and the applications are looked at as well."""
        wanted = 'wa_session_probe_last_success_timestamp_seconds{operation="read"}'
        lines = self.ask_metrics().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    def ask_metrics(self) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
            content: bytes = response.read()
        return content


@dataclass
class Detection:
    """Seconds of each trial; of the peers only those in which they told anything."""

    fault: Fault
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    #: in which the peers were waited for
    asked: int = 0

    def result(self) -> Result:
        ours, worst = statistics.median(self.ours), max(self.ours)
        theirs = statistics.median(self.theirs) if self.theirs else None
        said = f"{human(theirs)}, worst {human(max(self.theirs))}" if theirs else "not told"
        if theirs and len(self.theirs) < self.asked:
            said += f", {self.asked - len(self.theirs)} of {self.asked} not told"
        return Result(
            f"From the fault to the notice: {self.fault.name}",
            f"{human(ours)}, worst {human(worst)}",
            said,
            ours / theirs if theirs else None,
            f"<= {self.fault.floor_seconds:g} s, worst <= {WORST_FLOOR_SECONDS:g} s",
            ours <= self.fault.floor_seconds and worst <= WORST_FLOOR_SECONDS,
        )


def run(work: Path, trials: int) -> list[Result]:
    lacking = prometheus_peers.missing()
    if lacking:
        raise SystemExit(f"bench: {', '.join(lacking)} is missing. HINT: apt-get install {' '.join(lacking)}")
    work.mkdir()
    with ThreadPoolExecutor(LABS) as pool:
        parts = [pool.submit(_in_a_lab, work / str(number), number, trials) for number in range(LABS)]
        found = [part.result() for part in parts]
    detected = {name: result for results, _cost in found for name, result in results.items()}
    return [*(detected[number] for number in sorted(detected)), *found[0][1]]


def _in_a_lab(work: Path, number: int, trials: int) -> tuple[dict[int, Result], list[Result]]:
    """Each of so many faults, by its number, and what watching costs."""
    work.mkdir()
    with _disk(work / "disk") as disk:
        lab = Lab.up((disk or work) / "lab", app=False)
        try:
            with contextlib.closing(lab.connect(direct=True)) as connection, connection:
                create_schema(connection.cursor())
                fill_many(connection, COMPANIES)
            with monitor(lab, work) as ours, prometheus_peers.running(lab, work / "peers") as theirs:
                time.sleep(INTERVAL_SECONDS)
                costs = _costs(ours, theirs)
                mine = [each for each in enumerate(all_faults(lab, disk)) if each[0] % LABS == number]
                return {place: _detect(fault, ours, theirs, trials) for place, fault in mine}, costs
        finally:
            lab.down()


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[Path | None]:
    """A small file system of its own, which only root can make."""
    if os.geteuid() != 0:
        print("bench: without root no disk can be filled; that fault is left out", file=sys.stderr)
        yield None
        return
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "baileys-bench", path], check=True, timeout=20)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True, timeout=20)


@contextlib.contextmanager
def monitor(lab: Lab, work: Path, **more: str) -> Iterator[Running]:
    """``more`` are settings beside those of a monitor of this lab."""
    server = lab.need_postgres()
    port = ports.reserve()
    content = {
        "database": {"host": server.host, "port": server.proxy_port, "dbname": server.database,
                     "user": server.user, "password": server.password},
        # Trials that follow each other would be one fault that comes and goes.
        "alerts": {"flap_changes": 1000},
        "state_dir": str(work / "state"), "listen": {"port": port}, "data_dirs": [server.data_dir], **more,
    }  # fmt: skip
    config = work / "monitor.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(content))
    running = Running(config, port)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(timeout=30)


def _detect(fault: Fault, ours: Running, theirs: prometheus_peers.Peers, trials: int) -> Result:
    found = Detection(fault)
    for part in range(trials):
        ours.wait_for_a_look()
        time.sleep(INTERVAL_SECONDS * random.uniform(part, part + 1) / trials)
        began = time.monotonic()
        there = fault.break_()
        began = there if isinstance(there, float) else began
        found.ours.append(ours.wait_for("alert", began))
        told = None
        if found.theirs or found.asked < 2:
            found.asked += 1
            told = theirs.wait_for("firing", began, PEERS_PATIENCE_SECONDS)
        if told is not None:
            found.theirs.append(told)
        healed = time.monotonic()
        fault.heal()
        ours.wait_for("recovery", healed)
        if told is not None and theirs.wait_for("resolved", healed, PATIENCE_SECONDS) is None:
            raise AssertionError(f"{fault.name}: Alertmanager did not say that it is over")
    result = found.result()
    print(f"{result.name}: {result.ours} (theirs: {result.theirs})", file=sys.stderr, flush=True)
    return result


def _costs(ours: Running, theirs: prometheus_peers.Peers) -> list[Result]:
    sides: Sequence[list[int]] = ([ours.process.pid], theirs.pids())
    before = [sum(_cpu_seconds(pid) for pid in pids) for pids in sides]
    time.sleep(IDLE_SECONDS)
    after = [sum(_cpu_seconds(pid) for pid in pids) for pids in sides]
    cpu = [100 * (late - early) / IDLE_SECONDS for early, late in zip(before, after, strict=True)]
    peak = [sum(_peak_mib(pid) for pid in pids) for pids in sides]
    ours.ask_metrics()
    asked = statistics.median(seconds(ours.ask_metrics) for _each in range(50))
    return [
        Result("CPU while all is well, of a core", f"{cpu[0]:.2f} %", f"{cpu[1]:.2f} %",
               cpu[0] / cpu[1] if cpu[1] else None, f"<= {CPU_FLOOR_PERCENT:g} %", cpu[0] <= CPU_FLOOR_PERCENT),
        Result("Resident memory at most", f"{peak[0]:.0f} MiB", f"{peak[1]:.0f} MiB", peak[0] / peak[1],
               f"<= {MEMORY_FLOOR_MIB:g} MiB", peak[0] <= MEMORY_FLOOR_MIB),
        Result(f"An answer of `/metrics` with {COMPANIES} companies", human(asked), "", None,
               f"<= {human(METRICS_FLOOR_SECONDS)}", asked <= METRICS_FLOOR_SECONDS),
    ]  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
