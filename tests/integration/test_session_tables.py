# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session tables made anew: they take a whole session, and whatever is there already stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.session_tables import create_session_tables
from lab import Lab
from tests.support.databases import Database, new_database
from tests.support.exports import export_all
from tests.support.synthetic import make_company

AWKWARD = {
    "auth": {"table": 'Auth "x"', "company": "Tenant", "creds": "data", "updated_at": ""},
    "keys": {"table": "public.signal", "company": "%s", "type": "kind", "id": "select", "updated_at": "changed at"},
}


@pytest.fixture
def empty(lab: Lab) -> Iterator[Database]:
    with new_database(lab, schema="") as made:
        yield made


def make(database: Database, tables: TableMapping) -> list[str]:
    with database.open() as connection, connection, connection.cursor() as cursor:
        return create_session_tables(cursor, tables)


@pytest.mark.parametrize("option", [{}, AWKWARD], ids=["default names", "awkward names"])
def test_tables_made_anew_take_every_session_and_a_second_time_makes_nothing(
    database: Database, empty: Database, home: SessionsHome, option: dict[str, Any]
) -> None:
    company = make_company("962301")
    database.fill(company)
    assert export_all(database.params, home).failed == {}
    tables = TableMapping.from_option(option)
    assert make(empty, tables) == [tables.auth.table, tables.keys.table]
    report = import_companies(DirectorySource(home), empty.params, tables, ["962301"])
    assert report.failed == {}
    assert sum(report.imported[0].added.values()) == len(company.keys)
    assert make(empty, tables) == []
    again = import_companies(DirectorySource(home), empty.params, tables, ["962301"])
    assert (again.failed, again.changed) == ({}, False)


def test_only_the_table_that_is_missing_is_made(database: Database) -> None:
    database.fill(make_company("962301"))
    creds = database.run("SELECT * FROM whatsapp_auth")
    database.run("DROP TABLE whatsapp_keys")
    assert make(database, TableMapping()) == ["whatsapp_keys"]
    assert database.run("SELECT * FROM whatsapp_auth") == creds
    assert database.run("SELECT * FROM whatsapp_keys") == []
