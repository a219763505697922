# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Sessions in PostgreSQL: reading one snapshot of them. Writing is in :mod:`importing`."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from .._thirdparty import require
from ..errors import CredsInvalid, KeyUndecodable, Misconfigured, Refused, SchemaMismatch
from ..postgres import HINT_ROW_SECURITY, SERVER_NOW, ConnectParams, Deadline, session, translated
from .model import AuthTable, KeySink, KeysTable, RawCreds, RawKey, SourceInfo, TableMapping

DEFAULT_DEADLINE_SECONDS = 10.0
#: cannot be cast, or holds what cannot be read as a time
_NOT_A_TIME = ("42846", "22007", "22008")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_CONTROL = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def table_identifier(name: str) -> Any:
    """``table`` or ``schema.table`` as a quoted SQL identifier."""
    sql = require("psycopg2.sql")
    return sql.Identifier(*name.split(".", 1))


def check_tables(cursor: Any, tables: TableMapping, where: str) -> None:
    """Raise SchemaMismatch naming the first table or column of the mapping that is missing, and the option to set;
    Refused for a table that shows this role some of its rows only. To be called inside a transaction.
    """
    parts: Dict[str, Union[AuthTable, KeysTable]] = {"auth": tables.auth, "keys": tables.keys}
    found = _look_up(cursor, [table.table for table in parts.values()])
    for (part, table), (oid, hidden, role, columns) in zip(parts.items(), found):
        if oid is None:
            content = "creds" if part == "auth" else "keys"
            raise SchemaMismatch(
                f'table "{table.table}" does not exist',
                operation="check tables",
                subject=where,
                # An application that runs on PostgreSQL takes an empty table for the truth: it must be away first.
                hint=f"set session_tables.{part}.table to the table that holds the {content}; where it was dropped, or"
                " the database is new: fail over first if sessions live there, then"
                " baileys-resilience init-db --session-tables",
            )
        if hidden:
            raise Refused(
                f"row-level security hides rows of {table.table} from {role}",
                operation="check tables",
                subject=where,
                hint=HINT_ROW_SECURITY,
            )
        for option, column in vars(table).items():
            if option != "table" and column is not None and column not in columns:
                raise SchemaMismatch(
                    f'column "{column}" missing in {table.table}',
                    operation="check tables",
                    subject=where,
                    hint=f"set session_tables.{part}.{option} to the column that holds it "
                    f"(there are: {', '.join(sorted(columns))})",
                )
        if table.updated_at:
            _check_time(cursor, table.table, table.updated_at, f"session_tables.{part}.updated_at", where)


def _look_up(cursor: Any, tables: Sequence[str]) -> List[Tuple[Any, ...]]:
    """For each table: its oid (None where there is none), whether rows of it are hidden from us, who we are, and its
    columns. One question for all: the server may be far away.
    """
    # From here on the server raises an error instead of leaving out rows, also for what lies behind a view.
    cursor.execute(
        "SET LOCAL row_security = off; SELECT oid, row_security_active(oid), current_user::text, ARRAY("
        "SELECT attname::text FROM pg_attribute WHERE attrelid = oid AND attnum > 0 AND NOT attisdropped)"
        " FROM (SELECT place, to_regclass(name)::oid FROM unnest(%s::text[]) WITH ORDINALITY AS asked(name, place))"
        " AS found(place, oid) ORDER BY place",
        ([regclass_text(each) for each in tables],),
    )
    return list(cursor.fetchall())


def _check_time(cursor: Any, table: str, column: str, option: str, where: str) -> None:
    """Raise SchemaMismatch when the column holds no times: milliseconds in a bigint, say."""
    psycopg2, sql = require("psycopg2"), require("psycopg2.sql")
    query = sql.SQL("SELECT {} FROM {} LIMIT 1").format(_time_column(column), table_identifier(table))
    try:
        cursor.execute(query)
    except psycopg2.Error as exc:
        if exc.pgcode not in _NOT_A_TIME:
            raise
        raise SchemaMismatch(
            f'column "{column}" of {table} holds no times: {exc.diag.message_primary}',
            operation="check tables",
            subject=where,
            hint=f"set {option} to a column of type timestamptz, or to null when there is none",
        ) from exc


