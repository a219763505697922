# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Prometheus on a free port, in a folder of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import ports
from tests.system.containers import wait_until

_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@dataclass(frozen=True)
class Prometheus:
    port: int

    def ask(self, path: str, **parameters: str) -> Any:
        """``data`` of the answer of its API. Raises AssertionError with its own words for a question that is wrong."""
        query = urllib.parse.urlencode(parameters)
        try:
            with _OPEN(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series with a value that is a number."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return [each for each in found if each["value"][1] != "NaN"]

    def firing(self) -> set[str]:
        alerts = self.ask("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def ready(self) -> bool:
        try:
            with _OPEN(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def promtool(*words: str | Path) -> str:
    done = subprocess.run([_program("promtool"), *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(folder: Path, configuration: Mapping[str, Any]) -> Iterator[Prometheus]:
    """``folder`` has what the configuration refers to by relative names."""
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(dict(configuration), sort_keys=False))
    promtool("check", "config", file)
    made = Prometheus(ports.reserve())
    command = [
        _program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{made.port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: made.ready() or process.poll() is not None, 30, "Prometheus is ready")
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing. HINT: scripts/install-system-packages"
    return found
