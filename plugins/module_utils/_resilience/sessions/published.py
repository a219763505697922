# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The copy of the store of record in PostgreSQL (schema ``baileys_resilience``, table ``stores``).

The file on the application's host decides. The copy is for whoever cannot see that file: a host that lost it, and a
second host that was given the same company. Both would otherwise take the rows in PostgreSQL for the session while it
lives, and moves on, in files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

from .._thirdparty import require
from ..clock import from_iso, now_iso
from ..errors import Misconfigured
from ..postgres import ConnectParams, session
from .postgres_store import PostgresSnapshot
from .record import FILES, POSTGRES, StoreOfRecord, StoreRecord

#: what becomes of the two statements about one company
AGREE, PUBLISH, ADOPT, OUTGROW, CONFLICT = "agree", "publish", "adopt", "outgrow", "conflict"

_DEADLINE_SECONDS = 5.0
_READ = """
SELECT company, store, epoch, replace(since::text, ' ', 'T'), host, run FROM baileys_resilience.stores
WHERE company = ANY(%s)
"""
_READABLE = """
SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'baileys_resilience' AND c.relname = 'stores'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
"""
_PUBLISH = """
INSERT INTO baileys_resilience.stores (company, store, epoch, since, host, run) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (company) DO UPDATE SET store = excluded.store, epoch = excluded.epoch, since = excluded.since,
    host = excluded.host, run = excluded.run, recorded_at = now()
WHERE stores.epoch < excluded.epoch
"""
_LINEAGE = "UPDATE baileys_resilience.stores SET lineage = ARRAY[%s, epoch] WHERE company = %s"
#: tables that an earlier version made lack it
_KNOWS_LINEAGE = """
SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('baileys_resilience.stores')
    AND attname = 'lineage' AND NOT attisdropped)
"""
_MAY_ALTER = """
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('baileys_resilience.stores')
"""
_WRITERS = "SELECT company, token FROM baileys_resilience.writers WHERE company = ANY (%s)"
#: which asks for CREATE on the database also where the schema is there
_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS baileys_resilience"
_CREATE = """
CREATE TABLE IF NOT EXISTS baileys_resilience.stores (
    company text PRIMARY KEY, store text NOT NULL, epoch bigint NOT NULL, since timestamptz NOT NULL,
    host text NOT NULL, run text NOT NULL, recorded_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE baileys_resilience.stores ADD COLUMN IF NOT EXISTS lineage bigint[];
CREATE TABLE IF NOT EXISTS baileys_resilience.writers (
    company text PRIMARY KEY, token text NOT NULL, holder text NOT NULL, since timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS baileys_resilience.canary (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, monitor text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True)
class PublishedStore:
    """What PostgreSQL says of one company: ``host`` (inventory name) wrote it in ``run``."""

    store: str
    epoch: int
    since: str
    host: str
    run: str = ""


@dataclass
class Reconciled:
    """Companies whose entry was written to PostgreSQL, those whose epoch was taken over from there, and by company a
    sentence where the two contradict each other, with its hint.
    """

    published: List[str] = field(default_factory=list)
    adopted: List[str] = field(default_factory=list)
    conflicts: Dict[str, Misconfigured] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The word yes, or the first contradiction."""
        return next((each.cause for each in self.conflicts.values()), "yes")


def create_schema(cursor: Any) -> bool:
    """Make the schema and its tables (``baileys-resilience init-db``); True when one was not there. Making them needs
    CREATE on the database, finding them there needs nothing. ``writers`` is the session client's: whoever writes a
    session has its token there (roles/session_client). ``canary`` is the monitor's: it writes there to see that
    writing works.
    """
    # Two hosts may be prepared at once, and IF NOT EXISTS does not see what the other has not committed yet.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('baileys_resilience'))")
    if _is_there(cursor) and _is_there(cursor, "writers"):
        is_whole = _knows_lineage(cursor) and _is_there(cursor, "canary")
        if is_whole or not _may_alter(cursor):
            return False
    cursor.execute("SELECT to_regnamespace('baileys_resilience') IS NULL")
    if cursor.fetchone()[0]:
        cursor.execute(_CREATE_SCHEMA)
    cursor.execute(_CREATE)
    return True


