# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failover that the monitor asks for: PostgreSQL is killed, the application goes on from its cache, both are seen by
both, and the sessions run from files. One signal alone moves nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import cli
from baileys_resilience.clock import now_iso
from baileys_resilience.failover.sources import bring_mirror_up_to_date
from baileys_resilience.health.monitor.configuration import MonitorSettings, load_monitor_settings
from baileys_resilience.health.monitor.requesting import REQUEST_FORMAT, VERSION
from lab import Lab
from tests.integration.client.test_failover_in_an_outage import talk
from tests.integration.failover.host import Host
from tests.support.lab_receivers import Receivers, receivers
from tests.support.lab_settings import write_settings
from tests.support.monitored import QUICK_ALERTS, Monitored, monitored


class Automatic:
    """The monitor's and the failover's configuration, and the command of the unit."""

    def __init__(self, lab: Lab, folder: Path, told: Receivers) -> None:
        self.state = folder / "monitor"
        self.request = self.state / "auto-failover" / "request.json"
        self.report = Path(lab.state_dir) / "auto-failover.json"
        self._failover = write_settings(
            lab, folder / "failover.json", notify=asdict(told.settings()), policy={"confirm": ""}
        )
        self._monitor = folder / "monitor.json"
        server = lab.need_postgres()
        self._monitor.write_text(
            json.dumps(
                {
                    "database": {
                        "host": server.host, "port": server.direct_port, "dbname": server.database,
                        "user": server.user, "password": server.password,
                    },
                    "state_dir": str(self.state), "name": "test", "interval_seconds": 1, "deadline_seconds": 1,
                    "clients": [{"name": "app", "directory": str(lab.client_dir)}],
                    "alerts": asdict(QUICK_ALERTS), "listen": {"port": 0},
                    "auto_failover": {"host": "lab-app", "after_seconds": 5, "cooldown_seconds": 0},
                }
            )
        )  # fmt: skip
        self._monitor.chmod(0o600)

    @property
    def settings(self) -> MonitorSettings:
        return load_monitor_settings(self._monitor)

    def ask(self) -> None:
        """As the monitor does."""
        self.request.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": REQUEST_FORMAT, "version": VERSION, "host": "lab-app", "at": now_iso(), "since": now_iso(),
            "database": "db", "client": "app", "evidence": "by hand",
        }  # fmt: skip
        self.request.write_text(json.dumps(content))

    def command(self) -> int:
        return cli.main(
            [
                "--config", str(self._failover), "auto-failover",
                "--monitor", str(self._monitor), "--user", str(os.geteuid()),
            ]
        )  # fmt: skip

    def reported(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report.read_text())
        return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with receivers(tmp_path_factory.mktemp("receivers")) as made:
        yield made


@pytest.fixture
def automatic(lab: Lab, tmp_path: Path, told: Receivers) -> Iterator[Automatic]:
    bring_mirror_up_to_date(Host(lab, mirror_dir=lab.mirror_dir).settings())
    yield Automatic(lab, tmp_path, told)
    lab.heal()


@contextmanager
def watching(automatic: Automatic) -> Iterator[Monitored]:
    with monitored(automatic.settings) as running:
        yield running


def test_both_signals_move_the_sessions_to_files_and_a_restart_asks_for_nothing_more(
    host: Host, lab: Lab, automatic: Automatic, told: Receivers
) -> None:
    talk(lab, "before")
    with watching(automatic) as running:
        running.wait_until_well()
        lab.break_("postgres-kill")
        running.wait(automatic.request.exists, "the monitor asks")
        assert running.kept.kinds[0] == "alert down"
        assert running.kept.told[1].title == "lab-app: an automatic failover was asked for"
    kept = automatic.request.rename(automatic.request.with_name("kept"))
    with watching(automatic) as running:
        running.wait(lambda: running.auto_failover == "was asked for, once in this incident", "it remembers")
        assert not automatic.request.exists()
    talk(lab, "in the outage")
    kept.rename(automatic.request)

    assert automatic.command() == 0
    assert not automatic.request.exists()
    assert host.store() == "files"
    talk(lab, "on files")
    found = automatic.reported()
    assert (found["outcome"], len(found["signals"])) == ("done", 2)
    report = json.loads((Path(lab.state_dir) / "runs" / found["run"] / "report.json").read_text())
    assert (report["operator"], report["outcome"]) == ("the monitor, by itself", "done")
    assert any("failover" in each for each in told.titles("telegram"))

    automatic.ask()
    assert automatic.command() == 11, "the application is on files, and says nothing of an outage"
    assert automatic.reported()["outcome"] == "refused"
    lab.heal()
    assert host.failback().report is not None
    talk(lab, "back in the database")


def test_a_database_that_serves_is_no_signal_and_an_application_that_was_stopped_is_none(
    lab: Lab, automatic: Automatic, told: Receivers
) -> None:
    automatic.ask()
    assert automatic.command() == 11
    assert "it serves" in automatic.reported()["error"]
    lab.break_("postgres-kill")
    lab.pm2("stop", lab.need_app().pm2_name)
    try:
        automatic.ask()
        assert automatic.command() == 11
        assert "does not answer" in automatic.reported()["error"]
    finally:
        lab.heal()
        lab.pm2("start", lab.need_app().pm2_name)
    assert {each["store"] for each in lab.wait_open()["companies"]} == {"postgres"}
    assert told.titles("telegram")[-1].endswith("lab-app: an automatic failover was refused")
