# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The policy as SQL, for whoever counts and for whoever deletes. :func:`policy.judge` says the same of one key."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from .._thirdparty import require
from ..sessions.info import days_ago
from ..sessions.model import KeysTable, TableMapping
from ..sessions.postgres_store import regclass_text, table_identifier
from .policy import (
    GUARD_NO_MEMORY,
    GUARD_NOT_IN_USE,
    GUARD_NOT_THE_INDEX,
    GUARD_SENDER_QUIET,
    OWN_TIMESTAMP,
    PRE_KEYS_IN_USE,
    SAFE_POLICY,
    TCTOKEN_INDEX,
    Policy,
    Rule,
)

#: One process of the server does it alone (since 18, others would read ahead for it), and by a hash. The planner takes
#: many values of a time for many groups, and would rather walk an index and sort.
_GENTLE = (
    "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL effective_io_concurrency = 0;"
    " SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off; SELECT set_config('work_mem', '32MB', true)"
    " WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('32MB')"
)
_AS_EVER = (
    "SET LOCAL max_parallel_workers_per_gather TO DEFAULT; SET LOCAL effective_io_concurrency TO DEFAULT;"
    " SET LOCAL enable_sort TO DEFAULT; SET LOCAL enable_incremental_sort TO DEFAULT; SET LOCAL work_mem TO DEFAULT;"
    " SELECT 1"
)
_NUMBER = "^[0-9]{1,9}$"
#: also where an adapter has stored JSON inside of a JSON text
_NEXT_PRE_KEY = r'nextPreKeyId\\?": ?([0-9]{1,9})[,} ]'


@contextlib.contextmanager
def gently(query: Callable[[str], Any]) -> Iterator[None]:
    """For whoever counts all of a large table while clients work, within a transaction. ``query`` runs a statement that
    answers with rows.
    """
    query(_GENTLE)
    yield
    query(_AS_EVER)  # not behind an error, which has ended the transaction


def removable(tables: TableMapping, policy: Policy = SAFE_POLICY, next_pre_key: Optional[Any] = None) -> Any:
    """A boolean expression over the keys' table (by its own name): may this row go? Never null, and false where
    anything is unknown. ``next_pre_key``: an expression for the id that the row's company gives to its next pre-key,
    which is otherwise looked up in its creds for each row.
    """
    sql = require("psycopg2.sql")
    cases = [
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(rule.key_type), _conditions(rule, tables, next_pre_key))
        for rule in policy.rules.values()
        if rule.counts and (tables.keys.updated_at or rule.clock == OWN_TIMESTAMP)
    ]
    if not cases:
        return sql.SQL("false")
    return sql.SQL("coalesce(CASE {}::text {} ELSE false END, false)").format(
        _column(tables.keys, "type"), sql.SQL(" ").join(cases)
    )


def next_pre_key_of(tables: TableMapping, company: str) -> Any:
    """For rows of one company: PostgreSQL looks its creds up once for all of them."""
    sql = require("psycopg2.sql")
    return _next_pre_key(tables, sql.Literal(company))


def known_next_pre_keys(cursor: Any, tables: TableMapping, policy: Policy) -> Optional[Any]:
    """For rows of all companies: what their creds say now, as a table of constants. None where no rule asks for it."""
    if not any(GUARD_NOT_IN_USE in rule.guards for rule in policy.rules.values()):
        return None
    sql = require("psycopg2.sql")
    auth = tables.auth
    cursor.execute(
        sql.SQL(
            "SELECT coalesce(jsonb_object_agg(company, next), '{{}}')::text FROM (SELECT {company}::text AS company,"
            " min(substring({creds}::text from {pattern})::bigint) AS next FROM {table}"
            " WHERE {company} IS NOT NULL GROUP BY 1) AS known"
        ).format(
            company=sql.Identifier(auth.company),
            creds=sql.Identifier(auth.creds),
            pattern=sql.Literal(_NEXT_PRE_KEY),
            table=table_identifier(auth.table),
        )
    )
    return sql.SQL("({}::jsonb ->> {}::text)::bigint").format(
        sql.Literal(cursor.fetchone()[0]), _column(tables.keys, "company")
    )


def columns_of(cursor: Any, table: str) -> List[Tuple[str, str]]:
    """Name and type of each column that is stored as it was sent: generated ones make themselves again."""
    cursor.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = to_regclass(%s)"
        " AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
        (regclass_text(table),),
    )
    return list(cursor.fetchall())


def facts(tables: TableMapping) -> List[Any]:
    """Expressions for what :class:`policy.KeyFacts` holds behind type and id, in that order."""
    sql = require("psycopg2.sql")
    keys = tables.keys
    written = sql.SQL("NULL::float8")
    if keys.updated_at:
        written = sql.SQL("extract(epoch FROM now() - {}::timestamptz)::float8").format(_column(keys, "updated_at"))
    age = "extract(epoch FROM now() - {})::float8"
    return [
        written,
        sql.SQL(age).format(_own_time("timestamp", keys)),
        sql.SQL(age).format(_own_time("senderTimestamp", keys)),
        sql.SQL("({} IS NOT NULL)").format(_memory_of_group(tables)),
        _next_pre_key(tables),
    ]