def several_creds(company: str, rows: int, auth: AuthTable) -> CredsInvalid:
    """A table without its primary key holds a company twice."""
    return CredsInvalid(
        f"there are {rows} rows of creds",
        operation="read creds of company",
        subject=company,
        hint=f"which of them is the session, only a human can say: delete the others from {auth.table}, and give it a"
        f" primary key on {auth.company}",
    )


def regclass_text(name: str) -> str:
    """The quoted name as text, for to_regclass."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))


class PostgresSnapshot:
    """One REPEATABLE READ, read-only transaction: creds and keys of every company as of one moment. A
    :class:`model.SessionSource`.
    """

    def __init__(
        self,
        cursor: Any,
        deadline: Deadline,
        tables: TableMapping,
        info: SourceInfo,
        export_id: str,
        epochs: Optional[Mapping[str, int]] = None,
        age_seconds: float = 0.0,
    ) -> None:
        self._cursor = cursor
        self._deadline = deadline
        self._tables = tables
        self._info = info
        #: for :func:`open_snapshot` in another process, so that both read the same state
        self.export_id = export_id
        self._epochs = epochs or {}
        #: of the data, by the server's own clock; 0 for a primary
        self.age_seconds = age_seconds

    @property
    def info(self) -> SourceInfo:
        return self._info

    def info_of(self, company: str) -> SourceInfo:
        return replace(self._info, epoch=self._epochs.get(company, 0))

    def companies(self) -> List[str]:
        """Companies that have creds, in a stable order."""
        sql = require("psycopg2.sql")
        auth = self._tables.auth
        query = sql.SQL("SELECT {}::text FROM {} ORDER BY 1").format(
            sql.Identifier(auth.company), table_identifier(auth.table)
        )
        self._cursor.execute(query)
        return [row[0] for row in self._cursor.fetchall()]

    def creds(self, company: str) -> Optional[RawCreds]:
        """The creds, or None without a row. Raises CredsInvalid when there are several rows: which is the session?"""
        sql = require("psycopg2.sql")
        auth = self._tables.auth
        query = sql.SQL("SELECT convert_to({}::text, 'UTF8'), {} FROM {} WHERE {} = {}").format(
            sql.Identifier(auth.creds),
            _time_column(auth.updated_at),
            table_identifier(auth.table),
            sql.Identifier(auth.company),
            sql.Literal(company),
        )
        rows = self.query(query)
        if len(rows) > 1:
            raise several_creds(company, len(rows), auth)
        if not rows:
            return None
        content, updated_at = rows[0]
        return RawCreds(None if content is None else bytes(content), _iso(updated_at))

    def stream_keys(self, company: str, sink: KeySink) -> None:
        sql = require("psycopg2.sql")
        keys = self._tables.keys
        # As text, since a char(n) column would hand out its padding with each name.
        query = sql.SQL("COPY (SELECT {}::text, {}::text, {}, {} FROM {} WHERE {} = {}) TO STDOUT").format(
            sql.Identifier(keys.type),
            sql.Identifier(keys.id),
            sql.Identifier(keys.value),
            _time_column(keys.updated_at),
            table_identifier(keys.table),
            sql.Identifier(keys.company),
            sql.Literal(company),
        )
        reader = _RowReader(sink, self._deadline)
        self._cursor.copy_expert(query.as_string(self._cursor), reader)
        if reader.error:
            raise reader.error

    def query(self, query: Any) -> List[Tuple[Any, ...]]:
        """All rows of a small answer from the same snapshot."""
        self._cursor.execute(query)
        self._deadline.progress()
        return list(self._cursor.fetchall())

    def companies_with_keys(self) -> List[str]:
        """Companies that have keys, with or without creds. Jumps through the index: the cost follows the number of
        companies.
        """
        sql = require("psycopg2.sql")
        keys = self._tables.keys
        query = sql.SQL(
            "WITH RECURSIVE each(company) AS ("
            "(SELECT {company} FROM {table} ORDER BY 1 LIMIT 1) UNION ALL SELECT (SELECT {company} FROM {table}"
            " WHERE {company} > each.company ORDER BY 1 LIMIT 1) FROM each WHERE each.company IS NOT NULL)"
            " SELECT company::text FROM each WHERE company IS NOT NULL ORDER BY 1"
        ).format(company=sql.Identifier(keys.company), table=table_identifier(keys.table))
        return [row[0] for row in self.query(query)]

    def count_keys_of(self, company: str) -> Dict[str, int]:
        """Number of keys of one company by type, counted by the server."""
        sql = require("psycopg2.sql")
        keys = self._tables.keys
        query = sql.SQL("SELECT {}::text, count(*) FROM {} WHERE {} = {} GROUP BY 1").format(
            sql.Identifier(keys.type), table_identifier(keys.table), sql.Identifier(keys.company), sql.Literal(company)
        )
        self._cursor.execute(query)
        return dict(self._cursor.fetchall())

    def count_keys(self) -> Dict[str, Dict[str, int]]:
        """Number of keys by company and type, counted by the server."""
        sql = require("psycopg2.sql")
        keys = self._tables.keys
        query = sql.SQL("SELECT {0}::text, {1}::text, count(*) FROM {2} GROUP BY 1, 2 ORDER BY 1, 2").format(
            sql.Identifier(keys.company), sql.Identifier(keys.type), table_identifier(keys.table)
        )
        self._cursor.execute(query)
        counts: Dict[str, Dict[str, int]] = {}
        for company, key_type, number in self._cursor.fetchall():
            counts.setdefault(company, {})[key_type] = number
        return counts


class _RowReader:
    """The file that COPY writes to: libpq hands over one row a call.

    An exception of the sink is kept and the rest of the rows passed over: raised from inside, it would leave the
    connection in the middle of the COPY, and one bad company would take all others with it.
    """

    def __init__(self, sink: KeySink, deadline: Deadline) -> None:
        self._sink = sink
        self._deadline = deadline
        self.error: Optional[Exception] = None

    def write(self, line: bytes) -> int:
        self._deadline.progress()
        if self.error is None:
            try:
                self._read(line)
            except Exception as exc:  # noqa: BLE001 - kept whole, raised again by stream_keys
                self.error = exc
        return len(line)

    def _read(self, line: bytes) -> None:
        texts = line[:-1].split(b"\t")
        fields: Sequence[Optional[bytes]] = [_unescape(each) for each in texts] if b"\\" in line else texts
        key_type, key_id, value, updated_at = fields
        if key_type is None or key_id is None:
            raise KeyUndecodable(
                "a row has no key type or no key id",
                operation="read sessions",
                hint="such a row is no key of Baileys: delete it, or correct session_tables.keys.type and .id",
            )
        written_at = None if updated_at is None else updated_at.decode("ascii")
        self._sink(RawKey(key_type.decode("utf-8"), key_id.decode("utf-8"), value, written_at))


def _unescape(text: bytes) -> Optional[bytes]:
    if text == b"\\N":
        return None
    if b"\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: _CONTROL.get(match.group(1), match.group(1)), text)


def _time_column(column: Optional[str]) -> Any:
    """ISO 8601 in the session's time zone (UTC). A column without a zone is read as UTC."""
    sql = require("psycopg2.sql")
    if column is None:
        return sql.SQL("NULL")
    return sql.SQL("replace(({}::timestamptz)::text, ' ', 'T')").format(sql.Identifier(column))


