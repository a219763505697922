# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""A run of a cleanup, taken back: what it deleted is put back where nothing newer is.

A key that belongs to another life of its company is not: the company was paired anew, or has moved to files and back
since. And a client that cannot be fenced off could take a row that comes back for another writer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .._thirdparty import require
from ..clock import from_iso
from ..errors import Misconfigured, SchemaMismatch, VerificationFailed
from ..postgres import session
from ..progress import Progress, Silent
from ..sessions.model import KeysTable
from ..sessions.postgres_store import check_tables, regclass_text, table_identifier
from .archive import Archive, Batch, Header, look, path_of, read, runs
from .counting import columns_of
from .keyfile import ArchiveKeys
from .plan import CleanupSettings, read_identities, standing
from .reconcile import reconcile_all
from .run import locked

_OPERATION = "restore keys"
_MEMORY, _SENDER_KEY = "sender-key-memory", "sender-key"
_DEADLINE_SECONDS = 60.0
_WRITERS = "SELECT to_regclass('baileys_resilience.writers') IS NOT NULL"


@dataclass
class Restored:
    """Number of keys by company. ``kept``: the table has a row of that key, which is newer. ``refused``: companies of
    which nothing was put back, and why. ``waiting``: of later runs that have to be put back before, the number of
    memories of groups that wait for it.
    """

    run: str
    restored: Dict[str, int] = field(default_factory=dict)
    kept: Dict[str, int] = field(default_factory=dict)
    refused: Dict[str, str] = field(default_factory=dict)
    waiting: Dict[str, int] = field(default_factory=dict)

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
            "waiting": dict(sorted(self.waiting.items())),
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
        reconcile_all(connection, settings)
        keys = settings.keys_for_reading()
        lives: Dict[str, Tuple[str, int]] = {}
        archive = read(path, lambda batch: lives.update({batch.company: (batch.identity, batch.epoch)}), keys)
        with connection.cursor() as cursor:
            check_tables(cursor, settings.tables, settings.database.where)
            _refuse_unfenced(cursor, settings, application_stopped)
            chosen = {each: life for each, life in lives.items() if _is_chosen(settings, each)}
            done.refused = _other_lives(cursor, settings, chosen)
            unreadable = _groups_without_keys(cursor, settings, archive.header, keys)
            writer = _Writer(cursor, settings, archive, unreadable)
            for company in sorted(set(chosen) - set(done.refused)):
                done.restored[company] = done.kept[company] = 0
            read(path, lambda batch: writer.put_back(batch, done) if batch.company in done.restored else None, keys)
            progress.note("restored", run=run, keys=done.number)
        connection.commit()
    return done


def _is_chosen(settings: CleanupSettings, company: str) -> bool:
    return settings.companies is None or company in settings.companies


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


def _other_lives(cursor: Any, settings: CleanupSettings, lives: Mapping[str, Tuple[str, int]]) -> Dict[str, str]:
    """The companies that are not any more what they were at the run (identity, epoch), and why."""
    identities = read_identities(cursor, settings, sorted(lives))
    now = standing(cursor, settings, sorted(lives))
    refused = {}
    for company, (then_identity, then_epoch) in lives.items():
        epoch, is_on_files = now[company]
        identity, problem = identities.get(company, ("", "it has no creds" if then_identity else ""))
        if is_on_files:
            problem = "it lives on files: what is put back would be lost when it comes back"
        elif epoch != then_epoch:
            problem = f"it has moved since (epoch {then_epoch} then, {epoch} now): these keys are of before"
        elif not problem and identity and not then_identity:
            problem = "it had no creds then and has some now: nobody can tell whether these keys are theirs"
        elif not problem and identity != then_identity:
            problem = "it was paired anew since: these keys belong to its former identity"
        if problem:
            refused[company] = problem
    return refused


def _groups_without_keys(
    cursor: Any, settings: CleanupSettings, ours: Header, archive_keys: ArchiveKeys
) -> Dict[Tuple[str, str], str]:
    """Company and group whose sender keys a later run deleted, with that run. A memory of such a group would say that
    others hold the key that Baileys makes anew there, and they could not read it.
    """
    sql = require("psycopg2.sql")
    keys = settings.tables.keys
    found: Dict[Tuple[str, str], str] = {}
    for later in runs(settings.archives):
        batches: List[Tuple[str, List[Any]]] = []
        if later.split("-")[1] < ours.run.split("-")[1]:
            continue
        header = look(path_of(settings.archives, later)).header
        if from_iso(header.at) <= from_iso(ours.at):
            continue  # nothing of it is needed, not even its key
        read(path_of(settings.archives, later), _only_sender_keys(batches), archive_keys)
        place = [name for name, _kind in header.columns].index(keys.id)
        for company, rows in batches:
            ids = {row[place] for row in rows}
            cursor.execute(
                sql.SQL(
                    "SELECT {id}::text FROM {table} WHERE {company} = {} AND {type} = {} AND {id} = ANY({})"
                ).format(
                    sql.Literal(company),
                    sql.Literal(_SENDER_KEY),
                    sql.Literal(sorted(ids)),
                    id=sql.Identifier(keys.id),
                    table=table_identifier(keys.table),
                    company=sql.Identifier(keys.company),
                    type=sql.Identifier(keys.type),
                )
            )
            missing = ids - {there for (there,) in cursor.fetchall()}
            found.update({(company, each.split("::")[0]): later for each in missing})
    return found


