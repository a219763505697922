# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Deletes keys in batches, each a transaction of its own that is archived before it commits.

Clients are at work meanwhile, on the same server and perhaps on the same disk. What they notice is how long one
statement keeps a processor, how much of our log their own commit has to write, and how long a row is locked. So a batch
is taken in pieces of a millisecond or so, and the server writes the log of each to its disk. Priorities would not
help: the kernel looks for a more urgent process at its next tick, four milliseconds later where HZ is 250.
"""

from __future__ import annotations

import time
from typing import Any, List, Optional, Sequence, Tuple

from .._thirdparty import require
from ..errors import Busy, Conflict, Unavailable
from ..postgres import Deadline
from ..sessions.model import KeysTable
from ..sessions.postgres_store import table_identifier
from ..steps.lease import HostLease
from . import archive
from .counting import next_pre_key_of, removable
from .orphans import orphaned
from .plan import CleanupSettings, CompanyPlan, standing

OPERATION = "clean up keys"
#: A batch is in memory: 1,000 memories of large groups are 100 MB. How large they are the first few tell.
BATCH_ROWS = 1000
BATCH_BYTES = 4 * 1024 * 1024
#: the server and this process are busy with one for less than a millisecond each
PIECE_ROWS = 64
FIRST_ROWS = 25
#: Where the server is slow, a batch takes no further piece behind that.
TAKING_SECONDS = 0.5
#: Rows of a batch are locked while it is taken and archived. A disk that hangs, or a host that is cut off from the
#: network, would keep them so for hours. When nothing comes for so long the server takes the batch back, before a
#: client that waits for one of them takes that for an outage (queryTimeoutMs, 2.5 s). It is the server's own disk where
#: that hangs: clients' commits wait for it, too, and the connection's deadline ends it.
LOCKED_SECONDS = 1.5
#: One batch at a time; a lock of the transaction, which a PgBouncer keeps where it belongs. Hosts of one database begin
#: at the same hour, each with its own companies: they take turns.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('baileys_resilience'), hashtext('cleanup'))"
TURN_SECONDS = 20.0
_XID = "SELECT pg_current_xact_id()::text"
_NOT_AVAILABLE = "55P03"
#: Since PostgreSQL 17. The message is empty; with it, all that was logged before goes to the server's disk. So many
#: rows are a quarter of a megabyte of log, as a page is logged whole when it is first changed.
_FLUSH = "SELECT pg_logical_emit_message(false, 'baileys_resilience', '', true); "
FLUSH_VERSION = 170000
FLUSH_ROWS = 64
#: An older one does that when a batch commits, so that has to be a small one.
OLDER_BATCH_ROWS = 250
#: As the server waits for its other commits; where it does not, for its own disk at least.
_WAITS = (
    "SELECT set_config('synchronous_commit',"
    " coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'local'), true),"
    " pg_logical_emit_message(true, 'baileys_resilience', '')"
)


class Batches:
    """``columns``: those of the keys' table, in the order of the archive's rows. ``deadline`` hears of each piece: the
    connection is hardly ever idle, so it could not tell from that alone that answers come.
    """

    def __init__(
        self,
        connection: Any,
        deadline: Deadline,
        settings: CleanupSettings,
        writer: archive.Writer,
        columns: List[str],
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._settings = settings
        self._writer = writer
        self._columns = columns
        self._number = 0
        self._keys: KeysTable = settings.tables.keys
        self._can_flush = connection.server_version >= FLUSH_VERSION
        self._not_flushed = 0
        self._bytes_a_row = 0.0

    def delete(self, company: CompanyPlan, key_type: str, left: int) -> int:
        """At most what was planned, and at most ``left``. Returns how many went."""
        deleted, behind = 0, ""
        most = min(left, company.counts[key_type])
        batch_rows = BATCH_ROWS if self._can_flush else min(BATCH_ROWS, OLDER_BATCH_ROWS)
        self._bytes_a_row = 0.0
        while deleted < most:
            number, behind = self._batch(company, key_type, behind, min(batch_rows, most - deleted))
            if not number:
                break
            deleted += number
        return deleted

    def make_durable(self) -> None:
        """A commit that waits has all before it on the server's disk, and on that of a synchronous standby. Only one
        that has written something waits, so a message goes into the WAL, which nobody reads.
        """
        with self._connection.cursor() as cursor:
            cursor.execute(_WAITS)
        self._connection.commit()

    def _batch(self, company: CompanyPlan, key_type: str, behind: str, limit: int) -> Tuple[int, str]:
        """Number of the keys that went, and the id of the last."""
        with self._connection.cursor() as cursor:
            try:
                xid = self._begin(cursor)
                HostLease(self._settings.state_dir).check_free(OPERATION)
                if standing(cursor, self._settings, [company.company])[company.company] != (company.epoch, False):
                    return 0, ""  # it moves, or has moved: its rows are not the session any more
                self._declare(cursor, company, key_type, behind, limit)
                rows = archive.Rows()
                last = self._take(cursor, limit, rows)
                if not rows.count:
                    return 0, ""
                self._number += 1
                began = time.monotonic()
                self._writer.batch(
                    archive.BatchHeader(self._number, company.company, key_type, company.identity, company.epoch, xid),
                    rows,
                )
                self._commit(time.monotonic() - began)
            finally:
                if not self._connection.closed:  # or the reason would be hidden
                    self._connection.rollback()
        self._writer.outcome(self._number, archive.COMMITTED)
        return rows.count, last

    def _begin(self, cursor: Any) -> str:
        """Wait for its turn. Returns the transaction's id. Where a crash of the server takes a batch back, it is in the
        archive all the same: its commit waits for no standby, and for the server's disk only where nothing else does.
        """
        psycopg2 = require("psycopg2")
        try:
            commit = "off" if self._can_flush else "local"
            cursor.execute(
                f"SET LOCAL row_security = off; SET LOCAL synchronous_commit = {commit};"
                f" SET LOCAL idle_in_transaction_session_timeout = '{LOCKED_SECONDS * 1000:.0f}ms';"
                f" SET LOCAL lock_timeout = '{TURN_SECONDS * 1000:.0f}ms'; {LOCK};"
                f" SET LOCAL lock_timeout = '5s'; {_XID}"
            )
        except psycopg2.Error as exc:
            if exc.pgcode != _NOT_AVAILABLE:
                raise
            raise Busy(
                f"a cleanup of another host has been at one batch for {TURN_SECONDS:g} s",
                operation=OPERATION,
                subject=self._settings.database.where,
                hint="look what hangs there, then run again; what is done so far stays done",
            ) from exc
        return str(cursor.fetchone()[0])

    def _declare(self, cursor: Any, company: CompanyPlan, key_type: str, behind: str, limit: int) -> None:
        """A row is locked when it is fetched, and judged once more where somebody has written it since."""
        sql = require("psycopg2.sql")
        cursor.execute(
            sql.SQL(
                "DECLARE batch NO SCROLL CURSOR FOR SELECT tableoid::text, ctid::text, {id}::text, {columns}"
                " FROM {table} WHERE {conditions}{behind} ORDER BY {id} LIMIT {limit} FOR UPDATE SKIP LOCKED"
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

    def _take(self, cursor: Any, limit: int, rows: archive.Rows) -> str:
        """Lock and delete, piece by piece, and add that to ``rows``. Returns the id of the last."""
        last = ""
        ends: Optional[float] = None
        while True:
            wanted = min(self._rows_of_a_piece(BATCH_BYTES - rows.size), limit - rows.count)
            if wanted < 1 and rows.count:
                return last
            wanted = max(1, wanted)  # a single key may be larger than a batch
            piece = self._fetch(cursor, wanted)
            if ends is None:  # nothing was locked before: a table without a fitting index is sorted first
                ends = time.monotonic() + TAKING_SECONDS
            if piece:
                self._delete_rows(cursor, [row[:2] for row in piece])
                before = rows.size
                rows.add([row[3:] for row in piece])
                self._bytes_a_row = (rows.size - before) / len(piece)
                last = piece[-1][2]
            if len(piece) < wanted or time.monotonic() > ends:
                return last

    def _rows_of_a_piece(self, room_bytes: int) -> int:
        if not self._bytes_a_row:
            return FIRST_ROWS
        return min(PIECE_ROWS, int(room_bytes / self._bytes_a_row))

    def _fetch(self, cursor: Any, number: int) -> List[Tuple[Any, ...]]:
        flush = ""
        if self._can_flush and self._not_flushed + number > FLUSH_ROWS:
            flush, self._not_flushed = _FLUSH, 0
        cursor.execute(f"{flush}FETCH {number} FROM batch")
        self._deadline.progress()
        self._not_flushed += number
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
                operation=OPERATION,
                subject=self._settings.database.where,
                hint="look for triggers, rules and partitions of the keys' table that change what a DELETE does",
            )

    def _commit(self, archived_seconds: float) -> None:
        psycopg2 = require("psycopg2")
        try:
            self._connection.commit()
        except psycopg2.Error as exc:
            if archived_seconds < LOCKED_SECONDS:
                raise
            raise Unavailable(
                f"to archive a batch took {archived_seconds:.1f} s, so the server took it back",
                operation=OPERATION,
                subject=str(self._writer.path),
                hint="look why that disk is slow, then run again",
            ) from exc

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
