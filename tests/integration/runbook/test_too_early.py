# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page says of a failback while PostgreSQL is still down: its end is green, and its second line says no."""

from __future__ import annotations

from tests.integration.runbook import damage
from tests.integration.runbook.host import HOST, Operator
from tests.support.matching import lines_of

CONFIRMED = f"--limit {HOST} -e failover_confirm={HOST}"


def expect_done(operator: Operator, command: str) -> str:
    done = operator.run(command)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_plan_to_go_back_too_early_is_green_and_blocked_behind_its_first_line(operator: Operator) -> None:
    operator.let_mirror_follow()
    damage.bring_about(operator.lab, "postgres-stop")
    expect_done(operator, f"ansible-playbook baileys.resilience.emergency_failover {CONFIRMED}")
    told = lines_of(expect_done(operator, f"ansible-playbook baileys.resilience.failback --check --limit {HOST}"))
    headline = next(at for at, line in enumerate(told) if f"{HOST}: failback of 2 companies to postgres" in line)
    assert "  BLOCKED: " in told[headline + 1]
    assert any("failed=0" in line for line in told)
    damage.repair(operator.lab, "postgres-stop")
    expect_done(operator, f"ansible-playbook baileys.resilience.failback {CONFIRMED}")
    damage.expect_messages(operator.lab, "after the failback")
