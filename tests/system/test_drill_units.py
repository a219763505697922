# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults stop, kill and freeze on a unit of a real systemd, which would restart it at once if it were let."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.system.containers import Host, wait_until

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(600)

PROGRAM = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from baileys_resilience.drill.broken import BrokenHost
from baileys_resilience.drill.faults import Fault
from baileys_resilience.errors import ResilienceError

what, kind, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
host = BrokenHost(Path("/srv/drill"))
try:
    if what == "break":
        host.break_it(Fault(kind, unit="database"), "d1", "maria", seconds)
    elif what == "heal":
        host.heal_it("maria")
    broken, healed = host.current(), host.healed("d1")
    print(json.dumps({"broken": broken and broken.since, "by": healed and healed.by, "error": ""}))
except ResilienceError as exc:
    print(json.dumps({"error": str(exc)}))
"""
SERVER = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"


def act(host: Host, what: str, kind: str = "stop", seconds: float = 600) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.run("python3", "-c", PROGRAM, what, kind, str(seconds)).stdout)
    return found


def answers(host: Host, port: int) -> bool:
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1)"
    return host.run("python3", "-c", ask, check=False).returncode == 0


@pytest.fixture(scope="module")
def port(host: Host) -> int:
    """A server that systemd restarts whenever it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    host.write("/srv/server.py", SERVER)
    lines = f"ExecStart=/usr/bin/python3 /srv/server.py {number}\nRestart=always\nRestartSec=0\n"
    host.unit("database.service", f"[Service]\n{lines}")
    host.run("systemctl", "start", "database.service")
    wait_until(lambda: answers(host, number), 30, "the server answers")
    return number


@pytest.mark.parametrize("kind", ["stop", "kill", "freeze"])
def test_a_unit_that_is_broken_stays_so_until_it_is_healed(host: Host, port: int, kind: str) -> None:
    assert act(host, "break", kind)["error"] == ""
    assert not answers(host, port)
    assert act(host, "heal") == {"broken": None, "by": "maria", "error": ""}
    wait_until(lambda: answers(host, port), 30, "the server answers again")
    assert host.run("find", "/run/systemd/system", "-name", "baileys-resilience-drill*").stdout == ""
    assert host.run("systemctl", "show", "--property=Restart", "--value", "database").stdout == "always\n"


@pytest.mark.parametrize("kind", ["kill", "freeze"])
def test_the_watch_outlives_whoever_broke_the_unit_and_heals_it(host: Host, port: int, kind: str) -> None:
    assert act(host, "break", kind, 2)["error"] == ""
    wait_until(lambda: act(host, "look")["broken"] is None, 60, "the watch has healed")
    assert act(host, "look")["by"] == "the watch"
    wait_until(lambda: answers(host, port), 30, "the server answers again")


def test_what_a_drill_left_is_healed_after_a_reboot(host: Host, port: int) -> None:
    """The watch is gone, and the unit is down since nothing starts it at boot."""
    assert act(host, "break", "kill")["error"] == ""
    host.restart()
    assert act(host, "look")["broken"]
    assert not answers(host, port)
    act(host, "heal")
    wait_until(lambda: answers(host, port), 30, "the server answers again")


def test_a_unit_without_processes_is_refused_and_the_hint_says_where_to_look(host: Host, port: int) -> None:
    """Debian's postgresql.service is a bracket around the units of its clusters."""
    host.unit("bracket.service", "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\n")
    host.run("systemctl", "start", "bracket.service")
    program = PROGRAM.replace('unit="database"', 'unit="bracket"')
    said = json.loads(host.run("python3", "-c", program, "break", "kill", "60").stdout)["error"]
    assert "no process belongs to it" in said
    assert "systemctl list-units 'postgresql@*'" in said
    assert answers(host, port)
