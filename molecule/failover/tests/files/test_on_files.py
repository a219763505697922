# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is away; the sessions live in files."""

from __future__ import annotations

import json

import pytest
from application import STATE, App
from testinfra.host import Host

SESSIONS = "/opt/baileys-whatsapp-service/baileys_sessions"
pytestmark = pytest.mark.usefixtures("app_host")


def test_every_session_reads_and_writes_from_files(app: App) -> None:
    app.assert_lives_in("files")


def test_the_application_runs_the_prepared_code_as_its_owner(app: App, app_host: Host) -> None:
    assert app_host.file("/opt/baileys-whatsapp-service").linked_to == "/opt/baileys-whatsapp-service-files"
    pid = app.ask("/health")["pid"]
    assert app_host.check_output(f"stat -c %U /proc/{pid}") == "whatsapp"


def test_nobody_but_the_owner_can_read_the_sessions(app_host: Host, app: App) -> None:
    for company in app.companies:
        found = app_host.check_output(f"find {SESSIONS}/company_{company}/ -printf '%y %m %u\\n' | sort -u")
        assert found.splitlines() == ["d 700 whatsapp", "f 600 whatsapp"]


def test_the_report_says_who_is_connected_and_came_to_the_controller(app: App) -> None:
    found = [json.loads(path.read_text("utf-8")) for path in (STATE / "reports").glob(f"{app.name}-*.json")]
    last = max(found, key=lambda report: report["run"])
    assert (last["operation"], last["outcome"]) == ("failover", "done")
    assert {company: entry["connected"] for company, entry in last["companies"].items()} == dict.fromkeys(
        app.companies, True
    )


def test_the_mirror_waits_for_the_database_and_does_not_end(app_host: Host) -> None:
    assert app_host.service("baileys-resilience-mirror.service").is_running
