# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on a host whose application has our session client: it prints what the page's note on `mode live` says, and
nothing is restarted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from lab import Lab, application
from tests.integration.runbook import damage
from tests.integration.runbook.conftest import section
from tests.integration.runbook.host import HOST, Operator, make_ready
from tests.integration.runbook.page import in_mode_live
from tests.support.matching import lines_of

RESUME = f"--limit {HOST} -e failover_confirm={HOST} -e failover_open_run=resume"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "runbook", 2)
    try:
        made = make_ready(lab)
        lab.pm2("restart", lab.need_app().pm2_name)  # the client looks for its table when it opens a session
        lab.wait_open()
        yield made
    finally:
        lab.down()


def runs_as(lab: Lab) -> tuple[list[int], list[int]]:
    """The processes, and how often each device has logged in."""
    pids = [int(each["pid"]) for each in application.pm2_processes(lab)]
    return pids, [device["logins"] for device in lab.devices()]


def begun() -> list[tuple[str, str]]:
    """Sections, each with the fault that it begins with. RUNBOOK=all: all of them."""
    scenarios = [(f"{number}.", section(f"{number}.").faults[0]) for number in range(1, 6)]
    return [("First look", ""), *(scenarios if os.environ.get("RUNBOOK") == "all" else scenarios[:2])]


@pytest.mark.parametrize(("title", "fault"), begun())
def test_the_page_is_true_of_sessions_that_move_while_they_run(operator: Operator, title: str, fault: str) -> None:
    before = runs_as(operator.lab)
    operator.follow(in_mode_live(section(title)), fault)
    assert runs_as(operator.lab) == before


def test_a_run_that_was_cut_off_is_completed_as_the_page_says(operator: Operator) -> None:
    """It is sealed by then: nothing is sent or received until somebody comes."""
    lab = operator.lab
    before = runs_as(lab)
    damage.bring_about(lab, "postgres-kill")
    cut_off(operator, behind="switch_env")
    told = lines_of(operator.run("baileys-resilience failover status").stdout)
    assert any("OPEN: failover" in line for line in told), told
    done = operator.run(f"ansible-playbook baileys.resilience.emergency_failover {RESUME}")
    assert done.returncode == 0, done.stdout
    assert f"failover on {HOST} done: 2 of 2 companies connected" in done.stdout
    damage.expect_messages(lab, "after the run that was cut off")
    damage.repair(lab, "postgres-kill")
    back = operator.run(f"ansible-playbook baileys.resilience.failback --limit {HOST} -e failover_confirm={HOST}")
    assert back.returncode == 0, back.stdout
    damage.expect_messages(lab, "after the failback")
    assert runs_as(lab) == before


def cut_off(operator: Operator, *, behind: str) -> None:
    """The host's own command, which nobody lets get any further."""
    settings = load_settings(operator.lab.path / "failover.json")
    policy = replace(settings.policy, confirm=HOST, cooldown_seconds=0)
    operation = Operation(replace(settings, policy=policy), "failover")
    run = operation.begin().run
    names = operation.step_names
    for name in names[: names.index(behind) + 1]:
        operation.step(name, run)
