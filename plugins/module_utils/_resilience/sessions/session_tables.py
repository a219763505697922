# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The two tables that hold the sessions, made anew where they were dropped or where the database is a new one.

Normally they are the application's own, with columns that only its migrations know. These here have what a session
needs and nothing else.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from .._thirdparty import require
from .model import TableMapping
from .postgres_store import regclass_text, table_identifier

#: column of the mapping -> its type; what is first in the key of the table comes first
_AUTH: Dict[str, str] = {"company": "text", "creds": "jsonb"}
_KEYS: Dict[str, str] = {"company": "text", "type": "text", "id": "text", "value": "jsonb NOT NULL"}
_TIME = "timestamptz NOT NULL DEFAULT now()"


def create_session_tables(cursor: Any, tables: TableMapping) -> List[str]:
    """Make those of the two that are missing, with the names of the mapping. Returns the names of those made; a table
    that is there is left as it is.
    """
    # Two hosts may do this at once, and IF NOT EXISTS does not see what the other has not committed yet.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('baileys_resilience'))")
    wanted = (
        (tables.auth, _AUTH, ("company",)),
        (tables.keys, _KEYS, ("company", "type", "id")),
    )
    made = []
    for table, types, key in wanted:
        cursor.execute("SELECT to_regclass(%s)", (regclass_text(table.table),))
        if cursor.fetchone()[0] is None:
            columns = {getattr(table, name): sql_type for name, sql_type in types.items()}
            _create(cursor, table.table, columns, [getattr(table, name) for name in key], table.updated_at)
            made.append(table.table)
    return made


def _create(cursor: Any, name: str, columns: Dict[str, str], key: List[str], updated_at: Optional[str]) -> None:
    sql = require("psycopg2.sql")
    shaped: List[Tuple[str, str]] = [*columns.items(), *([(updated_at, _TIME)] if updated_at else [])]
    cursor.execute(
        sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
            table_identifier(name),
            sql.SQL(", ").join(sql.SQL("{} " + sql_type).format(sql.Identifier(column)) for column, sql_type in shaped),
            sql.SQL(", ").join(map(sql.Identifier, key)),
        )
    )
