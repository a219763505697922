# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for all; a database and a small host for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.support.databases import new_database
from tests.support.small_host import SmallHost


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "cut-off", app=False)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture
def host(server: Lab, tmp_path: Path) -> Iterator[SmallHost]:
    with new_database(server) as database:
        made = SmallHost(tmp_path, database)
        try:
            yield made
        finally:
            made.end()
