# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab a module: PostgreSQL, the stand-in, one paired company, and the application under PM2, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baileys_resilience.failover.code import prepare
from lab import Lab
from tests.integration.failover.host import Host


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("lab"), 1, client=False)
    try:
        prepare(Host(lab).settings())
        yield lab
    finally:
        lab.down()


@pytest.fixture
def host(lab: Lab) -> Host:
    """The application's host, without a mirror: PostgreSQL lives."""
    return Host(lab)
