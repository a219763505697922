# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for the tests: one of databases only, one with the whole application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab
from tests.lab.helpers import processes_of, seed


@pytest.fixture(scope="session")
def bare_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """PostgreSQL, proxy and receivers, with two companies' rows; every test leaves it healed."""
    directory = tmp_path_factory.mktemp("labs") / "bare"
    lab = Lab.up(directory, companies=2, app=False)
    try:
        seed(lab)
        yield lab
    finally:
        lab.down()
    assert not directory.exists()
    assert processes_of(directory) == []


@pytest.fixture
def healed(bare_lab: Lab) -> Iterator[Lab]:
    """The bare lab, healed after the test whatever the test did."""
    yield bare_lab
    bare_lab.heal()


@pytest.fixture(scope="session")
def full_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Everything, with two paired companies, in a folder too deep for PM2's sockets."""
    directory: Path = tmp_path_factory.mktemp("labs") / ("deep" * 20) / "full"
    lab = Lab.up(directory, companies=2)
    outside = [Path(path) for path in lab.outside]
    try:
        yield lab
    finally:
        lab.down()
    assert not directory.exists()
    assert not any(path.exists() for path in outside)
    assert processes_of(directory) == []


@pytest.fixture
def live(full_lab: Lab) -> Iterator[Lab]:
    """The whole lab, healed after the test whatever the test did."""
    yield full_lab
    full_lab.heal()
