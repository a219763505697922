# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Orphans: keys of a company that has no creds. They are useless, but creds can be lost by accident, and then the keys
are all that is left of the session. So they go only when nobody has written any of them for a long time: a session that
runs writes keys, and whoever lost its creds has missed it by then.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence

from .._thirdparty import require
from ..sessions.info import days_ago
from ..sessions.model import KeysTable, TableMapping
from ..sessions.postgres_store import table_identifier

ORPHAN_DAYS = 90.0
#: creds that were lost by accident are found out within that
SHORTEST_ORPHAN_DAYS = 30.0


def orphans_among(
    cursor: Any, tables: TableMapping, days: float, companies: Sequence[str]
) -> Dict[str, Dict[str, int]]:
    """Those of ``companies`` (which have no creds) of which no key was written for ``days``, with the number of their
    keys by type. None where a key's time is not known, and none where no company at all has creds: then their table is
    what was lost.
    """
    keys = tables.keys
    if not days or not keys.updated_at or not companies or not _somebody_has_creds(cursor, tables):
        return {}
    sql = require("psycopg2.sql")
    cursor.execute(
        sql.SQL(
            "SELECT {company}::text, {type}::text, count(*), bool_and(coalesce({silent}, false))"
            " FROM {table} WHERE {company}::text = ANY({}) GROUP BY 1, 2"
        ).format(
            sql.Literal(list(companies)),
            company=sql.Identifier(keys.company),
            type=sql.Identifier(keys.type),
            silent=_silent(keys, days),
            table=table_identifier(keys.table),
        )
    )
    found: Dict[str, Dict[str, int]] = {}
    spoken = set()
    for company, key_type, count, is_silent in cursor.fetchall():
        found.setdefault(company, {})[key_type] = count
        if not is_silent:
            spoken.add(company)
    return {company: counts for company, counts in found.items() if company not in spoken}


def orphaned(tables: TableMapping, days: float, company: str) -> Any:
    """A boolean expression over the keys' table: may this row of an orphan still go?"""
    sql = require("psycopg2.sql")
    return sql.SQL("{} AND NOT EXISTS (SELECT FROM {} AS auth WHERE auth.{}::text = {})").format(
        _silent(tables.keys, days),
        table_identifier(tables.auth.table),
        sql.Identifier(tables.auth.company),
        sql.Literal(company),
    )


def _silent(keys: KeysTable, days: float) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL("{}::timestamptz < {}").format(sql.Identifier(keys.updated_at), days_ago(sql.Literal(days)))


def _somebody_has_creds(cursor: Any, tables: TableMapping) -> bool:
    sql = require("psycopg2.sql")
    cursor.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)").format(
            table_identifier(tables.auth.table), sql.Identifier(tables.auth.creds)
        )
    )
    return bool(cursor.fetchone()[0])
