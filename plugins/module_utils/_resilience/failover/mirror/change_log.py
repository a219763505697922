# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The change log, by choice: triggers that write down which keys changed, so that a scan's cost follows the changes.

An entry is written by the transaction that changes the row and carries its xid8. A scan reads the entries that are
visible in its snapshot and were not in that of the scan before: a transaction that commits late is in neither set
until it commits, and then in exactly one. Creds are few and are compared by row version as always.
"""

from __future__ import annotations

from typing import Any, Iterator, NamedTuple, Optional, Set

from ..._thirdparty import require
from ...postgres import ConnectParams, session
from ...sessions.model import TableMapping
from ...sessions.postgres_store import table_identifier
from .database import Row, ScanSource, regclass_text, row_of

_TRIGGER_PREFIX = "baileys_resilience_log_"
#: several mirrors (one an app host) read one log, so an entry stays for a while after this one has read it
KEEP_SECONDS = 3600

_TABLES = """
CREATE SCHEMA IF NOT EXISTS baileys_resilience;
CREATE TABLE IF NOT EXISTS baileys_resilience.change_log (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), op "char" NOT NULL, company text, type text, id text,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS change_log_xid ON baileys_resilience.change_log (xid);
CREATE TABLE IF NOT EXISTS baileys_resilience.change_log_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), pruned_below xid8 NOT NULL
);
INSERT INTO baileys_resilience.change_log_state (pruned_below) VALUES (pg_current_xact_id())
    ON CONFLICT (one) DO UPDATE SET pruned_below = excluded.pruned_below;
"""

# SECURITY DEFINER with a fixed search_path: the application needs no right on our schema, and cannot lend its own.
_FUNCTION = """
CREATE OR REPLACE FUNCTION baileys_resilience.log_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO baileys_resilience.change_log (op) VALUES ('T');
        RETURN NULL;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO baileys_resilience.change_log (op, company, type, id)
            SELECT 'W', {company}::text, {type}::text, {id}::text FROM new_rows;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO baileys_resilience.change_log (op, company, type, id)
            SELECT 'D', {company}::text, {type}::text, {id}::text FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO baileys_resilience.change_log (op, company, type, id)
            SELECT 'D', {company}::text, {type}::text, {id}::text FROM old_rows
            EXCEPT ALL SELECT 'D', {company}::text, {type}::text, {id}::text FROM new_rows;
    END IF;
    RETURN NULL;
