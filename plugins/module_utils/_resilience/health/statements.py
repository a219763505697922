# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is asked of a database to find out whether it serves. Each is one message to the server, so that no lock waits
for us when we die or the network does.
"""

from __future__ import annotations

import hashlib
from typing import Any

from .._thirdparty import require
from ..sessions.model import TableMapping
from ..sessions.postgres_store import regclass_text, table_identifier

_ROLE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
_ONE_ROW = "(SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1) AS one)"
#: what an application does with either table, beside reading
WRITES = ("INSERT", "UPDATE", "DELETE")


def read_statement(tables: TableMapping) -> Any:
    """Whether the server is a primary that takes writes, and one row of each table: one question, one round trip."""
    sql = require("psycopg2.sql")
    return sql.SQL(f"{_ROLE}, {_ONE_ROW}, {_ONE_ROW}").format(
        table_identifier(tables.auth.table), table_identifier(tables.keys.table)
    )


def patient_read_statement(tables: TableMapping, deadline_seconds: float) -> Any:
    """The same, and which rights to write are missing (text, empty where none is): ``INSERT ON t, UPDATE ON t``. A lock
    that somebody holds is an error of its own, since it comes before the deadline.
    """
    sql = require("psycopg2.sql")
    lacks = sql.SQL(
        "concat_ws(', ', "
        + ", ".join(
            f"CASE WHEN NOT has_table_privilege({{{table}}}, '{right}') THEN '{right} ON ' || {{{table}_name}} END"
            for table in ("auth", "keys")
            for right in WRITES
        )
        + ")"
    ).format(
        auth=sql.Literal(regclass_text(tables.auth.table)),
        keys=sql.Literal(regclass_text(tables.keys.table)),
        auth_name=sql.Literal(tables.auth.table),
        keys_name=sql.Literal(tables.keys.table),
    )
    return sql.SQL("").join([_limits(deadline_seconds), read_statement(tables), sql.SQL(", "), lacks])


def write_statement(tables: TableMapping, deadline_seconds: float) -> Any:
    """One key is given the value that it has, and that is taken back. A key that somebody works on is passed over. In
    an empty table nothing is written, but rights, locks and read-only mode are met all the same.
    """
    sql = require("psycopg2.sql")
    keys = tables.keys
    columns = [keys.company, keys.type, keys.id]
    return sql.SQL(
        "BEGIN; {limits}UPDATE {table} SET {value} = {value} WHERE ({columns}) ="
        " (SELECT {columns} FROM {table} LIMIT 1 FOR UPDATE SKIP LOCKED); ROLLBACK"
    ).format(
        limits=_limits(deadline_seconds),
        table=table_identifier(keys.table),
        value=sql.Identifier(keys.value),
        columns=sql.SQL(", ").join(sql.Identifier(column) for column in columns),
    )


def _limits(deadline_seconds: float) -> Any:
    """Only for the transaction that it is in: behind a PgBouncer, a setting of the session would be somebody else's."""
    sql = require("psycopg2.sql")
    milliseconds = max(1, int(deadline_seconds * 1000))
    return sql.SQL("SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; ").format(
        sql.Literal(milliseconds), sql.Literal(max(1, milliseconds // 2))
    )


#: the table of the writes that stay; ``baileys-resilience init-db`` makes it (sessions/published.py)
CANARY_TABLE = "baileys_resilience.canary"


def canary_statement(monitor: str, deadline_seconds: float, *, end_others: bool) -> Any:
    """A write that stays: only a COMMIT shows a synchronous standby that is missing. The row of the last time goes, and
    one that is locked still is passed over.

    ``end_others``: canaries of this monitor whose COMMIT hangs wait on in the server, whatever became of us, and one
    that is left each five seconds would use up its connections. They are told by the text that they begin with: behind
    a PgBouncer nobody knows the process that served him.
    """
    sql = require("psycopg2.sql")
    mark = f"/* baileys-resilience canary {hashlib.sha256(monitor.encode()).hexdigest()[:16]} */ "
    end = sql.SQL("")
    if end_others:
        end = sql.SQL(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND state = 'active'"
            " AND pid <> pg_backend_pid() AND wait_event = 'SyncRep' AND starts_with(query, {mark})"
            " AND clock_timestamp() - query_start > {seconds} * interval '1 second'; "
        ).format(mark=sql.Literal(mark), seconds=sql.Literal(deadline_seconds))
    return sql.SQL(
        "{mark}{end}BEGIN; {limits}DELETE FROM {table} WHERE id IN"
        " (SELECT id FROM {table} WHERE monitor = {monitor} FOR UPDATE SKIP LOCKED);"
        " INSERT INTO {table} (monitor) VALUES ({monitor}); COMMIT"
    ).format(
        mark=sql.SQL(mark),
        end=end,
        limits=_limits(deadline_seconds),
        table=sql.SQL(CANARY_TABLE),
        monitor=sql.Literal(monitor),
    )
