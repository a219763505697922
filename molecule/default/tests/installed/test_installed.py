# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host after baileys.resilience.site: toolkit, configuration, daily check, a mirror that follows, and a monitor."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from machines import container, wait_until
from testinfra.host import Host

MIRROR = "baileys-resilience-mirror.service"
TIMER = "baileys-resilience-check.timer"
MONITOR = "baileys-resilience-monitor.service"
CONFIG = "/etc/baileys-resilience/failover.json"
MONITOR_CONFIG = "/etc/baileys-resilience/monitor.json"
STATE = "/var/lib/baileys-resilience"
COMPANIES = ["962401", "962402"]


def status(host: Host) -> dict[str, Any]:
    shown = host.run("baileys-resilience --json mirror status").stdout
    found: dict[str, Any] = json.loads(shown) if shown.startswith("{") else {"usable": False, "companies": []}
    return found


def keys(host: Host) -> dict[str, int]:
    return {each["company"]: sum(each["counts"].values()) for each in status(host)["companies"]}


def sql(database: Host, statement: str) -> str:
    shown: str = database.check_output("cd / && runuser -u postgres -- psql -XqtAd sessions -c %s", statement)
    return shown


def assert_follows(blank: Host, database: Host, key: str) -> None:
    wait_until(lambda: status(blank)["usable"], 30, "the mirror is usable")
    before = keys(blank)
    assert set(before) == set(COMPANIES)
    sql(database, "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)"
        f" SELECT company_id, key_type, '{key}', value, now() FROM whatsapp_keys"
        f" WHERE company_id = '{COMPANIES[0]}' AND key_type = 'pre-key' LIMIT 1")  # fmt: skip
    wanted = {**before, COMPANIES[0]: before[COMPANIES[0]] + 1}
    wait_until(lambda: keys(blank) == wanted, 30, f"the mirror holds the row that was written: {wanted}")


@pytest.mark.parametrize("unit", [MIRROR, TIMER, MONITOR])
def test_the_units_run_and_come_back_at_boot(blank: Host, unit: str) -> None:
    service = blank.service(unit)
    assert service.is_running
    assert service.is_enabled


def test_the_command_runs_for_a_human_who_knows_no_path(blank: Host) -> None:
    assert blank.run("baileys-resilience --version").rc == 0
    assert [each["company"] for each in status(blank)["companies"]] == COMPANIES


def test_nobody_but_root_can_read_configuration_and_sessions(blank: Host) -> None:
    for directory in (STATE, f"{STATE}/mirror", "/etc/baileys-resilience"):
        assert (blank.file(directory).user, blank.file(directory).mode) == ("root", 0o700)
    assert (blank.file(CONFIG).user, blank.file(CONFIG).mode) == ("root", 0o600)
    assert blank.check_output(f"find {STATE} /etc/baileys-resilience -type f ! -perm 0600") == ""
    assert blank.check_output(f"find {STATE} /etc/baileys-resilience -type d ! -perm 0700") == ""


def test_the_password_is_in_the_configuration_and_nowhere_else(blank: Host) -> None:
    password = json.loads(blank.file(CONFIG).content_string)["database"]["password"]
    assert len(password) > 8
    assert password not in blank.run("cat /proc/[0-9]*/cmdline").stdout
    assert password not in blank.check_output("systemctl cat 'baileys-resilience-*'")
    assert password not in blank.check_output("journalctl --no-pager")
    # As JSON holds it, and as it is
    for form in (password, json.dumps(password)[1:-1]):
        found = blank.run("grep -rlIF -e %s /etc /opt /usr/local /var /root /home", form).stdout.split()
        assert set(found) <= {CONFIG, MONITOR_CONFIG}


def test_the_monitor_watches_the_database_and_the_mirror(blank: Host) -> None:
    def figures() -> dict[str, Any]:
        shown = blank.run("baileys-resilience --json health").stdout
        found: dict[str, Any] = json.loads(shown).get("figures", {}) if shown.startswith("{") else {}
        return found

    wait_until(lambda: {"database", "mirror", "keys"} <= set(figures()), 60, "everything was looked at")
    assert figures()["database"]["error"] == ""


def test_the_mirror_follows_what_is_written_now(blank: Host, database: Host) -> None:
    assert_follows(blank, database, "910001")


def test_after_a_reboot_the_mirror_follows_again(blank: Host, database: Host) -> None:
    subprocess.run(
        ["podman", "restart", "--time", "10", container("blank")], check=True, capture_output=True, timeout=60
    )
    wait_until(lambda: blank.run(f"systemctl is-active {MIRROR}").rc == 0, 60, "the mirror's unit is active")
    assert_follows(blank, database, "910002")