def _column(keys: KeysTable, option: str) -> Any:
    """With its table's name, since a subquery may know a column of the same name."""
    sql = require("psycopg2.sql")
    return sql.SQL("{}.{}").format(table_identifier(keys.table), sql.Identifier(getattr(keys, option)))


def _conditions(rule: Rule, tables: TableMapping, next_pre_key: Optional[Any]) -> Any:
    sql = require("psycopg2.sql")
    keys, limit = tables.keys, sql.Literal(rule.retention_days)
    if rule.clock == OWN_TIMESTAMP:
        conditions = [_older("timestamp", keys, limit)]
    else:
        conditions = [sql.SQL("{}::timestamptz < {}").format(_column(keys, "updated_at"), days_ago(limit))]
    conditions += [_GUARDS[guard](tables, limit, next_pre_key) for guard in rule.guards]
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))


def _not_the_index(tables: TableMapping, _limit: Any, _next: Any) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL("{}::text <> {}").format(_column(tables.keys, "id"), sql.Literal(TCTOKEN_INDEX))


def _sender_quiet(tables: TableMapping, limit: Any, _next: Any) -> Any:
    """What is named but cannot be read is no proof of silence."""
    sql = require("psycopg2.sql")
    return sql.SQL("({older} OR position({name} in {value}::text) = 0)").format(
        older=_older("senderTimestamp", tables.keys, limit),
        name=sql.Literal("senderTimestamp"),
        value=_column(tables.keys, "value"),
    )


def _no_memory(tables: TableMapping, _limit: Any, _next: Any) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL("{} IS NULL").format(_memory_of_group(tables))


def _not_in_use(tables: TableMapping, _limit: Any, next_pre_key: Optional[Any]) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL("CASE WHEN {id}::text ~ {number} THEN {id}::text::bigint < {next} - {in_use} ELSE false END").format(
        id=_column(tables.keys, "id"),
        number=sql.Literal(_NUMBER),
        next=next_pre_key or _next_pre_key(tables),
        in_use=sql.Literal(PRE_KEYS_IN_USE),
    )


_GUARDS: Dict[str, Callable[[TableMapping, Any, Any], Any]] = {
    GUARD_NOT_THE_INDEX: _not_the_index,
    GUARD_SENDER_QUIET: _sender_quiet,
    GUARD_NO_MEMORY: _no_memory,
    GUARD_NOT_IN_USE: _not_in_use,
}


def _memory_of_group(tables: TableMapping) -> Any:
    """The id of the sender-key-memory of a sender key's group, null where there is none. A sender key is named
    ``group::user::device``, its memory by the group.
    """
    sql = require("psycopg2.sql")
    keys = tables.keys
    return sql.SQL(
        "(SELECT min(memory.{id}::text) FROM {table} AS memory WHERE memory.{company} = {of_company}"
        " AND memory.{type}::text = 'sender-key-memory' AND memory.{id}::text = split_part({of_id}::text, '::', 1))"
    ).format(
        id=sql.Identifier(keys.id),
        table=table_identifier(keys.table),
        company=sql.Identifier(keys.company),
        type=sql.Identifier(keys.type),
        of_company=_column(keys, "company"),
        of_id=_column(keys, "id"),
    )


def _next_pre_key(tables: TableMapping, company: Optional[Any] = None) -> Any:
    """The lowest where a table without its primary key has several creds of the company."""
    sql = require("psycopg2.sql")
    auth = tables.auth
    return sql.SQL(
        "(SELECT min(substring(auth.{creds}::text from {pattern})::bigint) FROM {table} AS auth"
        " WHERE auth.{company}::text = {of_company}::text)"
    ).format(
        creds=sql.Identifier(auth.creds),
        pattern=sql.Literal(_NEXT_PRE_KEY),
        table=table_identifier(auth.table),
        company=sql.Identifier(auth.company),
        of_company=company or _column(tables.keys, "company"),
    )


def _older(field: str, keys: KeysTable, days: Any) -> Any:
    """Whether the key's own time is further back than ``days``; null where there is none."""
    sql = require("psycopg2.sql")
    return sql.SQL("{} < {}").format(_own_time(field, keys), days_ago(days))


def _own_time(field: str, keys: KeysTable) -> Any:
    """The key's own time (seconds since 1970, as a number or a text). Null where there is none: also where an adapter
    has stored JSON inside of a JSON text.
    """
    sql = require("psycopg2.sql")
    pattern = f'"{field}": ?"?([0-9]{{9,11}})"?[,}} ]'
    return sql.SQL("to_timestamp(substring({value}::text from {pattern})::float8)").format(
        value=_column(keys, "value"), pattern=sql.Literal(pattern)
    )
