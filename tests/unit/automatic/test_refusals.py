# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What root looks into before it fails over since the monitor asked: what is not as it was asked is refused, told,
and written down. The way that ends in a failover is in tests/integration/client.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import cli
from baileys_resilience.automatic import commands, signals
from baileys_resilience.clock import now_iso, to_iso, utc_now
from baileys_resilience.failover.operations import Operation, Outcome
from baileys_resilience.notify import Notification
from baileys_resilience.steps.lease import HostLease, Lease
from tests.support.client_admin import client

COMPANY = "962301"
#: of a session in the answer of GET /status
OUTAGE = {"company": COMPANY, "state": "outage", "outage": {"journal_error": None}}
ONLINE = {"company": COMPANY, "state": "online", "outage": None}


class Asked:
    """A host whose monitor has asked, and a database of which nothing listens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = folder / "state" / "auto-failover.json"
        self.request = folder / "monitor" / "auto-failover" / "request.json"
        self.request.parent.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            database = {"host": "127.0.0.1", "port": probe.getsockname()[1], "ssl_mode": "disable"}
        self.failover: dict[str, Any] = {
            "host": "app-1", "companies": [COMPANY], "database": database, "state_dir": str(folder / "state"),
            "sessions_dir": str(folder / "sessions"), "client_dir": str(folder / "client"),
            "application": {"dir": str(folder / "app")},
        }  # fmt: skip
        self.monitor: dict[str, Any] = {
            "database": database, "state_dir": str(folder / "monitor"), "deadline_seconds": 0.5,
            "clients": [{"name": "app", "directory": str(folder / "client")}], "auto_failover": {"host": "app-1"},
        }  # fmt: skip

    def ask(self, **more: Any) -> None:
        content = {
            "format": "baileys-resilience/auto-failover-request", "version": 1, "host": "app-1",
            "at": to_iso(utc_now()), "since": "", "database": "db", "client": "app", "evidence": "refused", **more,
        }  # fmt: skip
        self.request.write_text(json.dumps(content))

    def run(self, *more: str, user: str = str(os.geteuid())) -> int:
        for name, content in (("failover", self.failover), ("monitor", self.monitor)):
            path = self.folder / f"{name}.json"
            path.write_text(json.dumps(content))
            path.chmod(0o600)
        config, monitor = str(self.folder / "failover.json"), str(self.folder / "monitor.json")
        return cli.main(["--config", config, "auto-failover", "--monitor", monitor, "--user", user, *more])

    def reported(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report.read_text())
        return found


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(signals, "_BETWEEN_SECONDS", 0.0)
    made = Asked(tmp_path)
    made.ask()
    return made


@pytest.fixture
def _in_an_outage(asked: Asked) -> Iterator[None]:
    with client(asked.folder / "client", {"GET /status": (200, {"sessions": [OUTAGE]})}):
        yield


def refused(asked: Asked, capsys: pytest.CaptureFixture[str], said: str, exit_code: int) -> None:
    assert asked.run() == exit_code
    assert said in capsys.readouterr().err
    assert not asked.request.exists()
    found = asked.reported()
    assert (found["outcome"], found["began_at"]) == ("refused", "")
    assert said in found["error"]


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_is_not_set_is_refused(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    del asked.monitor["auto_failover"]
    refused(asked, capsys, "it is not set here", 2)


@pytest.mark.usefixtures("_in_an_outage")
def test_a_request_for_another_host_is_refused(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.ask(host="app-2")
    refused(asked, capsys, "the request is for 'app-2'", 2)


def test_an_application_that_does_not_answer_is_no_signal(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    refused(asked, capsys, "the client does not answer", 11)
    assert "Connection refused" in asked.reported()["signals"][0], "the database was looked at by us"


def test_an_application_that_has_its_database_is_no_signal(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    others = {**OUTAGE, "company": "another host's"}
    with client(asked.folder / "client", {"GET /status": (200, {"sessions": [ONLINE, others]})}):
        refused(asked, capsys, "no session of this host runs from its cache", 11)


def test_an_application_of_which_one_session_has_its_database_reaches_it(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one may be in an outage for a reason of its own, and the database away from here alone."""
    asked.failover["companies"] = [COMPANY, "962302"]
    having = {**ONLINE, "company": "962302", "store": "postgres"}
    with client(asked.folder / "client", {"GET /status": (200, {"sessions": [OUTAGE, having]})}):
        refused(asked, capsys, "company 962302 has it, 962301 has not", 11)


def test_a_session_that_notices_a_moment_later_is_waited_for(asked: Asked) -> None:
    asked.failover["companies"] = [COMPANY, "962302"]
    first = {"sessions": [OUTAGE, {**ONLINE, "company": "962302", "store": "postgres"}]}
    then = {"sessions": [OUTAGE, {**OUTAGE, "company": "962302"}]}
    with client(asked.folder / "client", {"GET /status": [(200, first), (200, first), (200, then)]}):
        asked.run()
    assert "2 of 2 companies" in asked.reported()["signals"][1]


