# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three ways to break the database were drilled, and nothing of them is left."""

from __future__ import annotations

import json

from application import STATE
from machines import machine
from testinfra.host import Host


def test_each_drill_passed_and_its_record_came_to_the_controller() -> None:
    records = [json.loads(path.read_text("utf-8")) for path in sorted((STATE / "drills").glob("*.json"))]
    found = [(each["fault"]["kind"], each["fault"]["host"], each["result"], each["failed"]) for each in records]
    assert found == [
        ("kill", "database", "passed", []),
        ("freeze", "database", "passed", []),
        ("isolate", "app-systemd", "passed", []),
    ]
    # A server that keeps silent is seen when the patience is over, one that is gone at once.
    silent = [each["times"]["detection"] for each in records[1:]]
    assert records[0]["times"]["detection"] < min(silent), records
    for record in records:
        assert all(
            each["on_files"]["good"] and each["back_on_postgres"]["good"] for each in record["companies"].values()
        )


def test_nothing_of_a_drill_is_left_on_the_hosts(database: Host) -> None:
    for host in (database, machine("app-systemd")):
        assert "baileys_resilience_drill" not in host.check_output("nft list tables")
        assert not host.file("/var/lib/baileys-resilience/drill/fault.json").exists
        assert "baileys-drill" not in host.run("cat /proc/[0-9]*/comm").stdout.splitlines()
    assert host.check_output("find /run/systemd/system -name 'baileys-resilience-drill*'") == ""
    assert database.check_output("find /run/systemd/system -name 'baileys-resilience-drill*'") == ""
