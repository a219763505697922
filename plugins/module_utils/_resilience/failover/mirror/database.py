# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a scan asks PostgreSQL. No right beyond SELECT is needed.

A row version is (tableoid, xmin, ctid): an UPDATE gives a new xmin, a rewrite of the table a new ctid, so equal
versions mean equal rows. Everything is read in one REPEATABLE READ snapshot, so what commits late is simply in a later
one.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from ..._thirdparty import require
from ...errors import Misconfigured
from ...postgres import ConnectParams, Deadline, session
from ...sessions.model import TableMapping
from ...sessions.postgres_store import check_tables, several_creds, table_identifier

_BATCH = 2000


@dataclass(frozen=True)
class ServerState:
    """The moment that a snapshot shows. On another ``timeline``, xids are used anew; after a crash a few may be, so
    ``started`` (of the server) is kept too.
    """

    system_identifier: str
    dbname: str
    timeline: str
    started: str
    snapshot: str
    snapshot_at: str
    lsn: Optional[str]
    kind: str


class Row(NamedTuple):
    """One key as the table holds it, with its row version."""

    type: str
    id: str
    value: Optional[bytes]
    updated_at: Optional[str]
    version: str


class CredsRow(NamedTuple):
    value: Optional[bytes]
    updated_at: Optional[str]
    version: str


