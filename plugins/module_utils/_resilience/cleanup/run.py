# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The cleanup itself: plan, then that plan, batch by batch, each of them archived before its deletion commits.

Nothing here waits for a client's write, and no client waits for long: rows that somebody holds are passed over, and a
batch is locked only while it is taken and written to disk. Ages are judged by the database's clock, once more at
deletion.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .._thirdparty import require
from ..errors import Busy
from ..files import make_private_directory
from ..locks import held
from ..postgres import Deadline, session
from ..progress import Progress, Silent
from ..steps.lease import HostLease
from . import archive
from .batches import OPERATION, Batches
from .counting import columns_of
from .plan import CleanupSettings, Plan, make_plan
from .reconcile import reconcile_all
from .room import Room, read_room, vacuum_advice

_DEADLINE_SECONDS = 60.0
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
    with _connected(settings) as (connection, _deadline):
        return make_plan(connection.cursor(), settings, will_write=False)


def clean_up(settings: CleanupSettings, progress: Optional[Progress] = None) -> Cleaned:
    """Delete what may go. Raises Misconfigured when that is too much of a company (nothing is deleted then), Busy when
    another cleanup is at work, and what database and disk say; what was deleted before an error is in the archive.
    """
    progress = progress or Silent()
    settings.check()
    settings.archive_keys()
    with locked(settings), _connected(settings) as (connection, deadline):
        reconciled = reconcile_all(connection, settings)
        with connection.cursor() as cursor:
            plan = make_plan(cursor, settings, will_write=True)
        connection.rollback()
        plan.refuse_too_much()
        done = Cleaned(plan, reconciled=reconciled)
        if plan.number:
            _carry_out(connection, deadline, settings, done, progress)
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
    HostLease(settings.state_dir).check_free(OPERATION)
    directory = make_private_directory(settings.archives)
    busy = Busy(
        "another cleanup is at work on this host",
        operation=OPERATION,
        subject=str(directory),
        hint="wait for its end, then run again",
    )
    with held(directory, 0.0, busy):
        yield


@contextlib.contextmanager
def _connected(settings: CleanupSettings) -> Iterator[Tuple[Any, Deadline]]:
    with session(settings.database, operation=OPERATION, deadline_seconds=_DEADLINE_SECONDS) as (
        connection,
        deadline,
    ):
        # Each batch judges rows as they are when it has locked them, whatever the database's default is.
        connection.set_session(isolation_level="READ COMMITTED")
        yield connection, deadline


def _carry_out(
    connection: Any, deadline: Deadline, settings: CleanupSettings, done: Cleaned, progress: Progress
) -> None:
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
    batches = Batches(connection, deadline, settings, writer, [name for name, _kind in columns])
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
