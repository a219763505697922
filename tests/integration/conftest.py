# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One PostgreSQL 18 per worker, one database per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.sessions.directory_store import SessionsHome
from lab import Lab
from tests.support.databases import Database, new_database


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "integration", app=False)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture
def database(lab: Lab) -> Iterator[Database]:
    with new_database(lab) as database:
        yield database


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    return SessionsHome(tmp_path / "sessions")
