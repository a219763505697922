# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts on a bad day. The tests go from a blank host to one that is ready, whatever comes between."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from controller import Controller
from machines import container, wait_until
from testinfra.host import Host

# With other work on the machine a task costs seconds.
pytestmark = pytest.mark.timeout(900)

SITE, TOOLKIT = "baileys.resilience.site", "baileys.resilience.toolkit"
COMMAND = "/usr/local/bin/baileys-resilience"
VENV = "/opt/baileys-resilience/venv"
MARK = f"{VENV}/.baileys-resilience-installed"


def test_a_host_without_room_is_told_so_before_anything_is_written(steady: Host, tmp_path: Path) -> None:
    for arguments in (["--check"], []):
        run = Controller(
            tmp_path, TOOLKIT, "--limit", "steady", "-e", "baileys_resilience_prefix=/srv/small/r", *arguments
        )
        assert run.end() != 0
        assert "MiB are free in /srv/small, and the packages need" in run.output
        assert "Nothing was changed. HINT: make room there" in " ".join(run.output.split())
    assert not steady.file("/srv/small/r").exists
    assert not steady.file("/etc/baileys-resilience").exists


def test_an_installation_that_was_killed_with_its_controller_is_made_whole_by_two_at_once(
    steady: Host, tmp_path: Path
) -> None:
    killed = Controller(tmp_path, TOOLKIT, "--limit", "steady")
    wait_until(lambda: steady.file(f"{VENV}/bin/python").exists, 120, "the environment is being made")
    killed.kill()
    steady.run("pkill -9 -f install_packages.py; pkill -9 -f ensurepip; pkill -9 -f 'pip install'")
    assert not steady.file(MARK).exists
    assert not steady.file(COMMAND).exists

    both = [Controller(tmp_path, SITE, "--limit", "steady") for _ in range(2)]
    ends = [each.end() for each in both]
    assert ends == [0, 0], "\n".join(each.output for each in both)
    assert steady.file(MARK).exists
    assert steady.run(f"{VENV}/bin/python -m pip check").rc == 0
    assert steady.run(f"{COMMAND} --version").rc == 0
    assert steady.service("baileys-resilience-mirror").is_running
    assert (
        steady.run(
            "find /opt/baileys-resilience /etc/baileys-resilience -name '*.new' -o -name '.baileys_resilience.*'"
        ).stdout
        == ""
    )

    third = Controller(tmp_path, TOOLKIT, "--limit", "steady")
    assert third.end() == 0, third.output
    assert "changed=0 " in third.recap["steady"]


def test_a_host_that_dies_in_the_middle_keeps_nobody_and_is_named_with_what_is_left(
    steady: Host, doomed: Host, tmp_path: Path
) -> None:
    run = Controller(tmp_path, SITE, "--limit", "steady,doomed")
    wait_until(lambda: doomed.file(f"{VENV}/bin").exists, 120, "the doomed host is in the middle of it")
    subprocess.run(["podman", "kill", container("doomed")], check=True, capture_output=True)
    assert run.end() != 0
    assert "failed=0" in run.recap.get("steady", ""), run.output
    assert "unreachable=0" in run.recap["steady"], run.output
    assert "Not done on 1 of 2 hosts" in run.output
    left = f"ansible-playbook {SITE} --limit doomed"
    assert left in run.output

    subprocess.run(["podman", "start", container("doomed")], check=True, capture_output=True)
    wait_until(lambda: doomed.run("systemctl is-active ssh").stdout.strip() == "active", 60, "it is back")
    again = Controller(tmp_path, *left.split()[1:])
    assert again.end() == 0, again.output
    assert doomed.run(f"{COMMAND} --version").rc == 0
    assert doomed.service("baileys-resilience-mirror").is_running