class ScanSource:
    """One snapshot of the two tables, with row versions."""

    def __init__(self, connection: Any, cursor: Any, deadline: Deadline, tables: TableMapping) -> None:
        self.cursor = cursor
        self.tables = tables
        self._connection = connection
        self._deadline = deadline
        self._sql = require("psycopg2.sql")
        self.state = _server_state(cursor)

    def creds_versions(self) -> Dict[str, str]:
        """Row version of the creds of every company."""
        auth = self.tables.auth
        query = self._sql.SQL("SELECT {}::text, {} FROM {}").format(
            self._sql.Identifier(auth.company), _version(self._sql), table_identifier(auth.table)
        )
        return {row[0]: row[1] for row in self.stream(query) if row[0] is not None}

    def creds(self, company: str) -> Optional[CredsRow]:
        """The row of creds, or None. Raises CredsInvalid when there are several."""
        auth = self.tables.auth
        query = self._sql.SQL("SELECT {}::text, {}, {} FROM {} WHERE {} = {}").format(
            self._sql.Identifier(auth.creds),
            _time(self._sql, auth.updated_at),
            _version(self._sql),
            table_identifier(auth.table),
            self._sql.Identifier(auth.company),
            self._sql.Literal(company),
        )
        self.cursor.execute(query)
        self._deadline.progress()
        rows = self.cursor.fetchall()
        if len(rows) > 1:
            raise several_creds(company, len(rows), auth)
        return CredsRow(_encoded(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    def fingerprints(self) -> Iterator[Tuple[str, str]]:
        """(company, fingerprint of the row versions of its keys), computed by the server."""
        keys = self.tables.keys
        query = self._sql.SQL(
            "SELECT {0}::text, count(*) || '/' || sum(hashtextextended({1}, 0)) FROM {2} GROUP BY {0}"
        ).format(self._sql.Identifier(keys.company), _version(self._sql), table_identifier(keys.table))
        for company, fingerprint in self.stream(query):
            if company is not None:
                yield company, fingerprint

    def versions(self, company: str) -> Iterator[Tuple[str, str, str]]:
        """(type, id, row version) of a company's keys."""
        keys = self.tables.keys
        query = self._sql.SQL("SELECT {}::text, {}::text, {} FROM {} WHERE {} = {}").format(
            self._sql.Identifier(keys.type),
            self._sql.Identifier(keys.id),
            _version(self._sql),
            table_identifier(keys.table),
            self._sql.Identifier(keys.company),
            self._sql.Literal(company),
        )
        for key_type, key_id, version in self.stream(query):
            if key_type is not None and key_id is not None:
                yield key_type, key_id, version

    def rows(self, company: str) -> Iterator[Row]:
        """All keys of a company."""
        return self._rows(company, self._sql.SQL(""))

    def rows_at(self, company: str, places: Sequence[str]) -> Iterator[Row]:
        """The keys at these ctids. Within one snapshot a visible row does not move, so this is a direct fetch."""
        places_sql = self._sql.SQL(" AND ctid = ANY ({}::tid[])").format(self._sql.Literal(list(places)))
        return self._rows(company, places_sql)

    def _rows(self, company: str, condition: Any) -> Iterator[Row]:
        keys = self.tables.keys
        query = self._sql.SQL("SELECT {} FROM {} WHERE {} = {}{}").format(
            self.key_columns(), table_identifier(keys.table), self._sql.Identifier(keys.company),
            self._sql.Literal(company), condition,
        )  # fmt: skip
        for row in self.stream(query):
            if row[0] is not None and row[1] is not None:
                yield row_of(row)

    def key_columns(self) -> Any:
        keys = self.tables.keys
        return self._sql.SQL("{}::text, {}::text, {}::text, {}, {}").format(
            self._sql.Identifier(keys.type), self._sql.Identifier(keys.id), self._sql.Identifier(keys.value),
            _time(self._sql, keys.updated_at), _version(self._sql),
        )  # fmt: skip

    def key_column_types(self) -> Dict[str, str]:
        """The SQL types of the columns that name a key, for comparisons that use the index."""
        keys = self.tables.keys
        self.cursor.execute(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s)",
            (regclass_text(keys.table),),
        )
        types = dict(self.cursor.fetchall())
        return {"company": types[keys.company], "type": types[keys.type], "id": types[keys.id]}

    def stream(self, query: Any) -> Iterator[Any]:
        """Rows by a server-side cursor, so that memory stays flat; each row tells the deadline of life."""
        with self._connection.cursor(name="mirror") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(query)
            for row in cursor:
                self._deadline.progress()
                yield row


@contextlib.contextmanager
def open_scan(params: ConnectParams, tables: TableMapping, deadline_seconds: float) -> Iterator[ScanSource]:
    """Connect and hold one snapshot. ``deadline_seconds`` bounds each silence of the server."""
    with session(params, operation="scan for the mirror", deadline_seconds=deadline_seconds) as (connection, deadline):
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            # Compiling a query that takes milliseconds costs more than the query.
            cursor.execute("SET LOCAL jit = off")
            source = ScanSource(connection, cursor, deadline, tables)
            check_tables(cursor, tables, params.where)
            _check_kinds(cursor, tables, params.where)
            yield source


def _check_kinds(cursor: Any, tables: TableMapping, where: str) -> None:
    for part, table in (("auth", tables.auth.table), ("keys", tables.keys.table)):
        cursor.execute("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (regclass_text(table),))
        if cursor.fetchone()[0] not in ("r", "p"):
            raise Misconfigured(
                f'"{table}" is no table, so its rows have no versions',
                operation="scan for the mirror",
                subject=where,
                hint=f"set session_tables.{part}.table to the table behind the view",
            )


def _server_state(cursor: Any) -> ServerState:
    # now() is the start of the transaction and so never later than its snapshot: the age that follows is honest.
    cursor.execute(
        "SELECT system_identifier::text, current_database()::text, pg_is_in_recovery(), pg_current_snapshot()::text,"
        " replace(now()::text, ' ', 'T'), pg_postmaster_start_time()::text,"
        " to_hex((pg_control_checkpoint()).timeline_id)"
        " FROM pg_control_system()"
    )
    identifier, dbname, in_recovery, snapshot, now, started, timeline = cursor.fetchone()
    if in_recovery:
        cursor.execute(
            "SELECT pg_last_wal_replay_lsn()::text, replace(pg_last_xact_replay_timestamp()::text, ' ', 'T')"
        )
        lsn, replayed_at = cursor.fetchone()
        now = replayed_at or now
    else:
        cursor.execute(
            "SELECT pg_current_wal_lsn()::text, ltrim(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), '0')"
        )
        lsn, timeline = cursor.fetchone()
    kind = "replica" if in_recovery else "primary"
    return ServerState(identifier, dbname, str(timeline), started, snapshot, now, lsn, kind)


def _version(sql: Any) -> Any:
    return sql.SQL("(tableoid::text || '/' || xmin::text || ctid::text)")


def place_of(version: str) -> str:
    """The ctid in a row version."""
    return version[version.index("(") :]


def row_of(columns: Sequence[Any]) -> Row:
    """The row behind the columns of :meth:`ScanSource.key_columns`."""
    key_type, key_id, value, updated_at, version = columns
    return Row(key_type, key_id, _encoded(value), updated_at, version)


def regclass_text(name: str) -> str:
    """``table`` or ``schema.table`` quoted for to_regclass."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


def _time(sql: Any, column: Optional[str]) -> Any:
    if column is None:
        return sql.SQL("NULL")
    return sql.SQL("replace(({}::timestamptz)::text, ' ', 'T')").format(sql.Identifier(column))


def _encoded(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else text.encode("utf-8", "surrogatepass")