def read_published(cursor: Any, companies: Sequence[str]) -> Dict[str, PublishedStore]:
    """What PostgreSQL says of these companies. Raises Misconfigured where there is no such table."""
    if not _is_there(cursor):
        raise Misconfigured(
            "the schema baileys_resilience is not in PostgreSQL, so the store of record has no copy there",
            operation="read published store of record",
            hint="run baileys-resilience init-db on this host; the login user needs CREATE on the database for it",
        )
    cursor.execute(_READ, (list(companies),))
    return {row[0]: PublishedStore(*row[1:]) for row in cursor.fetchall()}


def published_readable(cursor: Any, companies: Sequence[str]) -> Dict[str, PublishedStore]:
    """The same for a look that must not fail on it: nothing where the table is missing or not for this user."""
    cursor.execute(_READABLE)
    if not cursor.fetchone()[0]:
        return {}
    cursor.execute(_READ, (list(companies),))
    return {row[0]: PublishedStore(*row[1:]) for row in cursor.fetchall()}


def read_writers(cursor: Any, companies: Sequence[str]) -> Optional[Dict[str, str]]:
    """The token of whoever writes each company's session; None where there is no such table."""
    if not _is_there(cursor, "writers"):
        return None
    cursor.execute(_WRITERS, (list(companies),))
    return dict(cursor.fetchall())


def _is_there(cursor: Any, table: str = "stores") -> bool:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"baileys_resilience.{table}",))
    return bool(cursor.fetchone()[0])


def _knows_lineage(cursor: Any) -> bool:
    cursor.execute(_KNOWS_LINEAGE)
    return bool(cursor.fetchone()[0])


def _may_alter(cursor: Any) -> bool:
    cursor.execute(_MAY_ALTER)
    return bool(cursor.fetchone()[0])


def published_in(snapshot: PostgresSnapshot, companies: Sequence[str]) -> Dict[str, PublishedStore]:
    """The same for a look that must not fail on it: nothing where the table is missing or not for this user."""
    sql = require("psycopg2.sql")
    if not snapshot.query(sql.SQL(_READABLE))[0][0]:
        return {}
    rows = snapshot.query(sql.SQL(_READ.replace("%s", "{}")).format(sql.Literal(list(companies))))
    return {row[0]: PublishedStore(*row[1:]) for row in rows}


def judge(mine: StoreOfRecord, theirs: Optional[PublishedStore], host: str) -> str:
    """How this host's entry stands to what PostgreSQL says of the same company."""
    if theirs is None:
        return PUBLISH if mine.epoch else AGREE
    if theirs.store == FILES and theirs.host != host:
        return CONFLICT  # only the host that has the files can say that they are the session no longer
    if mine.epoch > theirs.epoch:
        return PUBLISH
    if mine.store == theirs.store:
        return AGREE if mine.epoch == theirs.epoch else ADOPT
    # This host moved the company while PostgreSQL could not tell how far the epochs of another host had come. An entry
    # older than the published one is of before: the file was put back from a backup.
    if mine.store == FILES and from_iso(mine.since) > from_iso(theirs.since):
        return OUTGROW
    return CONFLICT


def reconcile(
    record: StoreRecord,
    params: ConnectParams,
    host: str,
    companies: Sequence[str],
    *,
    by_hand: bool = False,
    deadline_seconds: float = _DEADLINE_SECONDS,
) -> Reconciled:
    """Bring record and copy to say the same. A row with a higher epoch stays: it was written by somebody who knows
    more. ``by_hand``: a human has just decided what this host says, so that goes before what PostgreSQL says.

    Raises a DatabaseError when PostgreSQL does not answer, Misconfigured without the schema.
    """
    done = Reconciled()
    with session(params, operation="publish store of record", deadline_seconds=deadline_seconds) as (
        connection,
        _deadline,
    ):
        with connection.cursor() as cursor:
            theirs = read_published(cursor, companies)
            for company in companies:
                _reconcile_one(record, cursor, host, company, theirs.get(company), by_hand, done)
        connection.commit()
    return done


