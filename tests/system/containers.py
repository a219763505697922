# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a real systemd: a Debian image of scripts/host-image, and containers of it under podman."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = PROJECT / "plugins" / "module_utils" / "_resilience"
PROGRAM = Path(__file__).with_name("service_program.py")
#: what the library imports; the hosts of molecule get it from the role toolkit
PACKAGES = ("python3-psycopg2", "python3-cryptography", "python3-prometheus-client")
#: a container that outlives a killed test run ends by itself
LIFETIME_SECONDS = 1800
LABEL = "baileys-resilience-test"


@dataclass(frozen=True)
class Host:
    """A running container."""

    name: str

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return podman("exec", "--interactive", self.name, *argv, check=check, stdin=stdin)

    def write(self, path: str, content: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path, stdin=content)

    def ask(self, *words: str, **arguments: Any) -> dict[str, Any]:
        """Run the library inside: the answer of service_program.py."""
        done = self.run("python3", "/srv/service_program.py", *words, json.dumps(arguments))
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def unit(self, name: str, lines: str) -> None:
        self.write(f"/etc/systemd/system/{name}", lines)
        self.run("systemctl", "daemon-reload")

    def wait_until_up(self) -> None:
        def state() -> str:
            return self.run("systemctl", "is-system-running", check=False).stdout.strip()

        wait_until(lambda: state() in ("running", "degraded"), 60, "systemd is up")

    def restart(self) -> None:
        podman("restart", "--time", "10", self.name)
        self.wait_until_up()


@contextmanager
def systemd_host(name: str) -> Iterator[Host]:
    """A privileged container (hardened units need that) on the host's network, gone at the end."""
    image = ensure_image()
    # What a killed run left; not --rm, which would also take a host away that only reboots.
    podman("container", "prune", "--force", "--filter", f"label={LABEL}", "--filter", "until=60m")
    try:
        podman(
            "run", "--detach", "--label", LABEL, "--privileged", "--systemd=always", "--network=host", "--name", name,
            "--timeout", str(LIFETIME_SECONDS),
            "--volume", f"{LIBRARY}:/usr/lib/python3/dist-packages/baileys_resilience:ro",
            "--volume", f"{PROGRAM}:/srv/service_program.py:ro",
            image, "/sbin/init",
        )  # fmt: skip
        host = Host(name)
        host.wait_until_up()
        yield host
    finally:
        podman("rm", "--force", "--ignore", "--time", "2", name, check=False)


def ensure_image() -> str:
    """Name of the image; built on the first call on a machine (about a minute, from the host's own apt sources)."""
    return _run([str(PROJECT / "scripts" / "host-image"), *PACKAGES], seconds=600).stdout.strip()


def podman(*words: str, check: bool = True, seconds: float = 60, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return _run(["podman", *words], check=check, seconds=seconds, stdin=stdin, env=podman_environment())


def podman_environment() -> dict[str, str]:
    """For whoever starts podman: our containers.conf."""
    return {**os.environ, "CONTAINERS_CONF": str(PROJECT / "scripts" / "containers.conf")}


def _run(
    argv: list[str], *, check: bool = True, seconds: float, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=seconds, env=env, check=False)
    except FileNotFoundError as exc:
        raise AssertionError(f"{argv[0]} is missing. HINT: scripts/install-system-packages") from exc
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(argv[:4])} ... ended with {done.returncode}: {done.stderr.strip()[-800:]}")
    return done


def wait_until(condition: Any, seconds: float, what: str) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
