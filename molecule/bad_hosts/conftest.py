# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from machines import machine
from testinfra.host import Host


@pytest.fixture(scope="session")
def steady() -> Host:
    return machine("steady")


@pytest.fixture(scope="session")
def doomed() -> Host:
    return machine("doomed")