def _iso(value: Any) -> Optional[str]:
    return None if value is None else str(value)


@contextlib.contextmanager
def open_snapshot(
    params: ConnectParams,
    tables: TableMapping,
    *,
    export_id: str = "",
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    connect_seconds: Optional[float] = None,
    epochs: Optional[Mapping[str, int]] = None,
) -> Iterator[PostgresSnapshot]:
    """Connect and hold one snapshot. ``deadline_seconds`` bounds each silence of the server, not the whole read;
    ``connect_seconds`` the connecting, where that must be shorter than libpq can.

    ``epochs`` (:meth:`record.StoreRecord.epochs_of_rows`) is what copies of the rows carry; whoever makes none can
    leave it out.
    """
    opened = session(
        params, operation="read sessions", deadline_seconds=deadline_seconds, connect_seconds=connect_seconds
    )
    with opened as (connection, deadline):
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            if export_id:
                cursor.execute("SET TRANSACTION SNAPSHOT %s", (export_id,))
            check_tables(cursor, tables, params.where)
            info, exported, age = _describe(cursor, params)
            yield PostgresSnapshot(cursor, deadline, tables, info, export_id or exported, epochs, age)


def _describe(cursor: Any, params: ConnectParams) -> Tuple[SourceInfo, str, float]:
    """What this snapshot is of, its export id, and the age of its data in seconds."""
    with translated("read sessions", params.where):
        # One question, as the server may be far away; a replica would refuse the two that a primary answers.
        primary_only = "CASE WHEN pg_is_in_recovery() THEN NULL ELSE {} END"
        cursor.execute(
            f"SELECT current_setting('server_encoding'), pg_is_in_recovery(), {SERVER_NOW},"
            f" {primary_only.format('pg_current_wal_lsn()::text')}, {primary_only.format('pg_export_snapshot()')}"
        )
        encoding, in_recovery, now, lsn, exported = cursor.fetchone()
        if encoding == "SQL_ASCII":
            raise Misconfigured(
                "the database has the encoding SQL_ASCII, so text in it has no known meaning",
                operation="read sessions",
                subject=params.where,
                hint="export is refused; convert the database to UTF8",
            )
        if in_recovery:
            snapshot_at, age = _replayed_until(cursor)
            cursor.execute("SELECT pg_last_wal_replay_lsn()::text")
            return SourceInfo("replica", params.where, snapshot_at, cursor.fetchone()[0]), "", age
        return SourceInfo("primary", params.where, now, lsn), exported, 0.0


