# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily cleanup as the role installs it, under a real systemd of a host in another time zone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import utc_now
from tests.support.playbooks import Ansible, Played
from tests.support.synthetic import make_company
from tests.system.containers import Host, podman_environment, wait_until
from tests.system.postgres15 import Cluster

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(600)

JOB = "baileys-resilience-cleanup"
CONFIG = "/etc/baileys-resilience/failover.json"
KEY_FILE = "/etc/baileys-resilience/archive.key"
ROOT_CERTIFICATE = "/etc/baileys-resilience/root.crt"
COMMAND = ["/usr/bin/python3", "-m", "baileys_resilience.cli"]
STATE_DIR = "/var/lib/baileys-resilience"
COMPANY = make_company("962301", 1, {"session": 100, "sender-key-memory": 20})

Play = Callable[..., Played]


@pytest.fixture
def database(tables: Cluster) -> Cluster:
    tables.fill(COMPANY)
    tables.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'session'")
    return tables


@pytest.fixture
def play(host: Host, database: Cluster, ansible_env: dict[str, str], tmp_path: Path) -> Play:
    params = database.params
    content: dict[str, Any] = {
        "host": "elsewhere", "companies": [COMPANY.id], "sessions_dir": "/srv/sessions", "state_dir": STATE_DIR,
        "database": {
            "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
            "password": params.password, "ssl_mode": params.ssl_mode, "ca_cert": ROOT_CERTIFICATE,
        },
    }  # fmt: skip
    host.write(ROOT_CERTIFICATE, database.root_certificate.read_text())
    host.write(CONFIG, json.dumps(content))
    host.run("chmod", "0600", CONFIG)
    host.run("mkdir", "-p", STATE_DIR)
    host.run("ln", "-sf", "/usr/share/zoneinfo/Asia/Kathmandu", "/etc/localtime")
    ansible = Ansible({**podman_environment(), **ansible_env}, tmp_path)

    def run(**more: Any) -> Played:
        variables = {
            "ansible_host": host.name, "ansible_python_interpreter": "/usr/bin/python3",
            # not /tmp, which is a file system of its own in there: files are put into the container's root from outside
            "ansible_remote_tmp": "/var/lib/ansible-tmp",
            "session_companies": [COMPANY.id], "key_cleanup_action": "schedule", "key_cleanup_command": COMMAND, **more,
        }  # fmt: skip
        roles = [{"role": "baileys.resilience.key_cleanup"}]
        played = ansible.playbook([{"connection": "piped_podman", "roles": roles, "vars": variables}])
        assert played.returncode == 0, played.output
        return played

    return run


def next_run(host: Host) -> str:
    show = ["systemctl", "show", f"{JOB}.timer", "--property=NextElapseUSecRealtime", "--value"]
    return host.run("env", "TZ=UTC", *show).stdout.strip()


def left(database: Cluster) -> int:
    return int(database.run("SELECT count(*) FROM whatsapp_keys")[0][0])


def test_the_timer_is_due_at_three_in_utc_and_its_service_cleans_up_in_its_sandbox(
    host: Host, database: Cluster, play: Play
) -> None:
    assert host.run("date", "+%z").stdout.strip() == "+0545"
    keyed = partial(play, key_cleanup_archive_key_file=KEY_FILE, key_cleanup_archive_key=secrets.token_hex(32))
    assert "changed=0" not in keyed().output
    assert next_run(host).endswith("03:00:00 UTC")
    assert "changed=0" in keyed().output
    host.run("systemctl", "start", f"{JOB}.service")
    assert left(database) == 100
    assert "20 keys deleted by policy safe" in host.run("journalctl", "--unit", JOB, "--output=cat").stdout
    modes = host.run("find", f"{STATE_DIR}/cleanup", "-printf", "%y%m%f\\n").stdout.split()
    assert [each[:4] for each in modes] == ["d700", "f600"]
    assert modes[1].endswith(".enc")
    assert "changed=0" not in play(key_cleanup_state="absent").output
    assert host.run("systemctl", "cat", f"{JOB}.timer", check=False).returncode != 0


@pytest.mark.slow
def test_the_timer_fires_at_its_time_in_utc(host: Host, database: Cluster, play: Play) -> None:
    play(key_cleanup_schedule=f"{utc_now() + timedelta(minutes=2):%H:%M}")
    assert left(database) == 120
    wait_until(lambda: left(database) == 100, 180, "the timer has fired")
    play(key_cleanup_state="absent")
