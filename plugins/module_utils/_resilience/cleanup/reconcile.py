# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What became of a batch whose run was cut off between the archive and the commit: PostgreSQL knows."""

from __future__ import annotations

from typing import Any, List

from .._thirdparty import require
from ..errors import Busy
from ..postgres import translated
from ..sessions.postgres_store import table_identifier
from .archive import COMMITTED, ROLLED_BACK, Archive, Batch, Writer, path_of, read, remove, runs
from .keyfile import ArchiveKeys
from .members import has_begun, is_ended
from .plan import CleanupSettings

#: transaction ids that the server does not know, or has forgotten
_UNKNOWN = ("22023",)


def reconcile_all(connection: Any, settings: CleanupSettings) -> List[str]:
    """Bring every archive that was cut off to its end. Returns their runs."""
    keys = settings.keys_for_reading()
    return [run for run in runs(settings.archives) if reconcile(connection, settings, run, keys)]


def reconcile(connection: Any, settings: CleanupSettings, run: str, keys: ArchiveKeys) -> bool:
    """Whether there was something to do. Raises Busy while the transaction is still under way, and Misconfigured for an
    archive that was cut off and is encrypted with a key that is not in ``keys``: it stays as it is.
    """
    path = path_of(settings.archives, run)
    if not has_begun(path):
        remove(path)
        return False
    if is_ended(path):
        return False
    archive = read(path, keys=keys)
    if archive.ended:
        return False
    writer = Writer.append(archive)
    try:
        if archive.undecided is not None:
            writer.outcome(archive.undecided.number, _outcome(connection, archive, archive.undecided))
        writer.line({"run_ended": "cut off"})
    finally:
        writer.close()
    return True


def _outcome(connection: Any, archive: Archive, batch: Batch) -> str:
    with translated("reconcile archive", archive.header.run):
        status = _status_of(connection, batch.xid)
        if status == "in progress":
            raise Busy(
                "the server has not ended the deletion of a run that was cut off",
                operation="reconcile archive",
                subject=archive.header.run,
                hint="it ends when it sees that nobody is there any more; then run again",
            )
        # A row that is there to the byte was not deleted, whatever a server says that is not the one of that run.
        is_there = status == "aborted" or _still_there(connection, archive, batch)
        return ROLLED_BACK if is_there else COMMITTED


def _status_of(connection: Any, xid: str) -> str:
    """Empty where the server does not know: too long ago, or another server than that of the run."""
    psycopg2 = require("psycopg2")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_xact_status(%s::xid8)", (xid,))
            return str(cursor.fetchone()[0] or "")
    except psycopg2.Error as exc:
        if exc.pgcode not in _UNKNOWN:
            raise
        return ""
    finally:
        connection.rollback()


def _still_there(connection: Any, archive: Archive, batch: Batch) -> bool:
    """Whether a row of it is in the table as it was: a deletion takes all of them or none."""
    sql = require("psycopg2.sql")
    header = archive.header
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(
        table_identifier(header.table),
        sql.SQL(" AND ").join(
            sql.SQL("{}::text IS NOT DISTINCT FROM %s").format(sql.Identifier(name)) for name, _kind in header.columns
        ),
    )
    try:
        with connection.cursor() as cursor:
            for row in batch.rows:
                cursor.execute(query, row)
                if cursor.fetchone()[0]:
                    return True
        return False
    finally:
        connection.rollback()
