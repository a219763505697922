# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database is away, and the sessions were moved to files under the running application."""

from __future__ import annotations

import json

import pytest
from application import STATE
from client import APP, Client
from testinfra.host import Host

pytestmark = pytest.mark.usefixtures("client_host")


def test_the_same_process_reads_and_writes_from_files(client: Client) -> None:
    client.app.assert_lives_in("files")
    assert client.pid() == int((STATE / "application_pid").read_text("utf-8"))
    assert client.states() == dict.fromkeys(client.companies, "online")
    assert client.journals() == []


def test_record_and_settings_say_files(client: Client, client_host: Host) -> None:
    said = json.loads(client_host.check_output("baileys-resilience --json failover status"))
    assert {company: each["store"] for company, each in said["companies"].items()} == dict.fromkeys(
        client.companies, "files"
    )
    assert "USE_DATABASE_AUTH_STATE=false" in client_host.file(f"{APP}/.env").content_string.splitlines()


def test_the_report_says_that_nothing_was_restarted(client: Client) -> None:
    found = [json.loads(path.read_text("utf-8")) for path in (STATE / "reports").glob("app-client-*.json")]
    last = max(found, key=lambda report: report["run"])
    assert (last["operation"], last["outcome"], last["mode"]) == ("failover", "done", "live")
    assert {company: each["source"] for company, each in last["companies"].items()} == dict.fromkeys(
        client.companies, "client"
    )


def test_nobody_but_the_applications_user_can_read_the_files(client: Client, client_host: Host) -> None:
    for company in client.companies:
        found = client_host.check_output(
            f"find {APP}/baileys_sessions/company_{company}/ -printf '%y %m %u\\n' | sort -u"
        )
        assert found.splitlines() == ["d 700 whatsapp", "f 600 whatsapp"]
