# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook failover_drill against live sessions: whole, refused, failing, killed, and after one that was killed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, playbooks, processes
from lab.inventory import HOST
from lab.state import PROJECT
from tests.integration.playbooks.conftest import Play

LAB = str(PROJECT / "lab" / "lab")


def drill(lab: Lab, fault: str = "postgres-kill", **variables: Any) -> list[str]:
    """Extra variables of a drill: the lab breaks and heals, as an operator's own words would."""
    given: dict[str, Any] = {
        "failover_drill_confirm": HOST,
        "baileys_resilience_production_groups": ["production"],
        "failover_drill_fault": "command",
        "failover_drill_break_command": [LAB, "break", fault, "--dir", str(lab.path)],
        "failover_drill_heal_command": [LAB, "heal", "--dir", str(lab.path)],
        "failover_drill_operator": "maria",
        **variables,
    }
    return ["-e", json.dumps(given)]


def records(lab: Lab) -> list[dict[str, Any]]:
    """On the controller, oldest first."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((lab.path / "drills").glob("*.json"))]


def stores(lab: Lab) -> set[str]:
    return {each["store"] for each in lab.wait_open()["companies"]}


def status(lab: Lab) -> dict[str, Any]:
    done = playbooks.command(lab, "--json", "drill", "status")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def answers(lab: Lab) -> bool:
    """By the way that the application takes."""
    try:
        lab.connect().close()
    except Exception:  # whatever the driver says: it does not answer
        return False
    return True


def test_a_drill_breaks_fails_over_checks_heals_fails_back_and_writes_it_down(live: Lab, play: Play) -> None:
    played = play("failover_drill", *drill(live))
    assert played.returncode == 0, played.output
    record = records(live)[-1]
    assert (record["result"], record["failed"], record["operator"], record["host"]) == ("passed", [], "maria", HOST)
    assert (record["fault"]["kind"], record["fault"]["healed_by"]) == ("command", "the drill, for maria")
    assert {name: each for name, each in record["times"].items() if each is None} == {}
    assert record["times"]["outage"] >= record["times"]["failover_downtime"]
    assert {name: each["outcome"] for name, each in record["runs"].items()} == {"failover": "done", "failback": "done"}
    for company in live.companies:
        entry = record["companies"][company.id]
        assert (entry["connected_on_files"], entry["connected_back"], entry["problem"]) == (True, True, "")
        for place in ("on_files", "back_on_postgres"):
            assert entry[place]["good"]
            assert entry[place]["same"] > 1000
    assert f"drill on {HOST} passed: seen dead after" in played.output
    assert stores(live) == {"postgres"}
    assert status(live) == {"broken": None, "open": None}
    for company in live.companies:
        assert live.message(company.id, "after the drill") == "delivered"
    check_records(live, record)


def check_records(lab: Lab, record: dict[str, Any]) -> None:
    """The same on host and controller, for nobody else to read, without a secret, a JID or a number."""
    name = record["drill"]
    places = [Path(lab.state_dir) / "drills", lab.path / "drills"]
    for kind in ("json", "md"):
        texts = [(place / f"{name}.{kind}").read_text("utf-8") for place in places]
        assert all(stat.S_IMODE((place / f"{name}.{kind}").stat().st_mode) == 0o600 for place in places)
        assert lab.need_postgres().password not in texts[0]
        assert "@s.whatsapp.net" not in texts[0]
        assert texts[0].strip() == texts[1].strip() or json.loads(texts[0]) == json.loads(texts[1])
    assert not (Path(lab.state_dir) / "drill" / "keys.json").exists()
