# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database, and the two real libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, nodejs
from tests.interop.libraries import Library
from tests.support.databases import Database, new_database


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "interop", app=False)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture
def database(lab: Lab) -> Iterator[Database]:
    with new_database(lab) as database:
        yield database


@pytest.fixture(scope="session", params=["baileys", "baileys-6"])
def library(request: pytest.FixtureRequest, lab: Lab, project_root: Path) -> Library:
    node, _npm = nodejs.find()
    nodejs.ensure_lab_packages(lab.path, node)
    return Library(node, project_root / "lab" / "node" / "node_modules" / request.param)
