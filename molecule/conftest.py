# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that scenarios share. A failed test shows the journals of the hosts that it used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import machine
from testinfra.host import Host

JOURNAL_LINES = 60


@pytest.fixture(scope="session")
def database() -> Host:
    return machine("database")


@pytest.fixture(scope="session")
def blank() -> Host:
    return machine("blank")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield
    if report.failed:
        for name, host in item.funcargs.items():
            if isinstance(host, Host):
                shown = host.run(f"journalctl --boot --no-pager --lines={JOURNAL_LINES} --output=short-iso")
                report.sections.append((f"journal of {name}", shown.stdout + shown.stderr))
    return report
