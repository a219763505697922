# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user would run instead of the monitor: Debian's prometheus-postgres-exporter, Prometheus and Alertmanager.

Set as quick as they go (a scrape and an evaluation each five seconds, no `for:`, no waiting for a group), with whoever
they tell.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab import Lab, ports

COMMANDS = ("prometheus-postgres-exporter", "prometheus", "prometheus-alertmanager")
START_SECONDS = 60.0
#: What can be said with the metrics that the exporter has by default.
RULES = """\
groups:
  - name: postgres
    rules:
      - alert: PostgresDown
        expr: up == 0 or pg_up == 0 or absent(pg_up)
      - alert: PostgresReadOnly
        expr: pg_settings_default_transaction_read_only == 1
      - alert: PostgresConnections
        expr: sum(pg_stat_activity_count) > 0.8 * max(pg_settings_max_connections)
"""
PROMETHEUS = """\
global: {{scrape_interval: 5s, scrape_timeout: 4s, evaluation_interval: 5s}}
rule_files: [rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs: [{{job_name: postgres, static_configs: [{{targets: ["127.0.0.1:{exporter}"]}}]}}]
"""
ALERTMANAGER = """\
route: {{receiver: us, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: us, webhook_configs: [{{url: "http://127.0.0.1:{webhook}/", send_resolved: true}}]}}]
"""


def missing() -> list[str]:
    """Those of the three that this machine lacks."""
    return [each for each in COMMANDS if shutil.which(each) is None]


class Peers:
    """`told` has the moment of each word of Alertmanager, and whether it was of a trouble or of an end."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self.processes = processes
        self.told: list[tuple[float, str]] = []

    def wait_for(self, status: str, since: float, patience: float) -> float | None:
        """Seconds after `since`; None where nothing is said within `patience`."""
        while time.monotonic() - since < patience:
            for at, said in self.told:
                if at >= since and said == status:
                    return at - since
            time.sleep(0.01)
        return None

    def pids(self) -> list[int]:
        return [each.pid for each in self.processes]


def _webhook(peers: Peers) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            peers.told.append((time.monotonic(), content["status"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nobody reads it."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextmanager
def running(lab: Lab, work: Path) -> Iterator[Peers]:
    """All three beside a lab, through its network, watched until all is well."""
    work = work.resolve()
    work.mkdir()
    server = lab.need_postgres()
    processes: list[subprocess.Popen[bytes]] = []
    peers = Peers(processes)
    webhook = _webhook(peers)
    port = {"exporter": ports.reserve(), "prometheus": ports.reserve(), "alertmanager": ports.reserve()}
    (work / "rules.yml").write_text(RULES)
    (work / "prometheus.yml").write_text(PROMETHEUS.format(**port))
    (work / "alertmanager.yml").write_text(ALERTMANAGER.format(webhook=webhook.server_address[1]))
    at = {name: f"--web.listen-address=127.0.0.1:{number}" for name, number in port.items()}
    environment = os.environ | {
        "DATA_SOURCE_URI": f"{server.host}:{server.proxy_port}/{server.database}?sslmode=disable",
        "DATA_SOURCE_USER": server.user,
        # In the place that it has for that, it takes no password with a quote in it.
        "PGPASSWORD": server.password,
    }
    argvs = [
        [COMMANDS[0], at["exporter"]],
        [COMMANDS[2], f"--config.file={work}/alertmanager.yml", f"--storage.path={work}/alerts",
         "--cluster.listen-address=", at["alertmanager"]],
        [COMMANDS[1], f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/series", at["prometheus"]],
    ]  # fmt: skip
    try:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        with (work / "log").open("wb") as log:
            for argv in argvs:
                processes.append(
                    subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=work)
                )
        _wait_until_well(port["prometheus"], work / "log")
        yield peers
    finally:
        for each in processes:
            each.send_signal(signal.SIGTERM)
        for each in processes:
            each.wait(timeout=30)
        webhook.shutdown()
        webhook.server_close()


def _wait_until_well(port: int, log: Path) -> None:
    limit = time.monotonic() + START_SECONDS
    answer = "nothing"
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query=pg_up", timeout=5) as response:
                answer = response.read().decode()
            if [each["value"][1] for each in json.loads(answer)["data"]["result"]] == ["1"]:
                return
        except (urllib.error.URLError, OSError) as exc:
            answer = str(exc)
        time.sleep(0.2)
    raise AssertionError(f"the exporter sees no PostgreSQL: {answer}\n{log.read_text()[-2000:]}")
