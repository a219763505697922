# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The cleanup itself: plan, then that plan, batch by batch, each of them archived before its deletion commits.

Nothing here waits for a client's write, and no client waits for long: rows that somebody holds are passed over, and a
batch is locked only while it is written to disk. Ages are judged by the database's clock, once more at deletion.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from .._thirdparty import require
from ..errors import Busy, Conflict, Unavailable
from ..files import make_private_directory
from ..locks import held
from ..postgres import session
from ..progress import Progress, Silent
from ..sessions.model import KeysTable
from ..sessions.postgres_store import table_identifier
from ..steps.lease import HostLease
from . import archive
from .counting import columns_of, next_pre_key_of, removable
from .orphans import orphaned
from .plan import BATCH_ROWS, CleanupSettings, CompanyPlan, Plan, make_plan, standing
from .reconcile import reconcile_all
from .room import Room, read_room, vacuum_advice

_OPERATION = "clean up keys"
_DEADLINE_SECONDS = 60.0
#: Rows of a batch are locked while it is archived. A disk that hangs, or a host that is cut off from the network, would
#: keep them so for hours. The server takes the batch back before a client that waits for one of them takes that for an
#: outage (queryTimeoutMs, 2.5 s).
LOCKED_SECONDS = 2.0
#: One batch at a time; a lock of the transaction, which a PgBouncer keeps where it belongs. Hosts of one database begin
#: at the same hour, each with its own companies: they take turns.
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('baileys_resilience'), hashtext('cleanup'))"
TURN_SECONDS = 20.0
#: A batch that a crash of the server takes back is in the archive all the same, so no commit waits for its disk. What a
#: client commits later brings these to the disk, too; the end of the run waits for all.
_SETTINGS = (
    "SET LOCAL row_security = off; SET LOCAL synchronous_commit = off;"
    f" SET LOCAL idle_in_transaction_session_timeout = '{LOCKED_SECONDS * 1000:.0f}ms'"
)
_NOT_AVAILABLE = "55P03"
#: As the server waits for its other commits; where it does not, for its own disk at least.
_WAITS = (
    "SELECT set_config('synchronous_commit',"
    " coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'local'), true),"
    " pg_logical_emit_message(true, 'cleanup', '')"
)
#: The memory of a group goes before its sender keys: what is there twice harms nobody, a memory without its key does.
_FIRST = ("sender-key-memory",)


@dataclass
class Cleaned:
    """What a run did. ``deleted``: number of keys by company and type. ``left``: keys that may go and are still there,
    since the run has a cap, or somebody was at them. ``room``: what the tables take behind the run. ``advice``: a
    VACUUM that is worth it, in words.
    """

    plan: Plan
    run: str = ""
    archive: str = ""
    deleted: Dict[str, Dict[str, int]] = field(default_factory=dict)
    expired: List[str] = field(default_factory=list)
    reconciled: List[str] = field(default_factory=list)
    room: Optional[Room] = None
    advice: str = ""

    @property
    def number(self) -> int:
        return sum(sum(kinds.values()) for kinds in self.deleted.values())

    @property
    def left(self) -> int:
        return max(0, self.plan.may_go - self.number)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "run": self.run,
            "archive": self.archive,
            "deleted": self.number,
            "companies": {company: dict(sorted(kinds.items())) for company, kinds in sorted(self.deleted.items())},
            "left": self.left,
            "expired_archives": self.expired,
            "reconciled": self.reconciled,
            "sizes": {
                "before": self.plan.room.as_dict(),
                "after": None if self.room is None else self.room.as_dict(),
            },
            "vacuum_advice": self.advice,
            "plan": self.plan.as_dict(),
        }


def dry_run(settings: CleanupSettings) -> Plan:
    """What :func:`clean_up` would do. Changes nothing, and works on a replica."""
    settings.archive_keys()
    with _connected(settings) as connection, connection.cursor() as cursor:
        return make_plan(cursor, settings, will_write=False)


def clean_up(settings: CleanupSettings, progress: Optional[Progress] = None) -> Cleaned:
    """Delete what may go. Raises Misconfigured when that is too much of a company (nothing is deleted then), Busy when
    another cleanup is at work, and what database and disk say; what was deleted before an error is in the archive.
    """
    progress = progress or Silent()
    settings.check()
    settings.archive_keys()
    with locked(settings), _connected(settings) as connection:
        reconciled = reconcile_all(connection, settings)
        with connection.cursor() as cursor:
            plan = make_plan(cursor, settings, will_write=True)
        connection.rollback()
        plan.refuse_too_much()
        done = Cleaned(plan, reconciled=reconciled)
        if plan.number:
            _carry_out(connection, settings, done, progress)
        _look_at_room(connection, settings, done)
        done.expired = archive.expire(settings.archives, settings.keep_days, plan.at)
        return done


