# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus scrapes a real monitor and a real session client by what the role wrote: every query of the
dashboard and every figure of a rule finds something there, and a database that hangs is an alert.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.sessions.mirror_age import MirrorAge, write_mirror_age
from baileys_resilience.sessions.published import create_schema
from lab import Lab, ports
from tests.support import exposed
from tests.support.pages import examples
from tests.support.playbooks import Ansible, Unsafe
from tests.system.containers import wait_until
from tests.system.prometheus import Prometheus, prometheus

TOKEN = "0123456789abcdef-monitor"
CLIENT_TOKEN = "0123456789abcdef-client"
#: what there is only once an application has been without its database
AFTER_AN_OUTAGE = {"Queries that failed: A", "Time without the database: A", "Journal of an outage: A"}
#: no PgBouncer is before this database, and its own tests have one
NO_PGBOUNCER = "wa_session_bouncer"
#: of the rules: no journal fails in this test, what is usual takes days, and what is said above
NOT_MADE_HERE = ("wa_session_journal_failures_total", 'concern="latency"', NO_PGBOUNCER)
PATIENCE_SECONDS = 40


@dataclass
class Watched:
    lab: Lab
    prometheus: Prometheus
    #: what the role wrote for Prometheus, and tokens
    written: Path

    def answers(self, expression: str) -> list[dict[str, Any]]:
        for name, value in (("$__rate_interval", "20s"), ("$instance", ".*"), ("$client", ".*")):
            expression = expression.replace(name, value)
        return self.prometheus.query(expression)

    def missing(self, expressions: dict[str, str]) -> dict[str, str]:
        return {name: each for name, each in expressions.items() if not self.answers(each)}


def config(lab: Lab, folder: Path, port: int, client_port: int) -> dict[str, Any]:
    """The variables of the role."""
    server, receivers = lab.need_postgres(), lab.need_receivers()
    return {
        "health_monitor_manage_user": False, "health_monitor_manage_service": False,
        "health_monitor_config_file": str(folder / "monitor.json"), "health_monitor_state_dir": str(folder / "state"),
        "health_monitor_unit_dir": str(folder), "health_monitor_prometheus_dir": str(folder / "prometheus"),
        "health_monitor_login_host": server.host, "health_monitor_login_port": server.direct_port,
        "health_monitor_login_db": server.database, "health_monitor_login_user": server.user,
        "health_monitor_login_password": Unsafe(server.password), "health_monitor_ssl_mode": "disable",
        "health_monitor_clients": [{"name": "app", "port": client_port, "token": CLIENT_TOKEN}],
        "health_monitor_mirror_age_file": str(folder / "mirror.json"),
        "health_monitor_backup_age_file": str(folder / "backups.json"), "health_monitor_data_dirs": [str(folder)],
        "health_monitor_interval": 1, "health_monitor_deadline": 1,
        # Something is wrong from the beginning: the dashboard shows that, too.
        "health_monitor_alerts": {"disk_used_percent": 0.0, "hold_seconds": 0.0, "failures": 1},
        "health_monitor_listen_port": port, "health_monitor_listen_token": TOKEN,
        "health_monitor_sentry_dsn": receivers.sentry_dsn, "health_monitor_telegram_token": receivers.telegram_token,
        "health_monitor_telegram_chat_id": receivers.telegram_chat_id,
        "health_monitor_telegram_api_url": receivers.telegram_api_url,
    }  # fmt: skip


