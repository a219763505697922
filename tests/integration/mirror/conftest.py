# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror of one test's database, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.failover.mirror import Mirror, install_change_log, open_mirror
from baileys_resilience.failover.settings import FailoverSettings
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.model import TableMapping
from tests.support.databases import Database
from tests.support.sources import assert_holds
from tests.support.synthetic import Company

MakeMirror = Callable[..., Mirror]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "mirror"


@pytest.fixture
def make_mirror(database: Database, directory: Path) -> MakeMirror:
    def make(**options: Any) -> Mirror:
        params = options.pop("params", database.params)
        return Mirror(params, TableMapping(), directory, **options)

    return make


@pytest.fixture
def mirror(make_mirror: MakeMirror) -> Mirror:
    return make_mirror()


@pytest.fixture
def assert_gives_back(directory: Path, home: SessionsHome) -> Callable[[Company], None]:
    """An export from the mirror is exactly this company."""

    def check(company: Company) -> None:
        with open_mirror(directory) as reader:
            report = export_companies(reader, home, [company.id])
        assert report.failed == {}
        assert_holds(home.directory(company.id), company)

    return check


@pytest.fixture
def make_settings(database: Database, tmp_path: Path) -> Callable[..., FailoverSettings]:
    def make(**options: Any) -> FailoverSettings:
        return FailoverSettings(
            "host",
            ("962301", "962302"),
            database.params,
            str(tmp_path / "sessions"),
            str(tmp_path / "state"),
            **options,
        )

    return make


def install_log(database: Database) -> None:
    """As an administrator, for the application's role to read."""
    lab = database.lab
    connection = lab.connect(superuser=True, direct=True, database=database.name)
    try:
        with connection, connection.cursor() as cursor:
            install_change_log(cursor, TableMapping(), reader=lab.need_postgres().user)
    finally:
        connection.close()


def without(company: Company, *names: tuple[str, str]) -> Company:
    return replace(company, keys={name: value for name, value in company.keys.items() if name not in names})
