# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports as tests run them."""

from __future__ import annotations

from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import ExportReport, export_companies
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot


def export_all(
    params: ConnectParams,
    home: SessionsHome,
    companies: list[str] | None = None,
    tables: TableMapping | None = None,
) -> ExportReport:
    """One snapshot into the home; all companies that have creds unless named."""
    with open_snapshot(params, tables or TableMapping()) as snapshot:
        return export_companies(snapshot, home, snapshot.companies() if companies is None else companies)