def _reconcile_one(
    record: StoreRecord,
    cursor: Any,
    host: str,
    company: str,
    theirs: Optional[PublishedStore],
    by_hand: bool,
    done: Reconciled,
) -> None:
    mine = record.get(company)
    verdict = judge(mine, theirs, host)
    if verdict == CONFLICT and theirs and by_hand:
        verdict = OUTGROW
    if verdict == CONFLICT and theirs:
        done.conflicts[company] = contradiction(company, mine, theirs, host)
    elif verdict == ADOPT and theirs:
        # Copies that were made of an earlier life of the company are void on this host too. What live files were made
        # from does not change.
        lineage = theirs.epoch if mine.store == POSTGRES else mine.lineage
        followed = StoreOfRecord(
            mine.store, theirs.epoch, mine.since or theirs.since, mine.by or theirs.run, mine.place, lineage
        )
        if record.replace(company, mine, followed):
            done.adopted.append(company)
    elif verdict == OUTGROW and theirs:
        grown = StoreOfRecord(
            mine.store, theirs.epoch + 1, mine.since or now_iso(), mine.by or "by hand", mine.place, mine.lineage
        )
        if record.replace(company, mine, grown):
            _publish(cursor, company, grown, host, done)
    elif verdict == PUBLISH:
        _publish(cursor, company, mine, host, done)


def _publish(cursor: Any, company: str, entry: StoreOfRecord, host: str, done: Reconciled) -> None:
    cursor.execute(_PUBLISH, (company, entry.store, entry.epoch, entry.since or now_iso(), host, entry.by))
    if not cursor.rowcount:
        return
    done.published.append(company)
    if _knows_lineage(cursor):
        cursor.execute(_LINEAGE, (entry.lineage, company))


def contradiction(company: str, mine: StoreOfRecord, theirs: PublishedStore, host: str) -> Misconfigured:
    """The refusal to move a company of which PostgreSQL says something else."""
    place = f"files on {theirs.host}" if theirs.store == FILES else POSTGRES
    decide = f"baileys-resilience store set --company {company} --to"
    if theirs.store == FILES and theirs.host != host:
        hint = (
            f"a session has one writer: fail it back on {theirs.host}, or take it from this host's list. If it no"
            f" longer lives there, say on this host where it does: {decide} postgres (or files)"
        )
    else:
        hint = (
            "this host's record was lost or is an old one. Find out where the session lives (creds newest in the files"
            f" or in PostgreSQL?) and write it: {decide} files (or postgres)"
        )
    return Misconfigured(
        f"PostgreSQL says that company {company} lives in {place} since {theirs.since} (epoch {theirs.epoch}); the"
        f" record of this host says {mine.store} (epoch {mine.epoch})",
        operation="compare store of record",
        subject=host,
        hint=hint,
    )


def contradictions(
    record: StoreRecord, params: ConnectParams, host: str, companies: Sequence[str], deadline_seconds: float
) -> List[Misconfigured]:
    """The companies of which PostgreSQL says something else than this host's record. Changes nothing; raises as
    :func:`reconcile` does.
    """
    operation = "read published store of record"
    with session(params, operation=operation, deadline_seconds=deadline_seconds) as (connection, _deadline):
        theirs = read_published(connection.cursor(), companies)
    mine = {company: record.get(company) for company in theirs}
    return [
        contradiction(company, mine[company], each, host)
        for company, each in theirs.items()
        if judge(mine[company], each, host) == CONFLICT
    ]