def _replayed_until(cursor: Any) -> Tuple[str, float]:
    """The moment up to which a replica is certainly whole (ISO 8601), and its age in seconds by the replica's own
    clock, which is nearer to the primary's than that of this host.

    What it shows is as old as what it has replayed. A primary at rest commits nothing to replay: then it is as old as
    the last message of the primary, as long as everything that the message tells of is replayed.

    A replica that was restarted and has replayed no commit since knows no time of one. Its last restart point does:
    that is the primary's time of the checkpoint. Where even that may not be asked, the age is unknown, so endless.
    """
    cursor.execute("SELECT has_function_privilege('pg_control_checkpoint()', 'EXECUTE')")
    checkpoint = "(SELECT checkpoint_time FROM pg_control_checkpoint())" if cursor.fetchone()[0] else "NULL"
    # Without pg_read_all_stats the receiver's columns are NULL, and the last commit has to do.
    received = "(SELECT last_msg_send_time FROM pg_stat_wal_receiver WHERE latest_end_lsn <= pg_last_wal_replay_lsn())"
    newest = f"coalesce(greatest(pg_last_xact_replay_timestamp(), {checkpoint}, {received}), to_timestamp(0))"
    age = "greatest(extract(epoch FROM clock_timestamp() - t), 0)::float8"
    cursor.execute(f"SELECT replace(t::text, ' ', 'T'), {age} FROM (SELECT {newest}) AS replayed(t)")  # noqa: S608
    moment, seconds = cursor.fetchone()
    return str(moment), float(seconds)
