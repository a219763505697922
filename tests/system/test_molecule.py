# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quickest scenario of molecule, and what a run leaves behind. `make molecule` runs all of them."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.system.containers import PROJECT, podman

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(1200)

NAMES = "baileys-resilience-molecule"


def run_default(*words: str) -> subprocess.CompletedProcess[str]:
    """The whole scenario, with its own two hosts out of the eight that the scenarios share. `words` go to Ansible."""
    hosts = ["--limit", "localhost:database:blank"]
    return subprocess.run(
        [PROJECT / "scripts" / "molecule", "test", "--scenario-name", "default", "--", *hosts, *words],
        capture_output=True, text=True, timeout=1100, check=False,
    )  # fmt: skip


def left_behind() -> list[str]:
    containers = podman("ps", "--all", "--format", "{{.Names}}", "--filter", f"name={NAMES}")
    networks = podman("network", "ls", "--format", "{{.Name}}", "--filter", f"name={NAMES}")
    return (containers.stdout + networks.stdout).split()


# In the quick part, though it takes two minutes: nothing else sees check mode and removal on a host that has nothing.
def test_a_blank_host_gets_everything_follows_the_database_and_gives_everything_back() -> None:
    done = run_default()
    assert done.returncode == 0, (done.stdout + done.stderr)[-12000:]
    assert left_behind() == []


def test_a_run_that_fails_while_it_makes_hosts_removes_them_and_touches_no_other_container() -> None:
    """molecule itself removes nothing then: scripts/molecule does."""
    bystander = f"{NAMES}-bystander"
    image = subprocess.run([PROJECT / "scripts" / "host-image"], capture_output=True, text=True, check=True)
    podman("run", "--detach", "--replace", "--name", bystander, image.stdout.strip(), "sleep", "1200")
    try:
        wrong = json.dumps({"machine_volumes": ["/no/such/folder:/srv"]})
        done = run_default("-e", wrong)
        assert done.returncode != 0
        assert "/no/such/folder" in done.stdout
        assert left_behind() == [bystander]
    finally:
        podman("rm", "--force", "--time", "0", bystander)
