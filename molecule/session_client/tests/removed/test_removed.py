# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`state: absent`, first at the worst moment, then as the role's README says."""

from __future__ import annotations

from pathlib import Path

import pytest
from client import APP, DATA, PACKAGE, SERVICE, USER, Client
from controller import Controller
from machines import wait_until
from testinfra.host import Host

REMOVE = str(Path(__file__).parents[2] / "remove.yml")
pytestmark = pytest.mark.usefixtures("client_host")


def remove(tmp_path: Path) -> Controller:
    return Controller(tmp_path, REMOVE)


def refused(run: Controller) -> str:
    assert run.end() != 0, run.output
    return " ".join(run.output.split())


def test_writes_that_the_database_does_not_have_are_not_removed(
    client: Client, client_host: Host, tmp_path: Path
) -> None:
    client.database("stop")
    client.app.assert_lives_in("postgres")
    client.wait_for("outage")
    said = refused(remove(tmp_path))
    assert all(f"{company}.journal" in said for company in client.companies)
    assert "HINT: start the application while the database serves" in said
    assert client.journals() == [f"{each}.journal" for each in client.companies]
    assert client_host.file(f"{PACKAGE}/src/index.js").exists
    assert f"WA_SESSION_DIR={DATA}" in client_host.file(f"{APP}/.env").content_string
    client.database("start")
    client.wait_for("online")
    wait_until(lambda: client.journals() == [], 30, "the journals are replayed")


def test_the_directory_of_a_process_that_runs_is_not_removed(client: Client, client_host: Host, tmp_path: Path) -> None:
    assert f"A process keeps its journals in {DATA}" in refused(remove(tmp_path))
    assert client_host.file(f"{PACKAGE}/src/index.js").exists
    client.app.assert_lives_in("postgres")


def test_without_the_client_the_host_is_as_it_was_and_the_application_runs(
    client: Client, client_host: Host, tmp_path: Path
) -> None:
    client_host.check_output(
        f"runuser -u {USER} -- git -C {APP} checkout --quiet -- src && systemctl restart {SERVICE}"
    )
    client.wait_connected()
    run = remove(tmp_path)
    assert run.end() == 0, run.output
    assert client_host.check_output(f"git -C {APP} -c safe.directory={APP} status --porcelain") == ""
    assert not client_host.file(f"{APP}/vendor").exists
    assert not client_host.file(DATA).exists
    dotenv = client_host.file(f"{APP}/.env")
    assert "WA_SESSION" not in dotenv.content_string
    assert "USE_DATABASE_AUTH_STATE=true" in dotenv.content_string.splitlines()
    assert (dotenv.user, dotenv.mode) == (USER, 0o600)

    client_host.check_output(f"systemctl restart {SERVICE}")
    client.wait_connected()
    client.app.assert_lives_in("postgres")
    again = remove(tmp_path)
    assert again.end() == 0, again.output
    assert "changed=0 " in again.recap["app-client"]
