# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One round with the database: a new connection, and at most six messages on it, each under a deadline of ours.

1 role, rows, rights; 2 a write that is taken back; 3, 4 connections; 5 replication; 6 a write that stays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Optional, Tuple

from ...errors import DeadlineExceeded, ReadOnly, Refused, ResilienceError, SchemaMismatch, Unavailable
from ...postgres import ConnectParams, Deadline, connect_once_within, translated
from ...sessions.model import TableMapping
from ..alerts.model import DATABASE, REPLICA, Subject
from ..alerts.readings import Connections, Probe, Reading, Replica
from ..findings import grant
from ..latency import CONNECT, READ, WRITE
from ..server_pool import ServerPool, count_connections
from ..statements import CANARY_TABLE, canary_statement, patient_read_statement, write_statement
from .replication import ReplicaState, read_replication
from .source import Look

CANARY = "canary"
APPLICATION_NAME = "baileys-resilience-monitor"
#: :class:`Deadline` looks ten times in its seconds, and once to see the statement begin
_DEADLINE_SLACK = 1.2
#: a round with a slow network may take so many deadlines; what is left then is left out
_ROUND_DEADLINES = 3.0
#: where the canary has no table, it is looked for again so often
_CANARY_AGAIN_SECONDS = 300.0


@dataclass(frozen=True)
class DatabaseFigure:
    """``seconds`` by operation, of those that ended well. ``error`` is the sentence of the one that did not."""

    seconds: Dict[str, float] = field(default_factory=dict)
    error: str = ""
    pool: Optional[ServerPool] = None
    replicas: Tuple[ReplicaState, ...] = ()
    canary: bool = False
    #: whether those are all: without a right, or on a standby, none are seen
    sees_replicas: bool = False


class _Failed(Exception):
    """One operation of the round."""

    def __init__(self, operation: str, error: ResilienceError, advice: str = "") -> None:
        super().__init__(str(error))
        self.operation, self.error, self.advice = operation, error, advice


class _TimeIsOver(Exception):
    """The time of the round ended between two operations, or inside of one: that says nothing about the database."""


class DatabaseSource:
    """``monitor`` names this one among those that look at the same database. ``replicas`` are those that must be there;
    others are watched from their first sight on.
    """

    name = "database"
    quick = True

    def __init__(
        self,
        params: ConnectParams,
        tables: TableMapping,
        *,
        monitor: str,
        interval_seconds: float = 5.0,
        deadline_seconds: float = 2.0,
        write: bool = True,
        replicas: Tuple[str, ...] = (),
    ) -> None:
        extra = {"application_name": APPLICATION_NAME, **params.extra}
        # The thread that libpq keeps after our deadline must end before the next ones make a crowd.
        self.params = replace(params, extra=extra, connect_timeout_seconds=deadline_seconds)
        self.subject = Subject(DATABASE, params.where)
        self.interval_seconds = interval_seconds
        self.deadline_seconds = deadline_seconds
        self.round_seconds = deadline_seconds * _ROUND_DEADLINES
        self.limit_seconds = self.round_seconds + 2 * deadline_seconds
        self.writes = write
        self.replicas = replicas
        self.read = patient_read_statement(tables, deadline_seconds)
        self.write = write_statement(tables, deadline_seconds)
        self.tables, self.monitor = tables, monitor
        #: also at the start: a monitor of before may have left one
        self.left_behind = True
        self.canary_problem = ""
        self.canary_again_at = 0.0

    def look(self) -> Look:
        return _Round(self).run()

    def failed(self, problem: str) -> List[Reading]:
        return [Probe(self.subject, problem=problem), Connections(self.subject, problem=problem)]


