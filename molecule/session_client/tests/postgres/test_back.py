# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions were moved back to PostgreSQL under the running application."""

from __future__ import annotations

import json

import pytest
from application import STATE
from client import APP, Client
from testinfra.host import Host

pytestmark = pytest.mark.usefixtures("client_host")


def test_the_same_process_reads_and_writes_from_postgresql(client: Client) -> None:
    client.app.assert_lives_in("postgres")
    assert client.pid() == int((STATE / "application_pid").read_text("utf-8"))
    assert client.health_check().rc == 0


def test_record_and_settings_say_postgresql(client: Client, client_host: Host) -> None:
    said = json.loads(client_host.check_output("baileys-resilience --json failover status"))
    assert {company: each["store"] for company, each in said["companies"].items()} == dict.fromkeys(
        client.companies, "postgres"
    )
    assert "USE_DATABASE_AUTH_STATE=true" in client_host.file(f"{APP}/.env").content_string.splitlines()
    assert not client_host.file(f"{APP}/baileys_sessions/company_{client.companies[0]}").exists