def configuration(written: Path) -> dict[str, Any]:
    """As the role wrote it, but quicker."""
    jobs = yaml.safe_load((written / "baileys-resilience.scrape.yml").read_text())["scrape_configs"]
    rules = yaml.safe_load((written / "baileys-resilience.rules.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if rule.get("alert") == "WaSessionDatabaseDown":
                rule["for"] = "2s"
    (written / "quick.rules.yml").write_text(yaml.safe_dump(rules))
    for job in jobs:
        job.update(scrape_interval="1s", scrape_timeout="1s")
    return {"rule_files": ["quick.rules.yml"], "scrape_configs": jobs}


@contextlib.contextmanager
def monitor(file: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(file), "monitor"]
    with (file.parent / "monitor.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("labs") / "prometheus", 1)
    try:
        with contextlib.closing(made.connect(superuser=True, direct=True)) as connection, connection:
            cursor = connection.cursor()
            create_schema(cursor)
            cursor.execute(f'GRANT pg_monitor TO "{made.need_postgres().user}"')
            # A replica that was there once: its slot keeps WAL.
            cursor.execute("SELECT pg_create_physical_replication_slot('standby', true)")
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def watched(lab: Lab, collections_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus").mkdir()
    app, port, client_port = lab.need_app(), ports.reserve(), ports.reserve()
    with Path(app.env_file).open("a", encoding="utf-8") as stream:
        stream.write(f"\nWA_SESSION_ADMIN_PORT={client_port}\nWA_SESSION_ADMIN_TOKEN={CLIENT_TOKEN}\n")
    lab.pm2("restart", app.pm2_name)
    write_mirror_age(folder / "mirror.json", MirrorAge(scanned_at=to_iso(utc_now())))
    taken = {
        "format": "baileys-resilience/backup-age",
        "version": 1,
        "backups": {"dump": {"taken_at": to_iso(utc_now())}},
    }
    (folder / "backups.json").write_text(json.dumps(taken))
    ansible = Ansible(
        {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections_path), "ANSIBLE_NOCOLOR": "1",
         "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"), "ANSIBLE_REMOTE_TEMP": str(folder / "ansible")},
        folder,
    )  # fmt: skip
    played = ansible.playbook(
        [{"roles": ["baileys.resilience.health_monitor"]}], variables=config(lab, folder, port, client_port)
    )
    assert played.returncode == 0, played.output
    written = folder / "prometheus"
    for name, token in (("monitor", TOKEN), ("client-app", CLIENT_TOKEN)):
        (written / f"baileys-resilience-{name}.token").write_text(f"{token}\n")
    lab.wait_open()
    with monitor(folder / "monitor.json"), prometheus(written, configuration(written)) as made:
        yield Watched(lab, made, written)


def until_missing_is(missing: Callable[[], Any], expected: Any, what: str) -> None:
    left: list[Any] = []

    def there() -> bool:
        left[:] = [missing()]
        return bool(left[0] == expected)

    try:
        wait_until(there, PATIENCE_SECONDS, what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {json.dumps(left[0], indent=1, default=str)}") from error


def test_every_query_of_the_dashboard_and_every_figure_of_the_rules_finds_something(watched: Watched) -> None:
    shown = exposed.panel_queries(exposed.dashboard())
    queries = {name: each for name, each in shown.items() if NO_PGBOUNCER not in each}

    def missing() -> set[str]:
        watched.lab.message("962301", "something to write")
        return set(watched.missing(queries))

    until_missing_is(missing, AFTER_AN_OUTAGE, "queries of the dashboard that find nothing")
    for series, label in exposed.variable_queries(exposed.dashboard()).values():
        selector = series.replace("$instance", ".*")
        assert watched.prometheus.ask(f"label/{label}/values", **{"match[]": selector}), series
    groups = watched.prometheus.ask("rules")["groups"]
    assert {(rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]} == {("ok", "")}
    selectors = {
        each.text: f"last_over_time({each.text}[1m])"
        for group in groups
        for rule in group["rules"]
        for each in exposed.selectors(rule["query"])
        if not any(text in each.text for text in NOT_MADE_HERE)
    }
    assert len(selectors) > 20
    until_missing_is(lambda: set(watched.missing(selectors)), set(), "figures of rules that are not there")


def test_the_commands_of_the_page_make_it_part_of_debians_configuration(watched: Watched, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    shutil.copytree("/etc/prometheus", etc)
    for name in ("baileys-resilience.rules.yml", "baileys-resilience.scrape.yml"):
        shutil.copy(watched.written / name, etc)
    ours = [
        each
        for example in examples(exposed.ROOT / "docs" / "monitor.md")
        if example.block.headings[-1] == "With Prometheus and Grafana"
        for each in example.commands
        if not each.startswith(("ansible-playbook", "systemctl"))
    ]
    printed = ""
    for command in ours:
        words = command.replace("/etc/prometheus", str(etc))
        done = subprocess.run(["bash", "-c", words], input="a-token\n", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    assert f"{len(exposed.rules())} rules found" in printed, "its last command checked the configuration"
    jobs = yaml.safe_load((etc / "prometheus.yml").read_text())["scrape_configs"]
    assert {exposed.MONITOR_JOB, f"{exposed.CLIENT_JOB}-app"} < {each["job_name"] for each in jobs}
    tokens = sorted(etc.glob("*.token"))
    assert [each.read_text() for each in tokens] == ["a-token\n", "a-token\n"]
    assert {(each.group(), stat.S_IMODE(each.stat().st_mode)) for each in tokens} == {("prometheus", 0o640)}


def test_a_database_that_hangs_is_told_alone_and_what_an_outage_shows_is_there(watched: Watched) -> None:
    queries = {
        name: each for name, each in exposed.panel_queries(exposed.dashboard()).items() if name in AFTER_AN_OUTAGE
    }
    quiet = watched.prometheus.firing()
    watched.lab.break_("postgres-freeze")
    try:
        watched.lab.message("962301", "something for the journal")
        until_missing_is(lambda: watched.prometheus.firing() - quiet, {"WaSessionDatabaseDown"}, "the alert")
        until_missing_is(lambda: set(watched.missing(queries)), set(), "queries of the dashboard that find nothing")
    finally:
        watched.lab.heal()
    until_missing_is(lambda: watched.prometheus.firing() - quiet, set(), "the end of the alert")
