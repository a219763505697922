# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Writing sessions into the tables of the mapping, inside somebody's transaction: lock, add, update, delete."""

from __future__ import annotations

import io
import json
from itertools import islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from .._thirdparty import require
from ..postgres import server_now
from .codec import STRINGS_ARE_VALUES
from .directory_source import CanonicalKey
from .model import TableMapping
from .postgres_store import regclass_text, table_identifier
from .verify import KeyName

#: rows that are handed to libpq at once; about 20 kB
ROWS_AT_ONCE = 64
ROWS_OF_ONE_INSERT = 1000
_VALUES_AS_SENT = ("json", "jsonb", "text", "character varying")
#: rows looked at to learn the form of a company's values: the application is down meanwhile
_FORM_SAMPLE = 100


class TableWriter:
    """Writes one company at a time. Columns that are not in the mapping keep their values or get their defaults."""

    def __init__(self, cursor: Any, tables: TableMapping) -> None:
        self._cursor = cursor
        self._tables = tables
        keys = tables.keys
        self._creds_type = self._column_type(tables.auth.table, tables.auth.creds)
        self._types = {name: self._column_type(keys.table, getattr(keys, name)) for name in ("type", "id", "value")}
        self._is_view = self._kind(keys.table) == "v"
        self._are_plain = all(self._is_plain(table) for table in (tables.auth.table, keys.table))
        #: whether the keys' table stores what it is sent: nothing in either table can change a row of keys on its way
        self.stores_as_sent = (
            self._are_plain
            and self._types["value"] in _VALUES_AS_SENT
            and all(self._stores_names_as_sent(keys.table, column) for column in (keys.type, keys.id))
        )
        self._creds_as_text = self._keys_as_text = False

    def lock(self, company: str) -> None:
        """Lock the company's row against a second writer, without waiting for one, and see in which form the adapter
        keeps its rows, so that it finds them so again.
        """
        sql = require("psycopg2.sql")
        auth = self._tables.auth
        self._cursor.execute(
            sql.SQL("SELECT 1 FROM {} WHERE {} = {} FOR UPDATE NOWAIT").format(
                table_identifier(auth.table), sql.Identifier(auth.company), sql.Literal(company)
            )
        )
        keys = self._tables.keys
        self._creds_as_text = self._holds_text(auth.table, auth.creds, auth.company, company)
        # Some types are texts anyhow; they say nothing of the form.
        self._keys_as_text = self._holds_text(keys.table, keys.value, keys.company, company, but=keys.type)

    def _holds_text(self, table: str, column: str, company_column: str, company: str, but: str = "") -> bool:
        """Whether most values are JSON texts that hold JSON (``JSON.stringify`` into jsonb): a reader that expects one
        does JSON.parse. Asked of the company's rows; where it has none, of some others.
        """
        sql = require("psycopg2.sql")
        query = sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE left(ltrim(v), 1) = '\"') FROM (SELECT {value}::text FROM {table}"
            " WHERE {value} IS NOT NULL AND {among} AND {kinds} LIMIT {limit}) AS sample(v)"
        )
        of_company = sql.SQL("{} = {}").format(sql.Identifier(company_column), sql.Literal(company))
        all_of_them = sql.SQL("true")
        kinds = sql.SQL("{}::text <> ALL ({})").format(sql.Identifier(but), sql.Literal(sorted(STRINGS_ARE_VALUES)))
        parts = {
            "value": sql.Identifier(column),
            "table": table_identifier(table),
            "kinds": kinds if but else all_of_them,
            "limit": sql.Literal(_FORM_SAMPLE),
        }
        for among in (of_company, all_of_them):
            self._cursor.execute(query.format(among=among, **parts))
            rows, texts = self._cursor.fetchone()
            if rows:
                return bool(texts * 2 > rows)
        return False

    def fire_deferred_triggers(self) -> None:
        """Let what waits for the commit happen now, so that what is read afterwards is what will be committed. Then
        it waits again, for the next company.
        """
        if not self._are_plain:
            self._cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    def _is_plain(self, table: str) -> bool:
        """No trigger, rule, policy, partition or heir of the table can change a row."""
        return bool(
            self._of_class(
                "relkind = 'r' AND NOT relhasrules AND NOT relrowsecurity AND NOT relispartition AND NOT relhassubclass"
                " AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)",
                table,
            )
        )

    def _kind(self, table: str) -> str:
        return str(self._of_class("relkind", table))

    def _of_class(self, expression: str, table: str) -> Any:
        self._cursor.execute(
            f"SELECT {expression} FROM pg_class WHERE oid = to_regclass(%s)",  # noqa: S608 - two texts of this class
            (regclass_text(table),),
        )
        return self._cursor.fetchone()[0]

    def _stores_names_as_sent(self, table: str, column: str) -> bool:
        """Not a domain, nor a type that pads or folds: text, varchar, uuid, or an enum."""
        self._cursor.execute(
            "SELECT typtype = 'e' OR typname IN ('text', 'varchar', 'uuid') FROM pg_attribute"
            " JOIN pg_type ON pg_type.oid = atttypid WHERE attrelid = to_regclass(%s) AND attname = %s",
            (regclass_text(table), column),
        )
        return bool(self._cursor.fetchone()[0])

    def _column_type(self, table: str, column: str) -> str:
        # Without its length: a cast to varchar(200) cuts silently, and the cut id could be another key's. With NULL in
        # the place of -1 char(40) would come as "character", which is char(1).
        self._cursor.execute(
            "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            (regclass_text(table), column),
        )
        return str(self._cursor.fetchone()[0])

    def write_creds(self, company: str, content: bytes, *, insert: bool) -> None:
        sql = require("psycopg2.sql")
        auth = self._tables.auth
        names = {
            "table": table_identifier(auth.table),
            "company": sql.Identifier(auth.company),
            "id": sql.Literal(company),
            "creds": sql.Identifier(auth.creds),
            "type": sql.SQL(self._creds_type),
        }
        if auth.updated_at:
            names["updated_at"] = sql.Identifier(auth.updated_at)
        if insert and auth.updated_at:
            query = (
                "INSERT INTO {table} ({company}, {creds}, {updated_at}) VALUES ({id}, %s::{type}, clock_timestamp())"
            )
        elif insert:
            query = "INSERT INTO {table} ({company}, {creds}) VALUES ({id}, %s::{type})"
        elif auth.updated_at:
            query = "UPDATE {table} SET {creds} = %s::{type}, {updated_at} = clock_timestamp() WHERE {company} = {id}"
        else:
            query = "UPDATE {table} SET {creds} = %s::{type} WHERE {company} = {id}"
        self._cursor.execute(sql.SQL(query).format(**names), (_as_kept(content, self._creds_as_text).decode("utf-8"),))

    def add(self, company: str, keys: Iterable[CanonicalKey]) -> None:
        """COPY the keys in; they may be made while the server works. What making them raises is raised here."""
        if self._is_view:
            self._insert(company, keys)
            return
        sql = require("psycopg2.sql")
        table = self._tables.keys
        columns = [table.company, table.type, table.id, table.value] + ([table.updated_at] if table.updated_at else [])
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(
            table_identifier(table.table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        stamp = server_now(self._cursor).encode("ascii") if table.updated_at else None
        writer = _RowWriter(_copy_lines(company, keys, stamp, self._keys_as_text))
        try:
            self._cursor.copy_expert(query.as_string(self._cursor), writer)
        except Exception:
            if writer.error:  # all that the driver knows of it is that reading failed
                raise writer.error from None
            raise

    def _insert(self, company: str, keys: Iterable[CanonicalKey]) -> None:
        """For a view, into which the server does not COPY."""
        sql = require("psycopg2.sql")
        stamp = self._tables.keys.updated_at
        query = sql.SQL(
            "INSERT INTO {table} ({company}, {type}, {id}, {value}{stamp}) SELECT {company_id}, n.type::{type_type},"
            " n.id::{id_type}, n.value::{value_type}{now}"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) AS n(type, id, value)"
        ).format(
            stamp=sql.SQL(", {}").format(sql.Identifier(stamp)) if stamp else sql.SQL(""),
            now=sql.SQL(", clock_timestamp()" if stamp else ""),
            **self._key_names(company),
        )
        remaining = iter(keys)
        while True:
            some = list(islice(remaining, ROWS_OF_ONE_INSERT))
            if not some:
                return
            self._cursor.execute(query, _columns(some, self._keys_as_text))

    def update(self, company: str, keys: List[CanonicalKey]) -> None:
        if not keys:
            return
        sql = require("psycopg2.sql")
        table = self._tables.keys
        stamp = (
            sql.SQL(", {} = clock_timestamp()").format(sql.Identifier(table.updated_at))
            if table.updated_at
            else sql.SQL("")
        )
        query = sql.SQL(
            "UPDATE {table} AS k SET {value} = n.value::{value_type}{stamp}"
            " FROM unnest(%s::text[], %s::text[], %s::text[]) AS n(type, id, value)"
            " WHERE k.{company} = {company_id} AND k.{type} = n.type::{type_type} AND k.{id} = n.id::{id_type}"
        ).format(stamp=stamp, **self._key_names(company))
        self._cursor.execute(query, _columns(keys, self._keys_as_text))

    def delete(self, company: str, names: List[KeyName]) -> None:
        if not names:
            return
        sql = require("psycopg2.sql")
        query = sql.SQL(
            "DELETE FROM {table} AS k USING unnest(%s::text[], %s::text[]) AS n(type, id)"
            " WHERE k.{company} = {company_id} AND k.{type} = n.type::{type_type} AND k.{id} = n.id::{id_type}"
        ).format(**self._key_names(company))
        self._cursor.execute(query, ([name[0] for name in names], [name[1] for name in names]))

    def _key_names(self, company: str) -> Dict[str, Any]:
        sql = require("psycopg2.sql")
        table = self._tables.keys
        names = {name: sql.Identifier(getattr(table, name)) for name in ("company", "type", "id", "value")}
        # Without the casts an enum or uuid column has no operator to compare with, or loses its index.
        names.update({f"{name}_type": sql.SQL(kind) for name, kind in self._types.items()})
        return {**names, "table": table_identifier(table.table), "company_id": sql.Literal(company)}


def _columns(keys: List[CanonicalKey], as_text: bool) -> Tuple[List[str], List[str], List[str]]:
    return [k.type for k in keys], [k.id for k in keys], [_as_kept(k.content, as_text).decode("utf-8") for k in keys]


_SPECIAL = {0x5C: b"\\\\", 0x09: b"\\t", 0x0A: b"\\n", 0x0D: b"\\r"}


def _escape(text: bytes) -> bytes:
    for code, escaped in _SPECIAL.items():  # the backslash comes first
        if code in text:
            text = text.replace(bytes([code]), escaped)
    return text


def _as_kept(content: bytes, as_text: bool) -> bytes:
    """The content, or the JSON text that holds it."""
    return json.dumps(content.decode("utf-8"), ensure_ascii=False).encode("utf-8") if as_text else content


def _copy_lines(company: str, keys: Iterable[CanonicalKey], stamp: Optional[bytes], as_text: bool) -> Iterator[bytes]:
    first = _escape(company.encode("utf-8"))
    last = b"\n" if stamp is None else b"\t" + stamp + b"\n"
    for key in keys:
        # JSON holds control characters as escapes only: its backslashes are all that COPY would misread.
        content = _as_kept(key.content, as_text).replace(b"\\", b"\\\\")
        yield b"\t".join((first, _escape(key.type.encode("utf-8")), _escape(key.id.encode("utf-8")), content)) + last


class _RowWriter(io.RawIOBase):
    """The file that COPY reads from, made of lines as they come."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.error: Optional[Exception] = None

    def read(self, _size: int = -1) -> bytes:
        try:
            return b"".join(islice(self._lines, ROWS_AT_ONCE))
        except Exception as exc:
            self.error = exc
            raise
