# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that the login role must not see are an error, never an export or an import with less in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from baileys_resilience.errors import Refused, ResilienceError
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.synthetic import SMALL_MIX, make_companies

COMPANIES = make_companies(2, SMALL_MIX)
ROLE, PASSWORD = "reads_less", "secret of a test"


@pytest.fixture
def role(database: Database) -> Iterator[ConnectParams]:
    """A login role that owns nothing and may read and write both tables."""
    database.fill(*COMPANIES)
    with as_superuser(database) as run:
        run(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_auth, whatsapp_keys TO {ROLE}")
    known = database.params
    yield ConnectParams(known.host, known.port, known.dbname, ROLE, PASSWORD)
    with as_superuser(database) as run:
        run(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


@contextmanager
def as_superuser(database: Database) -> Iterator[Callable[[str], None]]:
    connection = database.lab.connect(superuser=True, direct=True, database=database.name)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor.execute
    finally:
        connection.close()


def hide(database: Database, table: str) -> None:
    database.run(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY own ON {table} USING (company_id = '{COMPANIES[0].id}')"
    )


def assert_refused(error: ResilienceError) -> None:
    assert type(error) is Refused
    assert "row-level security" in error.cause
    assert "a role with BYPASSRLS" in error.hint


@pytest.mark.parametrize("table", ["whatsapp_auth", "whatsapp_keys"])
def test_row_level_security_refuses_an_export_and_an_import(
    database: Database, home: SessionsHome, role: ConnectParams, table: str
) -> None:
    export_all(database.params, home)
    hide(database, table)
    before = database.everything(versions=True)
    with pytest.raises(Refused) as caught:
        run_export(ExportRequest(role, TableMapping(), home))
    assert_refused(caught.value)
    assert caught.value.cause == f"row-level security hides rows of {table} from {ROLE}"
    with pytest.raises(Refused) as caught:
        import_companies(DirectorySource(home), role, TableMapping(), home.companies())
    assert_refused(caught.value)
    assert database.everything(versions=True) == before


def test_row_level_security_behind_a_view_refuses_too(
    database: Database, home: SessionsHome, role: ConnectParams
) -> None:
    hide(database, "whatsapp_keys")
    database.run(
        "CREATE VIEW keys_view WITH (security_invoker) AS SELECT * FROM whatsapp_keys;"
        f"GRANT SELECT ON keys_view TO {ROLE}"
    )
    with pytest.raises(Refused) as caught:
        run_export(ExportRequest(role, TableMapping.from_option({"keys": {"table": "keys_view"}}), home))
    assert_refused(caught.value)


def test_policies_that_do_not_bind_the_owner_are_no_obstacle(database: Database, home: SessionsHome) -> None:
    database.fill(*COMPANIES)
    hide(database, "whatsapp_keys")
    assert len(run_export(ExportRequest(database.params, TableMapping(), home)).report.exported) == len(COMPANIES)
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    assert import_companies(DirectorySource(home), database.params, TableMapping(), home.companies()).failed == {}


def test_a_column_that_the_role_may_not_read_is_refused_with_what_to_grant(
    database: Database, home: SessionsHome, role: ConnectParams
) -> None:
    database.run(
        f"REVOKE SELECT ON whatsapp_keys FROM {ROLE};"
        f"GRANT SELECT (company_id, key_type, key_id, updated_at) ON whatsapp_keys TO {ROLE}"
    )
    with pytest.raises(Refused) as caught:
        run_export(ExportRequest(role, TableMapping(), home))
    assert "grant the login user what is missing" in caught.value.hint