def _look_at_room(connection: Any, settings: CleanupSettings, done: Cleaned) -> None:
    """The work is done: a connection that is lost now leaves the figures out, and is no failure."""
    psycopg2 = require("psycopg2")
    with contextlib.suppress(psycopg2.Error):
        with connection.cursor() as cursor:
            done.room = read_room(cursor, settings.tables)
            done.advice = vacuum_advice(cursor, settings.tables, done.number, done.plan.total, done.room)
        connection.rollback()


@contextlib.contextmanager
def locked(settings: CleanupSettings) -> Iterator[None]:
    """Only one process of this host works on the archives, and none while a failover or failback of it is open: that
    compares the rows with what the client holds, key by key, also behind the move in the record.
    """
    HostLease(settings.state_dir).check_free(_OPERATION)
    directory = make_private_directory(settings.archives)
    busy = Busy(
        "another cleanup is at work on this host",
        operation=_OPERATION,
        subject=str(directory),
        hint="wait for its end, then run again",
    )
    with held(directory, 0.0, busy):
        yield


@contextlib.contextmanager
def _connected(settings: CleanupSettings) -> Iterator[Any]:
    with session(settings.database, operation=_OPERATION, deadline_seconds=_DEADLINE_SECONDS) as (
        connection,
        _deadline,
    ):
        # Each batch judges rows as they are when it has locked them, whatever the database's default is.
        connection.set_session(isolation_level="READ COMMITTED")
        yield connection


def _carry_out(connection: Any, settings: CleanupSettings, done: Cleaned, progress: Progress) -> None:
    with connection.cursor() as cursor:
        columns = columns_of(cursor, settings.tables.keys.table)
    connection.rollback()
    header = archive.Header(
        archive.new_run(done.plan.at),
        done.plan.at,
        done.plan.policy,
        settings.database.where,
        settings.tables.keys.table,
        columns,
    )
    writer = archive.Writer.create(settings.archives, header, settings.archive_keys())
    done.run, done.archive = header.run, str(writer.path)
    batches = _Batches(connection, settings, writer, [name for name, _kind in columns])
    try:
        for company in done.plan.companies:
            for key_type in sorted(company.counts, key=lambda each: (each not in _FIRST, each)):
                if company.passed_over:
                    continue
                number = batches.delete(company, key_type, settings.cap - done.number)
                if number:
                    done.deleted.setdefault(company.company, {})[key_type] = number
                    progress.note("deleted", company=company.company, type=key_type, keys=number)
        batches.make_durable()
        writer.line({"run_ended": "done", "deleted": done.number})
    finally:
        writer.close()


#: A batch is in memory, and its rows are locked while they travel: 1,000 memories of large groups are 100 MB. Where the
#: largest row that the plan has met forbids a full batch, the first few of the company's type tell how large they are.
BATCH_BYTES = 4 * 1024 * 1024
FIRST_ROWS = 50


