# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Orphans: keys of a company that has no creds. They are useless, but creds can be lost by accident, and then the keys
are all that is left of the session. So they go only when nobody has written any of them for a long time: a session that
runs writes keys, and whoever lost its creds has missed it by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Sequence

from .._thirdparty import require
from ..sessions.model import KeysTable, TableMapping
from ..sessions.postgres_store import table_identifier
from .counting import columns_of

ORPHAN_DAYS = 90.0
#: creds that were lost by accident are found out within that
SHORTEST_ORPHAN_DAYS = 30.0


@dataclass
class Orphan:
    """``counts`` and ``largest``: number of keys, and bytes of the largest as a text, by type."""

    counts: Dict[str, int] = field(default_factory=dict)
    largest: Dict[str, int] = field(default_factory=dict)


def orphans_among(cursor: Any, tables: TableMapping, days: float, companies: Sequence[str]) -> Dict[str, Orphan]:
    """Those of ``companies`` (which have no creds) of which no key was written for ``days``. None where a key's time is
    not known, and none where no company at all has creds: then their table is what was lost.
    """
    keys = tables.keys
    if not days or not keys.updated_at or not companies or not _somebody_has_creds(cursor, tables):
        return {}
    sql = require("psycopg2.sql")
    cursor.execute(
        sql.SQL(
            "SELECT {company}::text, {type}::text, count(*), max({size}), bool_and(coalesce({silent}, false))"
            " FROM {table} WHERE {company}::text = ANY({}) GROUP BY 1, 2"
        ).format(
            sql.Literal(list(companies)),
            company=sql.Identifier(keys.company),
            type=sql.Identifier(keys.type),
            size=text_bytes(cursor, keys),
            silent=_silent(keys, days),
            table=table_identifier(keys.table),
        )
    )
    found: Dict[str, Orphan] = {}
    spoken = set()
    for company, key_type, count, largest, is_silent in cursor.fetchall():
        orphan = found.setdefault(company, Orphan())
        orphan.counts[key_type], orphan.largest[key_type] = count, largest
        if not is_silent:
            spoken.add(company)
    return {company: orphan for company, orphan in found.items() if company not in spoken}


def orphaned(tables: TableMapping, days: float, company: str) -> Any:
    """A boolean expression over the keys' table: may this row of an orphan still go?"""
    sql = require("psycopg2.sql")
    return sql.SQL("{} AND NOT EXISTS (SELECT FROM {} AS auth WHERE auth.{}::text = {})").format(
        _silent(tables.keys, days),
        table_identifier(tables.auth.table),
        sql.Identifier(tables.auth.company),
        sql.Literal(company),
    )


def text_bytes(cursor: Any, keys: KeysTable) -> Any:
    """What a row is as it travels, its names and time left out, which are short."""
    sql = require("psycopg2.sql")
    short = (keys.company, keys.type, keys.id, keys.updated_at)
    columns = [name for name, _kind in columns_of(cursor, keys.table) if name not in short]
    sizes = [sql.SQL("coalesce(octet_length({}::text), 0)").format(sql.Identifier(name)) for name in columns]
    return sql.SQL(" + ").join(sizes or [sql.SQL("0")])


def _silent(keys: KeysTable, days: float) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL("{}::timestamptz < now() - {} * interval '1 day'").format(
        sql.Identifier(keys.updated_at), sql.Literal(days)
    )


def _somebody_has_creds(cursor: Any, tables: TableMapping) -> bool:
    sql = require("psycopg2.sql")
    cursor.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)").format(
            table_identifier(tables.auth.table), sql.Identifier(tables.auth.creds)
        )
    )
    return bool(cursor.fetchone()[0])
