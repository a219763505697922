# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cooldown stops a second failover, never a resume or a failback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baileys_resilience.errors import Busy
from baileys_resilience.failover.code import prepare
from lab import Lab
from tests.integration.failover.host import Host


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("lab"), 2, client=False)
    try:
        prepare(Host(lab).settings())
        yield lab
    finally:
        lab.down()


def test_a_second_failover_waits_and_neither_a_resume_nor_a_failback_does(lab: Lab, host: Host) -> None:
    patient = {"cooldown_seconds": 300}
    first, second = (company.id for company in lab.companies)
    host.failover(companies=[first], policy=patient)
    with host.refuses(Busy, cause="a failover by test ended", hint="set failover_cooldown to 0"):
        host.failover(policy=patient)
    plan = host.operation("failover", policy=patient).plan()
    assert [each for each in plan.blocked if "a failover by test ended" in each and "wait " in each], plan.blocked

    begun = host.operation("failover")
    assert begun.begin().changed
    begun.step("preflight")
    resumed = host.operation("failover", policy=patient).resume()
    assert resumed.report is not None
    assert resumed.report["outcome"] == "done"
    assert {each["store"] for each in lab.wait_open(20)["companies"]} == {"files"}

    assert host.failback(policy=patient).changed
    assert {each["store"] for each in lab.wait_open(20)["companies"]} == {"postgres"}
    for company in (first, second):
        assert lab.message(company, "after all that") == "delivered"
