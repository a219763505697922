# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failover and failback of sessions that run on: nothing restarts, nobody logs in anew, every message decrypts.

FAULTS=all goes through every fault of the lab; by default a few of them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from baileys_resilience.errors import ResilienceError, StepFailed
from baileys_resilience.failover.live import LIVE, RESTART
from baileys_resilience.failover.operations import Outcome
from baileys_resilience.failover.processes import environment_of
from baileys_resilience.failover.sources import bring_mirror_up_to_date
from lab import Lab, application
from tests.faults.test_lab_faults import DAMAGED_DATA, DEAD_DATABASE
from tests.integration.client.test_failover_in_an_outage import talk
from tests.integration.failover.host import Host
from tests.integration.failover.test_moves import newest_report
from tests.support.faults import places


@pytest.fixture
def host(lab: Lab) -> Iterator[Host]:
    """The deployed code of this application runs on both stores."""
    host = Host(lab, mirror_dir=lab.mirror_dir, code={"source": "none"}, policy={"mode": "auto"})
    lab.wait_open()
    if "USE_DATABASE_AUTH_STATE" in environment_of(host.pid()):
        # A test before had it restarted with flags of its own, which PM2 keeps as long as it knows the process.
        lab.pm2("delete", lab.need_app().pm2_name)
        application.start(lab)
        lab.wait_open()
    bring_mirror_up_to_date(host.settings())
    yield host
    lab.heal()
    assert {each["store"] for each in lab.wait_open()["companies"]} == {"postgres"}
    talk(lab, "at the end")
    assert {device["conflicts"] for device in lab.devices()} == {0}


def logins(lab: Lab) -> list[int]:
    return [device["logins"] for device in lab.devices()]


def mode_of(outcome: Outcome) -> tuple[str, str]:
    assert outcome.report is not None
    return outcome.report["outcome"], outcome.report["mode"]


def health(lab: Lab) -> set[tuple[str, str]]:
    return {(each["connection"], each["store"]) for each in lab.health()["companies"]}


@pytest.mark.parametrize("fault", places(["", *DEAD_DATABASE], ["", "postgres-kill"]))
def test_sessions_move_there_and_back_and_whatsapp_sees_nothing(host: Host, lab: Lab, fault: str) -> None:
    before, pid = logins(lab), host.pid()
    if fault:
        lab.break_(fault)
        talk(lab, f"in the outage {fault}")
    with talking(lab, f"while it moves {fault}"):
        assert mode_of(host.failover()) == ("done", LIVE)
    assert health(lab) == {("open", "files")}
    talk(lab, f"on files {fault}")
    lab.heal()
    with talking(lab, f"while it moves back {fault}"):
        assert mode_of(host.failback()) == ("done", LIVE)
    assert health(lab) == {("open", "postgres")}
    talk(lab, f"back {fault}")
    assert (logins(lab), host.pid()) == (before, pid)
    assert not host.place.exists()


@pytest.mark.parametrize(("fault", "variant"), places(DAMAGED_DATA, DAMAGED_DATA[-1:]))
def test_damaged_rows_do_not_reach_sessions_that_move(host: Host, lab: Lab, fault: str, variant: str) -> None:
    before, pid = logins(lab), host.pid()
    lab.break_(fault, company=lab.companies[0].id, **({"variant": variant} if variant else {}))
    assert mode_of(host.failover()) == ("done", LIVE)
    talk(lab, f"on files after {fault} {variant}")
    assert mode_of(host.failback()) == ("done", LIVE)
    talk(lab, f"back after {fault} {variant}")
    assert (logins(lab), host.pid()) == (before, pid)


class talking:
    """Messages to every company for as long as the block runs; each must be decrypted."""

    def __init__(self, lab: Lab, text: str) -> None:
        self._lab, self._text = lab, text
        self._over = threading.Event()
        self._outcomes: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            for company in self._lab.companies:
                said = f"{self._text} {number}"
                self._outcomes.append(self._lab.message(company.id, said, sender="contact-2", timeout_ms=15000))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        assert set(self._outcomes) == {"delivered"}


