# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping, starting and asking an application that a real systemd runs. The library runs inside that host."""

from __future__ import annotations

import time

import pytest

from baileys_resilience.failover.settings import FILES_FLAGS, POSTGRES_FLAGS
from tests.system.containers import Host, wait_until

# The first use on a machine builds the hosts' image.
pytestmark = pytest.mark.timeout(600)

ENV_FILE = "/srv/app/.env"


def env_text(flags: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in {"PORT": "3000", **flags}.items())


def unit_text(*lines: str) -> str:
    return "\n".join(["[Unit]", "Description=An application", "[Service]", *lines, ""])


@pytest.fixture
def app(host: Host) -> str:
    """A unit that gets its flags from the .env by systemd, running on PostgreSQL."""
    host.write(ENV_FILE, env_text(POSTGRES_FLAGS))
    host.unit("app.service", unit_text(f"EnvironmentFile={ENV_FILE}", "ExecStart=/bin/sleep infinity"))
    host.run("systemctl", "restart", "app.service")
    return "app"


def alive(host: Host, pid: int) -> bool:
    return host.run("test", "-e", f"/proc/{pid}", check=False).returncode == 0


def test_a_running_unit_is_seen_with_its_process(host: Host, app: str) -> None:
    status = host.ask("status", unit=app)
    assert status["running"]
    assert host.run("cat", f"/proc/{status['pids'][0]}/comm").stdout.strip() == "sleep"


def test_after_a_stop_the_process_is_gone_and_the_unit_is_seen_as_stopped(host: Host, app: str) -> None:
    before = host.ask("status", unit=app)["pids"][0]
    assert host.ask("stop", unit=app)["running"] is False
    assert not alive(host, before)
    status = host.ask("status", unit=app)
    assert status["running"] is False
    assert status["pids"] == []


def test_the_flags_of_the_changed_env_file_are_in_the_new_process(host: Host, app: str) -> None:
    before = host.ask("status", unit=app)["pids"][0]
    host.ask("stop", unit=app)
    host.write(ENV_FILE, env_text(FILES_FLAGS))
    started = host.ask("start", unit=app, flags=FILES_FLAGS)
    assert started["running"]
    assert started["pids"] != [before]
    assert started["environment"] == FILES_FLAGS


def test_a_start_without_the_change_of_the_env_file_is_noticed(host: Host, app: str) -> None:
    error = host.ask("start", unit=app, flags=FILES_FLAGS)
    assert error["error"] == "application"
    assert "USE_DATABASE_AUTH_STATE" in error["cause"]


@pytest.mark.parametrize("kind", ["simple", "exec"])
def test_a_flag_that_the_unit_itself_sets_is_detected_and_the_hint_says_where(host: Host, kind: str) -> None:
    lines = (f"Type={kind}", "Environment=USE_DATABASE_AUTH_STATE=true", "ExecStart=/bin/sleep infinity")
    host.unit("hard-coded.service", unit_text(*lines))
    error = host.ask("start", unit="hard-coded", flags=FILES_FLAGS)
    assert error["error"] == "application"
    assert error["cause"] == "the started process holds other values for USE_DATABASE_AUTH_STATE"
    assert "remove these variables from the unit" in error["hint"]
    host.run("systemctl", "stop", "hard-coded.service")


def test_a_unit_that_leaves_the_env_file_to_the_application_may_be_started(host: Host) -> None:
    host.unit("dotenv.service", unit_text("WorkingDirectory=/srv/app", "ExecStart=/bin/sleep infinity"))
    started = host.ask("start", unit="dotenv.service", flags=FILES_FLAGS)
    assert started["running"]
    status = host.ask("status", unit="dotenv")
    assert (status["cwd"], status["runs_from"]) == ("/srv/app", ["/srv/app", "/bin/sleep"])
    host.run("systemctl", "stop", "dotenv.service")


def test_an_unknown_unit_is_a_wrong_setting_for_every_question(host: Host) -> None:
    for word in ("status", "stop", "start"):
        error = host.ask(word, unit="no-such-app", flags=FILES_FLAGS)
        assert error["error"] == "misconfigured", word
        assert error["subject"] == "no-such-app.service"
        assert error["hint"] == "set application.service.name to the unit"


def test_a_unit_that_ends_at_once_is_no_started_application(host: Host) -> None:
    host.unit("short.service", unit_text("ExecStart=/bin/false"))
    started = time.monotonic()
    error = host.ask("start", unit="short", flags=FILES_FLAGS)
    assert time.monotonic() - started < 10
    assert error["error"] == "application"
    assert "journalctl -u short.service" in error["hint"]


def test_a_unit_that_failed_often_is_started_all_the_same(host: Host) -> None:
    host.unit("flaky.service", unit_text("ExecStart=/bin/sh -c 'test -e /srv/healed && exec sleep infinity'"))
    for _ in range(7):
        host.run("systemctl", "start", "flaky.service", check=False)
    wait_until(
        lambda: "failed" in host.run("systemctl", "is-active", "flaky.service", check=False).stdout, 10, "it has failed"
    )
    host.run("touch", "/srv/healed")
    assert host.ask("start", unit="flaky", flags=FILES_FLAGS)["running"]
    host.run("systemctl", "stop", "flaky.service")


def test_a_hard_coded_flag_is_detected_also_while_a_hardened_unit_is_slow_to_begin(host: Host) -> None:
    # Namespaces take milliseconds between fork and exec, in which the process shows systemd's own environment.
    sandbox = ("PrivateTmp=true", "PrivateDevices=true", "ProtectSystem=strict", "ProtectHome=read-only")
    host.unit(
        "hardened.service", unit_text("Environment=USE_LEGACY_SUPABASE=true", *sandbox, "ExecStart=/bin/sleep 99")
    )
    answers = [host.ask("start", unit="hardened", flags=FILES_FLAGS) for _ in range(8)]
    assert {answer.get("error", "not noticed") for answer in answers} == {"application"}
    host.run("systemctl", "stop", "hardened.service")
