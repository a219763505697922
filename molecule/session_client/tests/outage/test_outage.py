# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL is stopped under the application, which is even restarted meanwhile; then PostgreSQL comes back."""

from __future__ import annotations

import pytest
from client import DATA, SERVICE, Client
from machines import wait_until
from testinfra.host import Host

pytestmark = pytest.mark.usefixtures("client_host")


def test_sessions_go_on_without_the_database_also_after_a_restart_and_lose_no_step(
    client: Client, client_host: Host
) -> None:
    client.database("stop")
    client.wait_for("outage")
    client.app.assert_lives_in("postgres")
    assert client.journals() == [f"{each}.journal" for each in client.companies]
    assert all(each["outage"]["journal_lines"] > 0 for each in client.sessions().values())
    assert client_host.check_output(f"find {DATA} -name '9*' ! -perm 0600") == ""
    told = client.health_check()
    assert told.rc == 1
    assert sorted(line.split(",")[0] for line in told.stdout.splitlines()) == [
        f"company {each}: outage" for each in client.companies
    ]

    before = client.pid()
    client_host.check_output(f"systemctl restart {SERVICE}")
    client.wait_connected()
    assert client.pid() != before
    client.app.assert_lives_in("postgres")
    client.wait_for("outage")

    client.database("start")
    client.wait_for("online")
    wait_until(lambda: client.journals() == [], 30, "what the journals held is in the database, and they are gone")
    client.app.assert_lives_in("postgres")
    assert client.health_check().rc == 0
