# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m bench.monitor [--trials N]`: how long the monitor takes to tell of each fault, and what it costs.

The real command with its own defaults beside the lab's PostgreSQL. Each fault comes at a random moment of the monitor's
interval; the time is from the fault to the notice. CPU and memory are of the monitor's process while all is well.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from baileys_resilience.sessions.published import create_schema
from lab import Lab, ports, postgres
from tests.support.database import fill_many

INTERVAL_SECONDS = 5.0
COMPANIES = 100
PATIENCE_SECONDS = 60.0


class Running:
    """The command, and what it says with the moment at which it said it."""

    def __init__(self, config: Path) -> None:
        argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "--json", "monitor"]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        self.said: list[tuple[float, dict[str, str]]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with contextlib.suppress(ValueError):
                self.said.append((time.monotonic(), json.loads(line)))

    def wait_for(self, kind: str, since: float) -> tuple[float, str]:
        """Seconds after `since`, and the cause."""
        while time.monotonic() - since < PATIENCE_SECONDS:
            for at, what in self.said:
                if at >= since and what.get("kind") == kind:
                    return at - since, what["cause"]
            time.sleep(0.01)
        raise AssertionError(f"no {kind} within {PATIENCE_SECONDS:g} s: {self.said[-3:]}")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def faults(lab: Lab) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """name -> (break, heal)."""
    server = lab.need_postgres()

    def superuser(*statements: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.closing(lab.connect(superuser=True, direct=True, database="postgres")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    for each in statements:
                        cursor.execute(each)

        return run

    def stop_postmaster() -> None:
        pid = postgres.postmaster_pid(server)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)

    def heal() -> None:
        lab.heal()

    def named(name: str) -> Callable[[], None]:
        return lambda: void(lab.break_(name))

    role, standby = f'ROLE "{server.user}"', "ALTER SYSTEM {} synchronous_standby_names"
    reload = "SELECT pg_reload_conf()"
    return {
        "killed": (named("postgres-kill"), heal),
        "frozen": (named("postgres-freeze"), heal),
        "only the postmaster frozen": (stop_postmaster, heal),
        "packets dropped": (named("network-drop"), heal),
        "connections reset": (named("network-reset"), heal),
        "read-only by default": (
            superuser(f"ALTER {role} SET default_transaction_read_only = on"),
            superuser(f"ALTER {role} RESET default_transaction_read_only"),
        ),
        "role may not log in": (superuser(f"ALTER {role} NOLOGIN"), superuser(f"ALTER {role} LOGIN")),
        "synchronous standby missing": (
            superuser(standby.format("SET") + " = 'nobody'", reload),
            superuser(standby.format("RESET"), reload),
        ),
    }


def void(_value: object) -> None:
    return None


@contextlib.contextmanager
def monitor(lab: Lab, work: Path) -> Iterator[Running]:
    server = lab.need_postgres()
    content = {
        "database": {"host": server.host, "port": server.proxy_port, "dbname": server.database,
                     "user": server.user, "password": server.password},
        # Trials that follow each other would be one fault that comes and goes.
        "alerts": {"flap_changes": 1000},
        "state_dir": str(work / "state"), "listen": {"port": ports.reserve()}, "data_dirs": [server.data_dir],
    }  # fmt: skip
    config = work / "monitor.json"
    config.write_text(json.dumps(content))
    config.chmod(0o600)
    running = Running(config)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(timeout=30)


def detection(lab: Lab, running: Running, trials: int) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for name, (break_, heal) in faults(lab).items():
        seconds: list[float] = []
        causes = set()
        for _each in range(trials):
            time.sleep(INTERVAL_SECONDS + random.uniform(0, INTERVAL_SECONDS))
            began = time.monotonic()
            break_()
            took, cause = running.wait_for("alert", began)
            seconds.append(took)
            causes.add(cause)
            healed = time.monotonic()
            heal()
            running.wait_for("recovery", healed)
        found[name] = {
            "cause": sorted(causes),
            "median_s": round(statistics.median(seconds), 1),
            "worst_s": round(max(seconds), 1),
            "trials": trials,
        }
        print(name, found[name], file=sys.stderr, flush=True)
    return found


def cost(running: Running, seconds: float) -> dict[str, float]:
    before = running.cpu_seconds()
    time.sleep(seconds)
    spent = running.cpu_seconds() - before
    return {"cpu_percent_of_a_core": round(100 * spent / seconds, 2), "peak_mib": round(running.peak_mib(), 1)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.monitor", description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="of each fault")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds over which CPU is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-monitor-") as folder:
        work = Path(folder)
        lab = Lab.up(work / "lab", app=False)
        try:
            with contextlib.closing(lab.connect(direct=True)) as connection, connection:
                create_schema(connection.cursor())
                fill_many(connection, COMPANIES)
            with monitor(lab, work) as running:
                time.sleep(INTERVAL_SECONDS)
                result = {"cost": cost(running, options.idle), "detection": detection(lab, running, options.trials)}
        finally:
            lab.down()
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
