# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host after the role, and an application that was deployed with code that uses the client."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from client import APP, DATA, PACKAGE, SOCKET, USER, Client
from prometheus_client.parser import text_string_to_metric_families
from testinfra.host import Host

SOURCES = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "roles" / "session_client" / "files" / "client"
WRITER_LOCKS = """
SELECT a.application_name, count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND a.application_name LIKE 'wa-session/%'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = 'whatsapp') GROUP BY 1
"""
pytestmark = pytest.mark.usefixtures("client_host")


def test_the_package_is_the_collections_own_with_the_packages_that_its_lock_file_pins(client_host: Host) -> None:
    for name in ("package.json", "package-lock.json", "src/index.js", "bin/health-check.js"):
        assert client_host.file(f"{PACKAGE}/{name}").content == (SOURCES / name).read_bytes()
    locked = json.loads((SOURCES / "package-lock.json").read_text("utf-8"))["packages"]
    wanted = {path: each["version"] for path, each in locked.items() if path and not each.get("dev")}
    wanted = {path: version for path, version in wanted.items() if not locked[path].get("peer")}
    found = json.loads(client_host.file(f"{PACKAGE}/node_modules/.package-lock.json").content_string)["packages"]
    assert {path: each["version"] for path, each in found.items()} == wanted
    assert {"node_modules/pg", "node_modules/prom-client"} <= wanted.keys()


def test_the_dotenv_has_its_settings_beside_the_applications_own_and_stays_private(client_host: Host) -> None:
    dotenv = client_host.file(f"{APP}/.env")
    assert (dotenv.user, dotenv.mode) == (USER, 0o600)
    settings = dict(line.split("=", 1) for line in dotenv.content_string.splitlines())
    assert settings["WA_SESSION_DIR"] == DATA
    assert settings["WA_SESSION_ON_OUTAGE"] == "journal"
    assert settings["WA_SESSIONS_DIR"] == f"{APP}/baileys_sessions"
    assert settings["USE_DATABASE_AUTH_STATE"] == "true"
    assert settings["POSTGRES_PASSWORD"].startswith("`")


def test_nobody_but_the_applications_user_can_enter_where_sessions_are_kept(client: Client, client_host: Host) -> None:
    assert (client_host.file(DATA).user, client_host.file(DATA).mode) == (USER, 0o700)
    assert (client_host.file(SOCKET).user, client_host.file(SOCKET).mode) == (USER, 0o600)
    assert client_host.file(SOCKET).is_socket
    assert client_host.check_output(f"find {DATA} -mindepth 1 ! -type s ! -perm 0600") == ""
    assert client_host.check_output(f"stat -c %U /proc/{client.pid()}") == USER


def test_the_health_check_of_the_applications_user_finds_every_session_online(client: Client) -> None:
    client.wait_for("online")
    found = client.health_check()
    assert found.rc == 0, found.stderr
    keys = {company: each["keys"] for company, each in client.sessions().items()}
    assert sorted(found.stdout.splitlines()) == [
        f"company {each}: online, {keys[each]} keys" for each in client.companies
    ]


def test_the_status_names_each_company_and_what_is_in_memory(client: Client) -> None:
    sessions = client.sessions()
    assert sorted(sessions) == client.companies
    for company, found in sessions.items():
        assert (found["state"], found["store"], found["outage"], found["error"]) == ("online", "postgres", None, None)
        assert found["fenced"], "the schema is there, so every write names its writer"
        assert (found["keys"] > 1000, found["undecodable"]) == (True, 0)
        assert sum(found["counts"].values()) == found["keys"]
        assert found["user"] == client.app.companies[company]["jid"]


def test_the_metrics_are_in_the_format_of_prometheus(client: Client) -> None:
    families = {each.name: each for each in text_string_to_metric_families(client.ask("/metrics"))}
    up = {each.labels["company"]: each.value for each in families["wa_session_storage_up"].samples}
    assert up == dict.fromkeys(client.companies, 1)
    keys = {each.labels["company"]: each.value for each in families["wa_session_cache_keys"].samples}
    assert keys == {company: each["keys"] for company, each in client.sessions().items()}
    assert families["wa_session_query_duration_seconds"].type == "histogram"
    assert "wa_session_pool_max_connections" in families


def test_the_port_answers_to_the_token_alone(client_host: Host) -> None:
    settings = dict(line.split("=", 1) for line in client_host.file(f"{APP}/.env").content_string.splitlines())
    node = f"""
        const url = "http://127.0.0.1:{settings["WA_SESSION_ADMIN_PORT"]}/metrics";
        const authorization = "Bearer {settings["WA_SESSION_ADMIN_TOKEN"]}";
        const given = await fetch(url, {{ headers: {{ authorization }} }});
        console.log((await fetch(url)).status, given.status, (await given.text()).includes("wa_session_storage_up"));
    """
    found = client_host.run("/srv/node/bin/node --input-type=module --eval %s", node)
    assert found.stdout == "401 200 true\n", found.stderr


def test_logrotate_takes_the_files_of_the_applications_output(client_host: Host) -> None:
    found = client_host.run("logrotate --debug /etc/logrotate.d/baileys-resilience-client")
    assert found.rc == 0, found.stderr
    assert "error" not in found.stderr
    assert "/var/log/baileys-app/*.log" in found.stderr


def test_one_connection_holds_one_lock_for_each_company(client: Client) -> None:
    assert client.sql(WRITER_LOCKS) == [[client.status()["identity"], str(len(client.companies))]]


def test_every_session_reads_and_writes(client: Client) -> None:
    client.app.assert_lives_in("postgres")