END
$function$;
REVOKE ALL ON FUNCTION baileys_resilience.log_changes() FROM PUBLIC;
"""
#: event -> the transition tables of its trigger
_EVENTS = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
    "truncate": "",
}
_GRANTS = (
    "GRANT USAGE ON SCHEMA baileys_resilience TO {}",
    "GRANT SELECT, DELETE ON baileys_resilience.change_log TO {}",
    "GRANT SELECT, UPDATE ON baileys_resilience.change_log_state TO {}",
)


_TRUNCATED = (
    "SELECT EXISTS (SELECT 1 FROM baileys_resilience.change_log WHERE xid >= pg_snapshot_xmin(%s::pg_snapshot)"
    " AND NOT pg_visible_in_snapshot(xid, %s::pg_snapshot) AND op = 'T')"
)


class LoggedKey(NamedTuple):
    """A key that changed; ``row`` is None when it is gone."""

    company: str
    type: str
    id: str
    row: Optional[Row]


def install_change_log(cursor: Any, tables: TableMapping, *, reader: str = "") -> bool:
    """Make schema, table, function and the triggers that are missing; harmless to run again. Returns whether anything
    was missing. ``reader`` is the role of the mirror when it is another than the one that installs. Needs CREATE on the
    database and TRIGGER on the table of keys. Waits for open transactions that write keys: set lock_timeout before.
    """
    sql = require("psycopg2.sql")
    columns = {name: sql.Identifier(getattr(tables.keys, name)) for name in ("company", "type", "id")}
    function = sql.SQL(_FUNCTION).format(**columns)
    present = _triggers(cursor, tables)
    # Made again, the log would count as new: every mirror that reads it would compare all rows once.
    if not reader and len(present) == len(_EVENTS) and _is_complete(cursor, function.as_string(cursor)):
        return False
    cursor.execute(_TABLES)
    cursor.execute(function)
    for event in _EVENTS:
        if _TRIGGER_PREFIX + event not in present:
            cursor.execute(_trigger(event, tables))
    if reader:
        for statement in _GRANTS:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(reader)))
    return True


def _is_complete(cursor: Any, function: str) -> bool:
    """Whether tables and function are there, and the function is the one of these columns."""
    cursor.execute(
        "SELECT to_regclass('baileys_resilience.change_log_state') IS NOT NULL"
        " AND to_regclass('baileys_resilience.change_log') IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM pg_proc WHERE oid = to_regproc('baileys_resilience.log_changes') AND prosrc = %s)",
        (function.split("$function$")[1],),
    )
    return bool(cursor.fetchone()[0])


def _trigger(event: str, tables: TableMapping) -> Any:
    sql = require("psycopg2.sql")
    return sql.SQL(
        "CREATE TRIGGER {} AFTER {} ON {} {} FOR EACH STATEMENT EXECUTE FUNCTION baileys_resilience.log_changes()"
    ).format(
        sql.Identifier(_TRIGGER_PREFIX + event),
        sql.SQL(event.upper()),
        table_identifier(tables.keys.table),
        sql.SQL(_EVENTS[event]),
    )


def _triggers(cursor: Any, tables: TableMapping) -> Set[str]:
    """Our triggers that are on the table of keys and fire."""
    cursor.execute(
        "SELECT tgname::text FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgenabled IN ('O', 'A')",
        (regclass_text(tables.keys.table),),
    )
    ours = {_TRIGGER_PREFIX + event for event in _EVENTS}
    return {row[0] for row in cursor.fetchall()} & ours


def remove_change_log(cursor: Any, tables: TableMapping) -> None:
    """Take the triggers, the function and the log away; the rest of the schema stays."""
    sql = require("psycopg2.sql")
    for event in _EVENTS:
        cursor.execute(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                sql.Identifier(_TRIGGER_PREFIX + event), table_identifier(tables.keys.table)
            )
        )
    cursor.execute(
        "DROP FUNCTION IF EXISTS baileys_resilience.log_changes();"
        "DROP TABLE IF EXISTS baileys_resilience.change_log, baileys_resilience.change_log_state"
    )


def unusable(source: ScanSource, since: str) -> str:
    """Why the log cannot tell what changed since the snapshot ``since``; empty when it can."""
    cursor = source.cursor
    cursor.execute(
        "SELECT to_regclass('baileys_resilience.change_log_state') IS NOT NULL"
        " AND has_table_privilege(to_regclass('baileys_resilience.change_log'), 'SELECT')"
        " AND has_table_privilege(to_regclass('baileys_resilience.change_log_state'), 'SELECT')"
    )
    if not cursor.fetchone()[0]:
        return "the change log is not installed, or this role may not read it: run baileys-resilience init-db"
    if len(_triggers(cursor, source.tables)) != len(_EVENTS):
        return "the triggers of the change log are missing or disabled: run baileys-resilience init-db"
    cursor.execute(
        "SELECT pruned_below < pg_snapshot_xmin(%s::pg_snapshot) FROM baileys_resilience.change_log_state", (since,)
    )
    if not cursor.fetchone()[0]:
        return "the change log was pruned, or installed, after the last scan"
    cursor.execute(_TRUNCATED, (since, since))
    if cursor.fetchone()[0]:
        return "the table of keys was truncated"
    return ""


def changed_keys(source: ScanSource, since: str) -> Iterator[LoggedKey]:
    """The keys that changed between the snapshot ``since`` and this one, by company, each with its row of now."""
    sql = require("psycopg2.sql")
    keys = source.tables.keys
    query = sql.SQL(
        "SELECT log.company, log.type, log.id, k.* FROM (SELECT DISTINCT company, type, id"
        " FROM baileys_resilience.change_log WHERE xid >= pg_snapshot_xmin({since}::pg_snapshot)"
        " AND NOT pg_visible_in_snapshot(xid, {since}::pg_snapshot)) AS log"
        " LEFT JOIN LATERAL (SELECT {columns} FROM {table} WHERE {company} = log.company::{company_type}"
        " AND {type} = log.type::{type_type} AND {id} = log.id::{id_type} LIMIT 1) AS k ON true ORDER BY log.company"
    ).format(
        since=sql.Literal(since), columns=source.key_columns(), table=table_identifier(keys.table),
        company=sql.Identifier(keys.company), type=sql.Identifier(keys.type), id=sql.Identifier(keys.id),
        **{f"{name}_type": sql.SQL(kind) for name, kind in source.key_column_types().items()},
    )  # fmt: skip
    for row in source.stream(query):
        if row[0] is not None and row[1] is not None and row[2] is not None:
            yield LoggedKey(row[0], row[1], row[2], row_of(row[3:]) if row[7] is not None else None)


def prune(params: ConnectParams, before: str, deadline_seconds: float) -> int:
    """Delete entries older than every transaction that the snapshot ``before`` did not see, and old enough for other
    mirrors. Returns how many. Raises Refused without the right.
    """
    with session(params, operation="prune change log", deadline_seconds=deadline_seconds) as (connection, _deadline):
        with connection.cursor() as cursor:
            cursor.execute(
                "WITH old AS (DELETE FROM baileys_resilience.change_log WHERE xid < pg_snapshot_xmin(%s::pg_snapshot)"
                " AND at < now() - make_interval(secs => %s) RETURNING xid), marked AS ("
                "UPDATE baileys_resilience.change_log_state SET pruned_below = top.xid"
                " FROM (SELECT xid FROM old ORDER BY xid DESC LIMIT 1) AS top WHERE pruned_below < top.xid)"
                " SELECT count(*) FROM old",
                (before, KEEP_SECONDS),
            )
            deleted = int(cursor.fetchone()[0])
        connection.commit()
    return deleted