class _Round:
    def __init__(self, source: DatabaseSource) -> None:
        self.source = source
        self.started = time.monotonic()
        self.seconds: Dict[str, float] = {}
        self.degraded: List[str] = []
        self.pool: Optional[ServerPool] = None
        self.replicas: List[ReplicaState] = []
        self.seen_replicas = False
        self.nameless = False
        self.in_recovery = False
        self.wrote_canary = False

    def run(self) -> Look:
        subject = self.source.subject
        try:
            self._all()
            probe = Probe(subject, slowest_ms=self._slowest_ms())
        except _TimeIsOver:
            # It answers, if slowly: what was asked is judged by its times.
            served = WRITE in self.seconds or (READ in self.seconds and not self.source.writes)
            late = f"the round was not over within {self.source.round_seconds:g} s"
            probe = Probe(subject, slowest_ms=self._slowest_ms()) if served else Probe(subject, problem=late)
        except _Failed as failed:
            probe = Probe(subject, failed.error, failed.operation, failed.advice)
        figure = DatabaseFigure(
            self.seconds,
            str(probe.error or probe.problem),
            self.pool,
            tuple(self.replicas),
            self.wrote_canary,
            self.seen_replicas and not self.nameless,
        )
        return Look([probe, *self._connections(probe), *self._lag(probe)], figure, tuple(self.degraded))

    def _all(self) -> None:
        source = self.source
        connection = self._timed(
            CONNECT, lambda seconds: connect_once_within(source.params, seconds, operation="probe")
        )
        try:
            connection.autocommit = True
            self._role(self._timed(READ, lambda seconds: self._ask(connection, seconds, source.read)))
            if source.writes:
                self._timed(WRITE, lambda seconds: self._ask(connection, seconds, source.write))
            self._statistics(connection)
            if source.writes and time.monotonic() >= source.canary_again_at:
                self._canary(connection)
            elif source.canary_problem:
                self.degraded.append(source.canary_problem)
        finally:
            connection.close()

    def _role(self, row: Any) -> None:
        in_recovery, read_only, _auth, _keys, lacks = row
        self.in_recovery = bool(in_recovery)
        if not self.source.writes:
            return
        if in_recovery or read_only == "on":
            cause = "the server is a standby" if in_recovery else "its transactions are read-only by default"
            raise _Failed(WRITE, ReadOnly(cause, operation="probe", subject=self.source.params.where))
        if lacks:
            error = Refused(f"{lacks}: not granted", operation="probe", subject=self.source.params.where)
            raise _Failed(WRITE, error, self._grant(WRITE))

    def _statistics(self, connection: Any) -> None:
        """None of this says whether the database serves, unless it keeps silent."""
        pool = self._told(connection, "connections", count_connections)
        if pool is not None:
            self.pool = pool
            if not pool.all_visible:
                self.degraded.append(
                    f"the states of other roles' sessions cannot be seen: {grant('pg_monitor', '', pool.login_role)}"
                )
        replicas = None if self.in_recovery else self._told(connection, "replication", read_replication)
        if replicas is not None:
            self.replicas, self.seen_replicas = [each for each in replicas if each.name], True
            self.nameless = len(self.replicas) < len(replicas)
            if self.nameless:
                user = self.source.params.user
                self.degraded.append(f"replicas cannot be told apart: {grant('pg_monitor', '', user)}")

    def _told(self, connection: Any, name: str, ask: Callable[[Any], Any]) -> Any:
        try:
            return self._within(connection, self._left(), name, ask)
        except Unavailable as error:
            raise _Failed(READ, error) from error
        except ResilienceError as error:
            self.degraded.append(f"{name} cannot be read: {error.cause}. HINT: {error.hint}")
            return None

    def _canary(self, connection: Any) -> None:
        source = self.source
        statement = canary_statement(source.monitor, source.deadline_seconds, end_others=source.left_behind)
        try:
            self._timed(CANARY, lambda seconds: self._ask(connection, seconds, statement))
        except _Failed as failed:
            source.left_behind = source.left_behind or isinstance(failed.error, DeadlineExceeded)
            if not isinstance(failed.error, (SchemaMismatch, Refused)):
                raise
            rights = grant("SELECT, INSERT, UPDATE, DELETE", CANARY_TABLE, source.params.user)
            what = "run baileys-resilience init-db on the application's host"
            if isinstance(failed.error, Refused):
                schema = grant("USAGE", "SCHEMA baileys_resilience", source.params.user)
                what = f"{schema} {rights}"
            source.canary_problem = f"no write that stays is tried: {failed.error.cause}. HINT: {what}"
            source.canary_again_at = time.monotonic() + _CANARY_AGAIN_SECONDS
            self.degraded.append(source.canary_problem)
            return
        source.left_behind, source.canary_problem, self.wrote_canary = False, "", True

    def _timed(self, operation: str, work: Callable[[float], Any]) -> Any:
        left = self._left()
        begun = time.monotonic()
        try:
            answer = work(left)
        except DeadlineExceeded as error:
            if left < self.source.deadline_seconds:
                raise _TimeIsOver from error
            raise _Failed(operation, error) from error
        except ResilienceError as error:
            advice = self._grant(operation) if isinstance(error, Refused) else ""
            raise _Failed(operation, error, advice) from error
        self.seconds[operation] = time.monotonic() - begun
        return answer

    def _left(self) -> float:
        left = self.source.round_seconds - (time.monotonic() - self.started)
        if left <= 0:
            raise _TimeIsOver
        return min(left, self.source.deadline_seconds)

    def _ask(self, connection: Any, seconds: float, statement: Any) -> Any:
        def execute(cursor: Any) -> Any:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None

        return self._within(connection, seconds, "probe", execute)

    def _within(self, connection: Any, seconds: float, operation: str, work: Callable[[Any], Any]) -> Any:
        where = self.source.params.where
        watch = Deadline(connection, seconds / _DEADLINE_SLACK, operation=operation, subject=where)
        try:
            with watch, translated(operation, where), connection.cursor() as cursor:
                return work(cursor)
        except DeadlineExceeded as error:
            if watch.expired:
                error.cause = f"no answer within {seconds:.1f} s"
            raise

    def _grant(self, operation: str) -> str:
        tables, user = self.source.tables, self.source.params.user
        both = f"{tables.auth.table}, {tables.keys.table}"
        if operation == READ:
            return grant("SELECT", both, user)
        return grant("SELECT, INSERT, UPDATE, DELETE", both, user) if operation == WRITE else ""

    def _slowest_ms(self) -> Optional[float]:
        queries = [each for name, each in self.seconds.items() if name != CONNECT]
        return max(queries) * 1000.0 if queries else None

    def _connections(self, probe: Probe) -> List[Reading]:
        subject, pool = self.source.subject, self.pool
        if pool is not None:
            return [Connections(subject, pool.used_percent, pool.free)]
        return [Connections(subject, problem=str(probe.error or probe.problem or "they could not be counted"))]

    def _lag(self, probe: Probe) -> List[Reading]:
        found: List[Reading] = [each.reading() for each in self.replicas]
        if not self.seen_replicas:
            return found
        there = {each.name for each in self.replicas}
        problem = f"it is not among the replicas of {self.source.params.where}"
        return found + [
            Replica(Subject(REPLICA, each), problem=problem) for each in self.source.replicas if each not in there
        ]
