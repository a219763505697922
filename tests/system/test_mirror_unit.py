# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live mirror as the role installs it, under a real systemd: it follows over TLS, comes back, can be removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbooks import Ansible, Played, Unsafe
from tests.support.synthetic import make_companies
from tests.system.containers import Host, podman_environment, wait_until
from tests.system.postgres15 import Cluster

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(600)

UNIT = "baileys-resilience-mirror.service"
CONFIG = "/etc/baileys-resilience/failover.json"
ROOT_CERTIFICATE = "/etc/baileys-resilience/root.crt"
COMMAND = ["/usr/bin/python3", "-m", "baileys_resilience.cli"]
MIRROR = "/var/lib/baileys-resilience/mirror"
COMPANIES = make_companies(2)

Play = Callable[[str], Played]


@pytest.fixture(scope="module")
def database(server: Cluster) -> Cluster:
    server.fill(*COMPANIES)
    return server


@pytest.fixture
def play(host: Host, database: Cluster, ansible_env: dict[str, str], tmp_path: Path) -> Play:
    """The role's action `mirror` on the host, with the mirror `present` or `absent`."""
    host.write(ROOT_CERTIFICATE, database.root_certificate.read_text())
    ansible = Ansible({**podman_environment(), **ansible_env}, tmp_path)
    params = database.params

    def run(state: str) -> Played:
        variables = {
            "ansible_host": host.name, "ansible_python_interpreter": "/usr/bin/python3",
            # not /tmp, which is a file system of its own in there: files are put into the container's root from outside
            "ansible_remote_tmp": "/var/lib/ansible-tmp",
            "session_companies": [company.id for company in COMPANIES],
            "failover_action": "mirror", "failover_mirror_state": state, "failover_mirror_interval": 1,
            "failover_command": COMMAND, "failover_login_host": params.host, "failover_login_port": params.port,
            "failover_login_db": params.dbname, "failover_login_user": params.user,
            "failover_login_password": Unsafe(params.password), "failover_ssl_mode": params.ssl_mode,
            "failover_ca_cert": ROOT_CERTIFICATE,
        }  # fmt: skip
        roles = [{"role": "baileys.resilience.failover"}]
        played = ansible.playbook([{"connection": "piped_podman", "roles": roles, "vars": variables}])
        assert played.returncode == 0, played.output
        assert params.password not in played.output
        return played

    return run


@pytest.fixture
def mirrored(host: Host, play: Play) -> None:
    """The unit is on the host."""
    if host.run("systemctl", "cat", UNIT, check=False).returncode != 0:
        play("present")


def status_of(host: Host) -> dict[str, Any]:
    done = host.run(*COMMAND, "--config", CONFIG, "--json", "mirror", "status", check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.startswith("{") else {"usable": False}
    return found


def main_pid(host: Host) -> int:
    return int(host.run("systemctl", "show", UNIT, "--property=MainPID", "--value").stdout)


def assert_follows(host: Host, database: Cluster) -> None:
    """What is written to PostgreSQL now is in the mirror soon."""
    written = database.run(
        "UPDATE whatsapp_auth SET updated_at = clock_timestamp() RETURNING pg_current_wal_lsn()::text"
    )
    database.run("SELECT pg_switch_wal()")

    def seen() -> bool:
        status = status_of(host)
        lsn = status.get("lsn") if status["usable"] else None
        return bool(lsn) and database.run("SELECT %s::pg_lsn >= %s::pg_lsn", lsn, written[-1][0]) == [(True,)]

    wait_until(seen, 30, "the mirror is as new as the last write")


def test_the_unit_follows_the_database_and_a_second_run_of_the_role_changes_nothing(
    host: Host, database: Cluster, play: Play
) -> None:
    assert "failed=0" in play("present").output
    assert host.run("systemctl", "is-active", UNIT).stdout.strip() == "active"
    assert host.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert_follows(host, database)
    counts = {each["company"]: sum(each["counts"].values()) for each in status_of(host)["companies"]}
    assert counts == {company.id: len(company.keys) for company in COMPANIES}
    pid = main_pid(host)
    assert "changed=0" in play("present").output
    assert main_pid(host) == pid


@pytest.mark.usefixtures("mirrored")
def test_the_password_is_neither_in_the_unit_nor_in_the_process_list(host: Host, database: Cluster) -> None:
    shown = host.run("systemctl", "cat", UNIT).stdout + host.run("cat", f"/proc/{main_pid(host)}/cmdline").stdout
    assert CONFIG in shown
    assert database.params.password not in shown
    assert host.run("stat", "--format=%a %U", CONFIG).stdout.split() == ["600", "root"]
    modes = host.run("find", MIRROR, "-printf", "%y%m\\n").stdout.split()
    assert set(modes) == {"d700", "f600"}


@pytest.mark.slow
@pytest.mark.usefixtures("mirrored")
def test_the_mirror_outlives_a_kill_and_a_database_that_is_away(host: Host, database: Cluster) -> None:
    killed = main_pid(host)
    host.run("systemctl", "kill", "--signal=KILL", UNIT)
    wait_until(lambda: main_pid(host) not in (0, killed), 30, "systemd has started the mirror again")
    assert_follows(host, database)
    pid = main_pid(host)
    database.stop()
    try:
        wait_until(lambda: bool(status_of(host)["attempt"]["blind_since"]), 30, "the mirror says that it is blind")
        assert status_of(host)["usable"]
    finally:
        database.start()
    assert_follows(host, database)
    assert main_pid(host) == pid


@pytest.mark.slow
@pytest.mark.usefixtures("mirrored")
def test_the_mirror_runs_again_after_a_reboot_of_the_host(host: Host, database: Cluster) -> None:
    host.restart()
    assert host.run("systemctl", "is-active", UNIT).stdout.strip() == "active"
    assert_follows(host, database)


@pytest.mark.usefixtures("mirrored")
def test_the_role_removes_the_unit_and_keeps_the_mirrored_sessions(host: Host, database: Cluster, play: Play) -> None:
    assert_follows(host, database)
    pid = main_pid(host)
    play("absent")
    assert host.run("test", "-e", f"/proc/{pid}", check=False).returncode == 1
    assert host.run("systemctl", "cat", UNIT, check=False).returncode != 0
    assert host.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip() != "enabled"
    assert status_of(host)["usable"]
    assert "changed=0" in play("absent").output
