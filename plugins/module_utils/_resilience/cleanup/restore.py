# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A run of a cleanup, taken back: what it deleted is put back where nothing newer is.

A key that belongs to another life of its company is not: the company was paired anew, or has moved to files and back
since. And a client that cannot be fenced off could take a row that comes back for another writer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

from .._thirdparty import require
from ..errors import Misconfigured, SchemaMismatch, VerificationFailed
from ..postgres import session
from ..progress import Progress, Silent
from ..sessions.model import KeysTable
from ..sessions.postgres_store import check_tables, regclass_text, table_identifier
from .archive import COMMITTED, Archive, Batch, path_of, read
from .plan import CleanupSettings, read_identities, standing
from .reconcile import reconcile
from .run import columns_of, locked

_OPERATION = "restore keys"
_DEADLINE_SECONDS = 60.0
_WRITERS = "SELECT to_regclass('baileys_resilience.writers') IS NOT NULL"


@dataclass
class Restored:
    """Number of keys by company. ``kept``: the table has a row of that key, which is newer. ``refused``: companies of
    which nothing was put back, and why.
    """

    run: str
    restored: Dict[str, int] = field(default_factory=dict)
    kept: Dict[str, int] = field(default_factory=dict)
    refused: Dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return sum(self.restored.values())

    def as_dict(self) -> Dict[str, Any]:
        return {
            "run": self.run,
            "restored": self.number,
            "companies": dict(sorted(self.restored.items())),
            "newer": dict(sorted(self.kept.items())),
            "refused": dict(sorted(self.refused.items())),
        }


def restore(
    settings: CleanupSettings, run: str, *, application_stopped: bool = False, progress: Optional[Progress] = None
) -> Restored:
    """Put back what ``run`` deleted, of the companies of the settings (None: all). One transaction for all of it."""
    progress = progress or Silent()
    path = path_of(settings.archives, run)
    done = Restored(run)
    opened = session(settings.database, operation=_OPERATION, deadline_seconds=_DEADLINE_SECONDS)
    with locked(settings), opened as (connection, _deadline):
        read(path)  # a run that is not there, or is damaged, is said before anything is asked
        reconcile(connection, settings, run)
        archive, batches = read(path)
        with connection.cursor() as cursor:
            check_tables(cursor, settings.tables, settings.database.where)
            _refuse_unfenced(cursor, settings, application_stopped)
            writer = _Writer(cursor, settings, archive)
            chosen = [each for each in batches if each.outcome == COMMITTED and _is_chosen(settings, each)]
            _refuse_other_lives(cursor, settings, chosen, done)
            for batch in chosen:
                if batch.company not in done.refused:
                    writer.put_back(batch, done)
                    progress.note("restored", company=batch.company, type=batch.key_type)
        connection.commit()
    return done


def _is_chosen(settings: CleanupSettings, batch: Batch) -> bool:
    return settings.companies is None or batch.company in settings.companies


def _refuse_unfenced(cursor: Any, settings: CleanupSettings, application_stopped: bool) -> None:
    """Without tokens, a client that comes back from an outage knows a second writer by rows that it did not write."""
    cursor.execute(_WRITERS)
    if cursor.fetchone()[0] or application_stopped:
        return
    raise Misconfigured(
        "the schema baileys_resilience is not in PostgreSQL: an application that runs could take what comes back for"
        " the work of a second writer",
        operation=_OPERATION,
        subject=settings.database.where,
        hint="run baileys-resilience init-db and restart the application, or stop it and say so: --application-stopped",
    )


def _refuse_other_lives(cursor: Any, settings: CleanupSettings, batches: Sequence[Batch], done: Restored) -> None:
    companies = sorted({each.company for each in batches})
    identities = read_identities(cursor, settings, companies)
    now = standing(cursor, settings, companies)
    for batch in batches:
        epoch, is_on_files = now[batch.company]
        identity, problem = identities.get(batch.company, ("", "it has no creds"))
        if is_on_files:
            problem = "it lives on files: what is put back would be lost when it comes back"
        elif epoch != batch.epoch:
            problem = f"it has moved since (epoch {batch.epoch} then, {epoch} now): these keys are of before"
        elif not problem and identity != batch.identity:
            problem = "it was paired anew since: these keys belong to its former identity"
        if problem:
            done.refused[batch.company] = problem


class _Writer:
    def __init__(self, cursor: Any, settings: CleanupSettings, archive: Archive) -> None:
        self._cursor = cursor
        self._keys: KeysTable = settings.tables.keys
        columns = dict(columns_of(cursor, self._keys.table))
        self._names = [name for name, _kind in archive.header.columns]
        missing = [name for name in self._names if name not in columns]
        if missing:
            raise SchemaMismatch(
                f'column "{missing[0]}" of the archive is missing in {self._keys.table}',
                operation=_OPERATION,
                subject=archive.header.run,
                hint="add the column, or put the rows back by hand: the archive is gzip, a row a line",
            )
        self._types = [columns[name] for name in self._names]
        self._cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal",
                             (regclass_text(self._keys.table),))  # fmt: skip
        self._has_triggers = bool(self._cursor.fetchone()[0])

    def put_back(self, batch: Batch, done: Restored) -> None:
        restored = sum(self._insert(row) for row in batch.rows)
        done.restored[batch.company] = done.restored.get(batch.company, 0) + restored
        done.kept[batch.company] = done.kept.get(batch.company, 0) + len(batch.rows) - restored

    def _insert(self, row: List[Optional[str]]) -> int:
        """1, or 0 where the table has the key."""
        sql = require("psycopg2.sql")
        keys = self._keys
        key = {getattr(keys, name): row[self._names.index(getattr(keys, name))] for name in ("company", "type", "id")}
        types = dict(zip(self._names, self._types))
        values = [sql.SQL("{}::" + kind).format(sql.Literal(value)) for value, kind in zip(row, self._types)]
        same = [
            sql.SQL("{} = {}::" + types[name]).format(sql.Identifier(name), sql.Literal(value))
            for name, value in key.items()
        ]
        self._cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values}"
                " WHERE NOT EXISTS (SELECT FROM {table} WHERE {same}) ON CONFLICT DO NOTHING"
            ).format(
                table=table_identifier(keys.table),
                names=sql.SQL(", ").join(map(sql.Identifier, self._names)),
                values=sql.SQL(", ").join(values),
                same=sql.SQL(" AND ").join(same),
            )
        )
        restored = int(self._cursor.rowcount)
        if restored and self._has_triggers:
            self._check(same, row)
        return restored

    def _check(self, same: List[Any], row: List[Optional[str]]) -> None:
        """A trigger may change what goes in; the time of a key it may, the key itself not."""
        sql = require("psycopg2.sql")
        value = self._keys.value
        self._cursor.execute(
            sql.SQL("SELECT {}::text FROM {} WHERE {}").format(
                sql.Identifier(value), table_identifier(self._keys.table), sql.SQL(" AND ").join(same)
            )
        )
        if [found for (found,) in self._cursor.fetchall()] != [row[self._names.index(value)]]:
            raise VerificationFailed(
                "a row that was put back is not what was archived, so nothing was put back",
                operation=_OPERATION,
                subject=self._keys.table,
                hint="look for triggers of the table; disable them for the restore",
            )