class _Batches:
    """Deletes in batches of one company and type, each a transaction of its own."""

    def __init__(self, connection: Any, settings: CleanupSettings, writer: archive.Writer, columns: List[str]) -> None:
        self._connection = connection
        self._settings = settings
        self._writer = writer
        self._columns = columns
        self._number = 0
        self._keys: KeysTable = settings.tables.keys

    def delete(self, company: CompanyPlan, key_type: str, left: int) -> int:
        """At most what was planned, and at most ``left``. Returns how many went."""
        deleted, behind = 0, ""
        limit = BATCH_ROWS if company.largest[key_type] * BATCH_ROWS <= BATCH_BYTES else FIRST_ROWS
        most = min(left, company.counts[key_type])
        while deleted < most:
            number, size, behind = self._batch(company, key_type, behind, min(limit, BATCH_ROWS, most - deleted))
            if not number:
                break
            deleted += number
            limit = max(1, min(4 * limit, BATCH_BYTES * number // size))
        return deleted

    def make_durable(self) -> None:
        """A commit that waits has all before it on the server's disk, and on that of a synchronous standby. Only one
        that has written something waits, so a message goes into the WAL, which nobody reads.
        """
        with self._connection.cursor() as cursor:
            cursor.execute(_WAITS)
        self._connection.commit()

    def _batch(self, company: CompanyPlan, key_type: str, behind: str, limit: int) -> Tuple[int, int, str]:
        """Number of the keys that went, how many bytes they were, and the id of the last."""
        with self._connection.cursor() as cursor:
            try:
                found = self._lock_rows(cursor, company, key_type, behind, limit)
                if not found:
                    return 0, 0, ""
                self._number += 1
                self._delete_rows(cursor, [row[:2] for row in found])
                began = time.monotonic()
                size = self._archive(cursor, company, key_type, [list(row[3:]) for row in found])
                self._commit(time.monotonic() - began)
            finally:
                if not self._connection.closed:  # or the reason would be hidden
                    self._connection.rollback()
        self._writer.outcome(self._number, archive.COMMITTED)
        return len(found), size, found[-1][2]

    def _commit(self, archived_seconds: float) -> None:
        psycopg2 = require("psycopg2")
        try:
            self._connection.commit()
        except psycopg2.Error as exc:
            if archived_seconds < LOCKED_SECONDS:
                raise
            raise Unavailable(
                f"to archive a batch took {archived_seconds:.1f} s, so the server took it back",
                operation=_OPERATION,
                subject=str(self._writer.path),
                hint="look why that disk is slow, then run again",
            ) from exc

    def _wait_for_turn(self, cursor: Any) -> None:
        psycopg2 = require("psycopg2")
        try:
            cursor.execute(f"{_SETTINGS}; SET LOCAL lock_timeout = '{TURN_SECONDS * 1000:.0f}ms'; {_LOCK}")
        except psycopg2.Error as exc:
            if exc.pgcode != _NOT_AVAILABLE:
                raise
            raise Busy(
                f"a cleanup of another host has been at one batch for {TURN_SECONDS:g} s",
                operation=_OPERATION,
                subject=self._settings.database.where,
                hint="look what hangs there, then run again; what is done so far stays done",
            ) from exc

    def _lock_rows(
        self, cursor: Any, company: CompanyPlan, key_type: str, behind: str, limit: int
    ) -> Sequence[Tuple[Any, ...]]:
        sql = require("psycopg2.sql")
        self._wait_for_turn(cursor)
        HostLease(self._settings.state_dir).check_free(_OPERATION)
        if standing(cursor, self._settings, [company.company])[company.company] != (company.epoch, False):
            return []  # it moves, or has moved: its rows are not the session any more
        cursor.execute(
            sql.SQL(
                "SET LOCAL lock_timeout = '5s'; SELECT tableoid::text, ctid::text, {id}::text, {columns} FROM {table}"
                " WHERE {conditions}{behind} ORDER BY {id} LIMIT {limit} FOR UPDATE SKIP LOCKED"
            ).format(
                id=sql.Identifier(self._keys.id),
                columns=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(each)) for each in self._columns),
                table=table_identifier(self._keys.table),
                conditions=self._conditions(company, key_type),
                behind=sql.SQL(" AND {} > {}").format(sql.Identifier(self._keys.id), sql.Literal(behind))
                if behind
                else sql.SQL(""),
                limit=sql.Literal(limit),
            )
        )
        return list(cursor.fetchall())

    def _delete_rows(self, cursor: Any, places: Sequence[Tuple[str, str]]) -> None:
        """Rows that this transaction has locked, so they are still what was judged. Partition by partition: two of them
        may have a row at the same place.
        """
        sql = require("psycopg2.sql")
        gone = 0
        for table in sorted({table for table, _place in places}):
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE ctid = ANY({}::tid[]) AND tableoid = {}::oid").format(
                    table_identifier(self._keys.table),
                    sql.Literal([place for its_table, place in places if its_table == table]),
                    sql.Literal(table),
                )
            )
            gone += cursor.rowcount
        if gone != len(places):
            raise Conflict(
                f"{gone} rows went instead of {len(places)}, so this batch was taken back",
                operation=_OPERATION,
                subject=self._settings.database.where,
                hint="look for triggers, rules and partitions of the keys' table that change what a DELETE does",
            )

    def _conditions(self, company: CompanyPlan, key_type: str) -> Any:
        sql = require("psycopg2.sql")
        return sql.SQL("{} = {} AND {} = {} AND {}").format(
            sql.Identifier(self._keys.company),
            sql.Literal(company.company),
            sql.Identifier(self._keys.type),
            sql.Literal(key_type),
            self._may_go(company),
        )

    def _may_go(self, company: CompanyPlan) -> Any:
        tables = self._settings.tables
        if company.is_orphan:
            return orphaned(tables, self._settings.orphan_days, company.company)
        return removable(tables, self._settings.policy, next_pre_key_of(tables, company.company))

    def _archive(self, cursor: Any, company: CompanyPlan, key_type: str, rows: List[archive.Row]) -> int:
        cursor.execute("SELECT pg_current_xact_id()::text")
        xid = cursor.fetchone()[0]
        return self._writer.batch(
            archive.Batch(self._number, company.company, key_type, company.identity, company.epoch, xid, rows)
        )