@pytest.mark.parametrize("other", [{"state": "stopped"}, {"store": "files"}, {"company": "another host's"}])
def test_a_session_that_needs_no_database_of_ours_says_nothing_of_it(asked: Asked, other: dict[str, str]) -> None:
    asked.failover["companies"] = [COMPANY, "962302"]
    second = {**ONLINE, "company": "962302", "store": "postgres", **other}
    with client(asked.folder / "client", {"GET /status": (200, {"sessions": [OUTAGE, second]})}):
        asked.run()
    assert len(asked.reported()["signals"]) == 2


@pytest.mark.usefixtures("_in_an_outage")
def test_a_database_of_which_nothing_is_known_is_no_signal(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.failover["database"] = {**asked.failover["database"], "ca_cert": "/none", "ssl_mode": "verify-full"}
    refused(asked, capsys, "it is not just away:", 11)


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_began_a_moment_ago_is_enough(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.report.parent.mkdir()
    began = now_iso()
    asked.report.write_text(json.dumps({"began_at": began}))
    assert asked.run() == 8
    assert f"an automatic failover began at {began}" in capsys.readouterr().err
    assert asked.reported()["began_at"] == began, "a refusal begins no cooldown, and ends none"
    assert not asked.request.exists()


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_began_before_the_clock_was_set_back_a_year_keeps_nobody_waiting(asked: Asked) -> None:
    asked.report.parent.mkdir()
    asked.report.write_text(json.dumps({"began_at": to_iso(utc_now() + timedelta(days=365))}))
    asked.run()
    assert len(asked.reported()["signals"]) == 2


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_cannot_begin_is_told_written_down_and_has_its_cooldown(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """This host was never prepared."""
    assert asked.run() != 0
    capsys.readouterr()
    found = asked.reported()
    assert (found["outcome"], len(found["signals"])) == ("failed", 2)
    asked.ask()
    assert asked.run() == 8


def test_without_a_request_nothing_happens(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked.request.unlink()
    assert asked.run() == 0
    assert capsys.readouterr().out == "nothing was asked for\n"
    assert not asked.report.exists()


def test_a_request_of_another_user_is_refused(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked.run(user=str(os.geteuid() + 1)) == 6
    assert "it is of user" in capsys.readouterr().err
    assert asked.reported()["request"] is None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Notification]:
    found: list[Notification] = []

    def tell(_services: object, note: Notification) -> list[object]:
        found.append(note)
        return []

    monkeypatch.setattr(commands, "notify_all", tell)
    return found


@pytest.mark.usefixtures("_in_an_outage")
@pytest.mark.parametrize("opened", [True, False])
def test_one_that_was_killed_half_way_is_told_once_with_the_run_that_it_left_open(
    asked: Asked, told: list[Notification], monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    def killed(operation: Operation) -> Outcome:
        if opened:
            lease = Lease("20260131T030000-failover-1", "failover", operation.settings.policy.operator, now_iso())
            HostLease(operation.settings.state).take(lease, cooldown_seconds=0)
        raise KeyboardInterrupt  # nothing of ours is in its way either

    monkeypatch.setattr(Operation, "run", killed)
    asked.run()
    assert (asked.reported()["outcome"], told) == ("begun", [])
    began = asked.reported()["began_at"]
    asked.ask()
    for _twice in range(2):
        assert asked.run("--ended") == 0
    assert [each.title for each in told] == ["app-1: the automatic failover was cut off"]
    assert ("failover resume" in told[0].text) == opened
    assert (asked.reported()["outcome"], asked.reported()["began_at"]) == ("cut off", began)
    assert asked.request.exists(), "no request is taken here"
    assert asked.run() == 8, "it has its cooldown"


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_is_at_work_is_not_taken_for_one_that_was_cut_off(
    asked: Asked, told: list[Notification], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody runs the command by hand meanwhile."""
    codes: list[int] = []

    def at_work(operation: Operation) -> Outcome:
        asked.ask()
        codes.extend([asked.run("--ended"), asked.run()])
        return Outcome("failover", "", False, "nothing to do")

    monkeypatch.setattr(Operation, "run", at_work)
    assert asked.run() == 0
    assert codes == [8, 8]
    assert asked.request.exists()
    assert [each.title for each in told] == ["app-1: the automatic failover had nothing to do"]


@pytest.mark.usefixtures("_in_an_outage")
def test_one_that_was_cut_off_by_a_power_loss_is_told_by_the_next(asked: Asked, told: list[Notification]) -> None:
    asked.report.parent.mkdir()
    asked.report.write_text(json.dumps({"outcome": "begun", "began_at": "2026-01-31T03:00:05Z"}))
    asked.run()
    assert told[0].title == "app-1: the automatic failover was cut off"


def test_one_that_ended_by_itself_is_not_told_as_cut_off(asked: Asked, told: list[Notification]) -> None:
    assert asked.run() == 11
    assert asked.run("--ended") == 0
    assert [each.title for each in told] == ["app-1: an automatic failover was refused"]


def test_each_request_that_is_refused_is_told_and_what_is_none_is_told_once(
    asked: Asked, told: list[Notification]
) -> None:
    asked.run()
    asked.ask()
    asked.run()
    assert told[0].fingerprint != told[1].fingerprint
    for _twice in range(2):
        asked.request.write_text("{")
        asked.run()
    assert told[2].fingerprint == told[3].fingerprint
