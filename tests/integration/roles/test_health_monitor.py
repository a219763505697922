# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role health_monitor without root and systemd: check, apply, check, apply, and away again; what it writes is what
the monitor reads.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.monitor.configuration import ClientSettings, MonitorSettings, load_monitor_settings
from baileys_resilience.health.monitor.requesting import AutoFailoverSettings
from baileys_resilience.notify import NotifySettings
from baileys_resilience.postgres import ConnectParams
from tests.support.page import bundled_page
from tests.support.playbooks import Ansible, Played, Unsafe, tree

ROLE = Path(__file__).resolve().parents[3] / "roles" / "health_monitor"
UNIT = "baileys-resilience-monitor.service"
RULES, JOBS = "baileys-resilience.rules.yml", "baileys-resilience.scrape.yml"
PASSWORD = "}X|<?{{ 7 }} '\""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "host").mkdir()
    (tmp_path / "prometheus").mkdir()
    return {
        "health_monitor_manage_user": False,
        "health_monitor_manage_service": False,
        "health_monitor_config_file": str(tmp_path / "host" / "monitor.json"),
        "health_monitor_state_dir": str(tmp_path / "host" / "state"),
        "health_monitor_unit_dir": str(tmp_path / "host"),
        "health_monitor_prometheus_dir": str(tmp_path / "prometheus"),
        "health_monitor_page_file": str(tmp_path / "host" / "page.json"),
        "baileys_resilience_login_password": Unsafe(PASSWORD),
    }


def play(ansible: Ansible, variables: dict[str, Any], *arguments: str) -> Played:
    return ansible.playbook([{"roles": ["baileys.resilience.health_monitor"]}], *arguments, variables=variables)


def changed(played: Played) -> int:
    assert played.returncode == 0, played.output
    assert PASSWORD not in played.output
    found = re.search(r"changed=(\d+)", played.output)
    assert found, played.output
    return int(found[1])


def test_every_default_has_a_typed_and_described_option_with_the_same_default() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert list(options) == list(defaults)
    assert all(name.startswith("health_monitor_") for name in defaults)
    for name, option in options.items():
        assert {"type", "description"} <= set(option), name
        assert option.get("default", defaults[name]) == defaults[name], name