def _only_sender_keys(into: List[Tuple[str, List[Any]]]) -> Callable[[Batch], None]:
    def take(batch: Batch) -> None:
        if batch.key_type == _SENDER_KEY:
            into.append((batch.company, batch.rows))

    return take


class _Writer:
    """``unreadable``: of :func:`_groups_without_keys`."""

    def __init__(
        self, cursor: Any, settings: CleanupSettings, archive: Archive, unreadable: Mapping[Tuple[str, str], str]
    ) -> None:
        self._cursor = cursor
        self._unreadable = unreadable
        self._keys: KeysTable = settings.tables.keys
        columns = dict(columns_of(cursor, self._keys.table))
        self._names = [name for name, _kind in archive.header.columns]
        missing = [name for name in self._names if name not in columns]
        if missing:
            raise SchemaMismatch(
                f'column "{missing[0]}" of the archive is missing in {self._keys.table}',
                operation=_OPERATION,
                subject=archive.header.run,
                hint="add the column, or put the rows back by hand: docs/formats/cleanup.md says how to read it",
            )
        self._types = [columns[name] for name in self._names]
        self._cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal",
                             (regclass_text(self._keys.table),))  # fmt: skip
        self._has_triggers = bool(self._cursor.fetchone()[0])

    def put_back(self, batch: Batch, done: Restored) -> None:
        if batch.key_type == _MEMORY and self._unreadable:
            batch = self._without_unreadable(batch, done)
        restored = self._insert(batch)
        if restored and self._has_triggers:
            self._check(batch, restored)
        done.restored[batch.company] += len(restored)
        done.kept[batch.company] += len(batch.rows) - len(restored)

    def _without_unreadable(self, batch: Batch, done: Restored) -> Batch:
        place = self._names.index(self._keys.id)
        rows = []
        for row in batch.rows:
            later = self._unreadable.get((batch.company, str(row[place])))
            if later is None:
                rows.append(row)
            else:
                done.waiting[later] = done.waiting.get(later, 0) + 1
        return replace(batch, rows=rows)

    def _insert(self, batch: Batch) -> List[str]:
        """The ids of the keys that the table did not have."""
        if not batch.rows:
            return []
        sql = require("psycopg2.sql")
        keys = self._keys
        key = [getattr(keys, name) for name in ("company", "type", "id")]
        archived = {
            name: sql.SQL("archived.{}::" + kind).format(sql.Identifier(name))
            for name, kind in zip(self._names, self._types)
        }
        query = sql.SQL(
            "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM unnest({arrays})"
            " AS archived ({names}) WHERE NOT EXISTS (SELECT FROM {table} AS there WHERE {same})"
            " ON CONFLICT DO NOTHING RETURNING {id}::text"
        ).format(
            table=table_identifier(keys.table),
            names=sql.SQL(", ").join(map(sql.Identifier, self._names)),
            values=sql.SQL(", ").join(archived.values()),
            arrays=sql.SQL(", ").join(sql.SQL("%s::text[]") for _name in self._names),
            same=sql.SQL(" AND ").join(
                sql.SQL("there.{} = {}").format(sql.Identifier(name), archived[name]) for name in key
            ),
            id=sql.Identifier(keys.id),
        )
        self._cursor.execute(query, [list(column) for column in zip(*batch.rows)])
        return [found for (found,) in self._cursor.fetchall()]

    def _check(self, batch: Batch, restored: List[str]) -> None:
        """A trigger may change what goes in; the time of a key it may, the key itself not."""
        sql = require("psycopg2.sql")
        keys = self._keys
        self._cursor.execute(
            sql.SQL(
                "SELECT {id}::text, {value}::text FROM {table}"
                " WHERE {company} = {} AND {type} = {} AND {id}::text = ANY({})"
            ).format(
                sql.Literal(batch.company),
                sql.Literal(batch.key_type),
                sql.Literal(restored),
                id=sql.Identifier(keys.id),
                value=sql.Identifier(keys.value),
                table=table_identifier(keys.table),
                company=sql.Identifier(keys.company),
                type=sql.Identifier(keys.type),
            )
        )
        there = dict(self._cursor.fetchall())
        places = (self._names.index(keys.id), self._names.index(keys.value))
        archived = {row[places[0]]: row[places[1]] for row in batch.rows}
        if there != {each: archived[each] for each in restored}:
            raise VerificationFailed(
                "a row that was put back is not what was archived, so nothing was put back",
                operation=_OPERATION,
                subject=keys.table,
                hint="look for triggers of the table; disable them for the restore",
            )
