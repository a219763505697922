# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Through Debian's PgBouncer in transaction mode: each transaction may get another connection of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baileys_resilience.postgres import ConnectParams, session
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import ImportOptions, import_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from tests.support.sources import assert_holds
from tests.support.synthetic import SMALL_MIX, make_companies
from tests.system.bouncer import transaction_pooler
from tests.system.postgres15 import USER, Cluster

COMPANIES = make_companies(3, SMALL_MIX)


@pytest.fixture(scope="module")
def bouncer(server: Cluster) -> Iterator[ConnectParams]:
    # PgBouncer hands on what the first connection of the server says of itself.
    server.run(f"ALTER ROLE {USER} SET TimeZone = 'Asia/Tokyo'; ALTER ROLE {USER} SET DateStyle = 'German'")
    try:
        with transaction_pooler(server) as params:
            yield params
    finally:
        server.run(f"ALTER ROLE {USER} RESET ALL")


def test_an_export_and_an_import_go_through_it(tables: Cluster, bouncer: ConnectParams, home: SessionsHome) -> None:
    tables.fill(*COMPANIES)
    outcome = run_export(ExportRequest(bouncer, TableMapping(), home, jobs=2))
    assert outcome.report.failed == {}
    for company in COMPANIES:
        assert_holds(home.directory(company.id), company)
    tables.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    ids = [company.id for company in COMPANIES]
    options = ImportOptions(newer_rows="overwrite")
    assert import_companies(DirectorySource(home), bouncer, TableMapping(), ids, options).failed == {}
    again = run_export(ExportRequest(bouncer, TableMapping(), home))
    assert (again.report.failed, again.report.changed) == ({}, False)


def test_times_are_in_utc_on_whatever_connection_a_transaction_gets(tables: Cluster, bouncer: ConnectParams) -> None:
    backends = set()
    with session(bouncer, operation="test") as (first, _), session(bouncer, operation="test") as (second, _):
        for connection in (first, second):  # the second transaction begins while the first is open
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid(), ('2026-01-05T06:07:08Z'::timestamptz)::text")
                pid, text = cursor.fetchone()
            backends.add(pid)
            assert text == "2026-01-05 06:07:08+00"
    assert len(backends) == 2