def test_check_apply_check_apply_and_away_again(ansible: Ansible, variables: dict[str, Any], tmp_path: Path) -> None:
    host, prometheus = tmp_path / "host", tmp_path / "prometheus"
    assert changed(play(ansible, variables, "--check", "--diff")) > 0
    assert tree(host) == tree(prometheus) == {}
    assert changed(play(ansible, variables, "--diff")) > 0
    assert set(tree(host)) == {"monitor.json", UNIT, "state", "page.json"}
    assert (host / "page.json").read_text() == bundled_page() + "\n"
    assert stat.S_IMODE((host / "page.json").stat().st_mode) == 0o644
    assert stat.S_IMODE((host / "monitor.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((host / "state").stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in prometheus.iterdir()} == {
        JOBS: 0o644,
        RULES: 0o644,
    }
    before = (tree(host), tree(prometheus))
    assert changed(play(ansible, variables, "--check")) == 0
    assert changed(play(ansible, variables)) == 0
    assert (tree(host), tree(prometheus)) == before
    away = {**variables, "health_monitor_state": "absent"}
    assert changed(play(ansible, away)) > 0
    assert set(tree(host)) == {"state"}
    assert tree(prometheus) == {}
    assert changed(play(ansible, away)) == 0
    assert changed(play(ansible, {**away, "health_monitor_purge": True})) > 0
    assert tree(host) == {}


def test_with_nothing_set_the_monitor_reads_its_own_defaults(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    changed(play(ansible, variables))
    made = load_monitor_settings(tmp_path / "host" / "monitor.json")
    assert made == MonitorSettings(
        ConnectParams(password=PASSWORD),
        state_dir=str(tmp_path / "host" / "state"),
        name="localhost",
        mirror_age_file="/run/baileys-resilience/mirror.json",
        page_file=str(tmp_path / "host" / "page.json"),
        notify=NotifySettings(server_name="localhost"),
    )
    assert (tmp_path / "prometheus" / RULES).read_bytes() == (ROLE / "files" / "prometheus" / RULES).read_bytes()
    (job,) = yaml.safe_load((tmp_path / "prometheus" / JOBS).read_text())["scrape_configs"]
    assert job == {
        "job_name": "baileys-resilience-monitor", "scrape_interval": "5s", "scrape_timeout": "4s",
        "static_configs": [{"targets": ["127.0.0.1:9787"], "labels": {"monitor": "localhost"}}],
    }, "no token where none is asked for"  # fmt: skip


def test_what_is_set_is_what_the_monitor_reads(ansible: Ansible, variables: dict[str, Any], tmp_path: Path) -> None:
    more = {
        "baileys_resilience_login_host": "db.example.net",
        "baileys_resilience_login_port": "6543",
        "baileys_resilience_session_tables": {"keys": {"table": "keys"}},
        "baileys_resilience_telegram_chat_id": -100123,
        "health_monitor_clients": [
            {"name": "app: 1", "port": 3901, "token": "0123456789abcdef"},
            {"name": "quiet", "directory": "/run/app"},
        ],
        "health_monitor_listen_host": "0.0.0.0",
        "health_monitor_listen_token": "fedcba9876543210",
        "health_monitor_alerts": {"query_ms": 300, "repeat_seconds": [60, 600]},
        "health_monitor_data_dirs": ["/var/lib/postgresql"],
        "health_monitor_interval": "10",
        "health_monitor_write": "false",
    }
    changed(play(ansible, {**variables, **more}))
    made = load_monitor_settings(tmp_path / "host" / "monitor.json")
    assert (made.database.host, made.database.port, made.tables.keys.table) == ("db.example.net", 6543, "keys")
    assert made.clients == (
        ClientSettings("app: 1", port=3901, token="0123456789abcdef"), ClientSettings("quiet", directory="/run/app"),
    )  # fmt: skip
    assert made.alerts == AlertSettings(query_ms=300, repeat_seconds=(60, 600))
    assert (made.data_dirs, made.interval_seconds, made.write) == (("/var/lib/postgresql",), 10.0, False)
    assert made.notify.telegram_chat_id == "-100123"
    assert "0123456789abcdef" not in repr(made)
    text = (tmp_path / "prometheus" / JOBS).read_text()
    assert "0123456789abcdef" not in text
    assert "fedcba9876543210" not in text
    assert [
        (job["job_name"], job["authorization"]["credentials_file"], job["static_configs"])
        for job in yaml.safe_load(text)["scrape_configs"]
    ] == [
        (
            "baileys-resilience-monitor",
            f"{tmp_path}/prometheus/baileys-resilience-monitor.token",
            [{"targets": ["localhost:9787"], "labels": {"monitor": "localhost"}}],
        ),
        (
            "baileys-resilience-client-app--1",
            f"{tmp_path}/prometheus/baileys-resilience-client-app--1.token",
            [{"targets": ["127.0.0.1:3901"], "labels": {"job": "baileys-resilience-client", "client": "app: 1"}}],
        ),
    ]


def test_the_unit_hands_over_what_only_root_may_read(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    changed(play(ansible, {**variables, "health_monitor_ca_cert": "/etc/baileys-resilience/root.crt"}))
    unit = (tmp_path / "host" / UNIT).read_text()
    running = "/run/baileys-resilience-monitor"
    assert f" {tmp_path}/host/monitor.json {running}/monitor.json\n" in unit
    assert f" /etc/baileys-resilience/root.crt {running}/ca.crt\n" in unit
    assert f'"/usr/local/bin/baileys-resilience" --config {running}/monitor.json monitor' in unit
    assert f"ReadWritePaths={tmp_path}/host/state" in unit


AUTO_UNITS = {"baileys-resilience-auto-failover.path", "baileys-resilience-auto-failover.service"}


def test_an_automatic_failover_is_there_where_it_is_set_and_gone_where_it_is_not(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    (tmp_path / "failover.json").write_text("{}")
    auto = {
        **variables, "health_monitor_auto_failover": True, "health_monitor_auto_failover_after": 90,
        "health_monitor_failover_config_file": str(tmp_path / "failover.json"),
        "health_monitor_clients": [{"name": "app", "directory": "/var/lib/baileys-resilience-client"}],
    }  # fmt: skip
    assert changed(play(ansible, auto, "--check")) > 0
    assert tree(host) == {}
    assert changed(play(ansible, auto)) > 0
    assert set(tree(host)) == {"monitor.json", UNIT, "state", "page.json", *AUTO_UNITS}
    assert load_monitor_settings(host / "monitor.json").auto_failover == AutoFailoverSettings("localhost", 90.0)
    service = (host / "baileys-resilience-auto-failover.service").read_text()
    words = (
        f'"/usr/local/bin/baileys-resilience" "--config" "{tmp_path}/failover.json" "auto-failover"'
        f' "--monitor" "{host}/monitor.json" "--user" "baileys-resilience-monitor"'
    )
    assert f"ExecStart={words}\n" in service
    assert f'ExecStopPost=-{words} "--ended"\n' in service
    assert "ExecStopPost=/bin/sleep 3\n" in service
    path = (host / "baileys-resilience-auto-failover.path").read_text()
    assert f"PathExists={host}/state/auto-failover/request.json\n" in path
    assert changed(play(ansible, auto)) == 0
    assert changed(play(ansible, {**auto, "health_monitor_auto_failover": False})) > 0
    assert set(tree(host)) == {"monitor.json", UNIT, "state", "page.json"}


@pytest.mark.parametrize(("given", "said"), [({}, "health_monitor_clients is empty"), (
    {"health_monitor_clients": [{"name": "app", "directory": "/x"}], "health_monitor_failover_config_file": "/none"},
    "there is no /none on this host",
)])  # fmt: skip
def test_an_automatic_failover_that_could_never_come_about_is_refused(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    played = play(ansible, {**variables, "health_monitor_auto_failover": True, **given})
    assert played.returncode != 0
    assert said in " ".join(played.output.split())
    assert tree(tmp_path / "host") == {}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"health_monitor_clients": [{"port": 1}]}, "missing required arguments: name"),
        ({"health_monitor_clients": [{"name": "app", "prot": 1}]}, "prot"),
        ({"health_monitor_interval": "soon"}, "health_monitor_interval"),
        ({"health_monitor_state": "gone"}, "health_monitor_state"),
        ({"health_monitor_prometheus_dir": "/etc/prometheus/none"}, "install Prometheus first"),
    ],
)
def test_a_wrong_variable_is_refused_and_nothing_is_written(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    played = play(ansible, {**variables, **wrong})
    assert played.returncode != 0
    assert said in " ".join(played.output.split())
    assert tree(tmp_path / "host") == {}


def test_a_host_that_nothing_would_run_it_on_is_refused(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    without = {"health_monitor_manage_service": True, "__health_monitor_systemd_dir": str(tmp_path / "none")}
    played = play(ansible, variables, "--extra-vars", json.dumps(without))
    assert played.returncode != 0
    assert "has no systemd" in " ".join(played.output.split())
    assert tree(tmp_path / "host") == {}
    skipped = {**without, "health_monitor_without_systemd": "skip"}
    played = play(ansible, variables, "--extra-vars", json.dumps(skipped))
    assert changed(played) == 0
    assert "It is left out" in played.output
    assert tree(tmp_path / "host") == {}