def test_the_plan_says_that_nothing_is_stopped_and_why_not(host: Host, lab: Lab) -> None:
    plan = "\n".join(host.operation().plan().sentences())
    assert "mode live: nothing is restarted" in plan
    assert "to hold the writes of each session" in plan
    assert plan.count("keys from client\n") == len(lab.companies)
    assert "s of it with the writes of the sessions held" in plan
    archived = "\n".join(host.operation(code={"source": "archive"}).plan().sentences())
    assert "mode restart: another code runs from files" in archived
    with pytest.raises(StepFailed) as caught:
        host.failover(code={"source": "archive"}, policy={"mode": "live"})
    assert "cannot move while they run: another code runs from files" in caught.value.cause
    assert host.operation(policy={"mode": "restart"}).plan().mode == RESTART


def run_until(host: Host, last: str, operation: str = "failover") -> None:
    """Begin, and run its steps up to this one."""
    host.operation(operation).begin()
    steps = host.operation(operation).step_names
    for step in steps[: steps.index(last) + 1]:
        host.operation(operation).step(step)


def resume_or_be_taken_back(host: Host, operation: str) -> None:
    try:
        host.operation(operation).resume()
    except ResilienceError:
        assert newest_report(host)["outcome"] == "undone"
    else:
        assert newest_report(host)["outcome"] == "done"
    health = host.lab.wait_open()
    stores = {each["store"] for each in health["companies"]}
    assert stores == {each.store for each in host.operation().plan().companies}


@pytest.mark.parametrize("last", ["stop", "switch_env"])
def test_a_move_that_is_taken_back_lets_the_sessions_go_on_where_they_were(host: Host, lab: Lab, last: str) -> None:
    before, pid, env = logins(lab), host.pid(), host.env_file.read_bytes()
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    run_until(host, last)
    assert health(lab) == {("open", "postgres")}
    host.operation().undo("a test")
    talk(lab, "taken back")
    assert (logins(lab), host.pid(), host.env_file.read_bytes()) == (before, pid, env)
    assert not host.place.exists()


@pytest.mark.parametrize("last", places(["stop", "export", "record_store", "switch_env"], ["stop", "record_store"]))
def test_a_client_that_is_killed_in_the_middle_starts_on_a_whole_store(host: Host, lab: Lab, last: str) -> None:
    """PM2 starts it again at once; the run is then completed, or taken back, and nothing is lost either way."""
    lab.break_("postgres-kill")
    talk(lab, f"in the outage before {last}")
    run_until(host, last)
    os.kill(host.pid(), signal.SIGKILL)
    lab.wait_open()
    resume_or_be_taken_back(host, "failover")
    talk(lab, f"after {last}")
    lab.heal()
    if host.operation().plan().companies[0].store == "files":
        host.failback()


@pytest.mark.parametrize("last", places(["stop", "import", "record_store", "switch_env"], ["import", "switch_env"]))
def test_one_that_is_killed_on_the_way_back_does_too(host: Host, lab: Lab, last: str) -> None:
    assert mode_of(host.failover()) == ("done", LIVE)
    talk(lab, f"on files before {last}")
    run_until(host, last, "failback")
    os.kill(host.pid(), signal.SIGKILL)
    lab.wait_open()
    resume_or_be_taken_back(host, "failback")
    talk(lab, f"after {last} of the way back")
    if host.operation().plan().companies[0].store == "files":
        host.failback()


def test_a_process_with_flags_of_its_own_is_restarted(host: Host, lab: Lab) -> None:
    """After a move by restart PM2 holds the flags, and they would go before .env at the next start."""
    assert mode_of(host.failover(policy={"mode": "restart"})) == ("done", RESTART)
    assert mode_of(host.failback()) == ("done", RESTART)
    plan = "\n".join(host.operation().plan().sentences())
    assert "mode restart: its process holds USE_" in plan
