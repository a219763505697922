# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Timed probes of one database: connect, read, and a write that is taken back, each round on a new connection (a pooled
one does not notice that a server takes no more) and each operation under a deadline of ours.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from ..errors import Conflict, DeadlineExceeded, ReadOnly, Refused, ResilienceError
from ..postgres import ConnectParams, Deadline, connect_once_within, translated
from ..sessions.model import TableMapping
from .findings import CRITICAL, UNKNOWN, WARNING, Finding, from_error, grant
from .percentiles import Summary, summary_of
from .statements import read_statement, write_statement
from .thresholds import LONGEST_SECONDS, LatencyThresholds, check, check_deadline

CONNECT, READ, WRITE = "connect", "read", "write"
#: a second failure in a row is no accident, and a frozen server costs a deadline each time
_GIVE_UP_AFTER = 2
#: :class:`Deadline` looks ten times in its seconds, and once to see the statement begin
_DEADLINE_SLACK = 1.2


@dataclass(frozen=True)
class ProbePlan:
    """``samples`` rounds at most; one operation takes ``deadline_seconds`` at most, all together ``total_seconds``."""

    samples: int = 20
    deadline_seconds: float = 5.0
    total_seconds: float = 30.0
    write: bool = True

    def __post_init__(self) -> None:
        check("samples", self.samples, 1)
        check_deadline("deadline", self.deadline_seconds)
        check("total_deadline", self.total_seconds, self.deadline_seconds, LONGEST_SECONDS)

    @property
    def operations(self) -> List[str]:
        return [CONNECT, READ, WRITE] if self.write else [CONNECT, READ]


@dataclass
class Operation:
    """Samples in seconds, and errors."""

    seconds: List[float] = field(default_factory=list)
    errors: List[ResilienceError] = field(default_factory=list)

    @property
    def summary(self) -> Summary:
        return summary_of(self.seconds)


@dataclass
class Latency:
    """What the probes measured. ``in_recovery`` and ``read_only`` are of the last read, None without one;
    ``cut_short`` says that the time was over before the samples were.
    """

    operations: Dict[str, Operation]
    duration_seconds: float = 0.0
    cut_short: bool = False
    in_recovery: Optional[bool] = None
    read_only: Optional[bool] = None


class _TimeIsOver(Exception):
    """The time of all probes ended inside of one: that says nothing about the database."""


def probe(params: ConnectParams, tables: TableMapping, plan: ProbePlan) -> Latency:
    """Measure. Raises UsageError and ToolMissing; what the database says or does not say is in the result."""
    found = Latency({name: Operation() for name in plan.operations})
    prober = _Prober(params, tables, plan, found)
    failed_in_a_row = 0
    for _round in range(plan.samples):
        try:
            failed_in_a_row = 0 if prober.round() else failed_in_a_row + 1
        except _TimeIsOver:
            found.cut_short = True
            break
        if failed_in_a_row == _GIVE_UP_AFTER:
            break
    found.duration_seconds = round(time.monotonic() - prober.started, 3)
    return found


class _Prober:
    def __init__(self, params: ConnectParams, tables: TableMapping, plan: ProbePlan, found: Latency) -> None:
        self._params, self._plan, self._found = params, plan, found
        self._read = read_statement(tables)
        self._write = write_statement(tables, plan.deadline_seconds)
        self.started = time.monotonic()

    def round(self) -> bool:
        """One new connection with all that is asked of it. False when an operation failed."""
        connection = self._timed(CONNECT, self._connect)
        if connection is None:
            return False
        try:
            connection.autocommit = True
            read = self._timed(READ, lambda seconds: self._ask(connection, seconds, self._read, READ))
            if read is None:
                return False
            self._found.in_recovery, self._found.read_only = bool(read[0][0]), read[0][1] == "on"
            if not self._plan.write:
                return True
            return self._timed(WRITE, lambda seconds: self._ask(connection, seconds, self._write, WRITE)) is not None
        finally:
            connection.close()

    def _timed(self, name: str, work: Callable[[float], Any]) -> Any:
        """The answer, or None when it failed; both are in the result."""
        left = self._plan.total_seconds - (time.monotonic() - self.started)
        if left <= 0:
            raise _TimeIsOver
        seconds = min(left, self._plan.deadline_seconds)
        operation = self._found.operations[name]
        begun = time.monotonic()
        try:
            answer = work(seconds)
        except DeadlineExceeded as error:
            if seconds < self._plan.deadline_seconds:
                raise _TimeIsOver from error
            operation.errors.append(error)
            return None
        except ResilienceError as error:
            operation.errors.append(error)
            return None
        operation.seconds.append(time.monotonic() - begun)
        return answer

    def _connect(self, seconds: float) -> Any:
        return connect_once_within(self._params, seconds, operation="probe connection")

    def _ask(self, connection: Any, seconds: float, statement: Any, name: str) -> Any:
        operation, where = f"probe {name}", self._params.where
        watch = Deadline(connection, seconds / _DEADLINE_SLACK, operation=operation, subject=where)
        try:
            with watch, translated(operation, where), connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except DeadlineExceeded as error:
            if watch.expired:
                error.cause = f"no answer within {seconds:.1f} s"
            raise


def judge_latency(found: Latency, thresholds: LatencyThresholds, tables: TableMapping, role: str) -> List[Finding]:
    """One finding an operation. One that was never reached has none where the one before it says why, and is unknown
    where the time of all was over.
    """
    judged = []
    for name, operation in found.operations.items():
        if operation.errors:
            judged.append(_failed(name, operation, tables, role))
        elif operation.seconds:
            judged.append(_timed_finding(name, operation.summary, thresholds))
        elif found.cut_short:
            cause = "the time was over before it was answered once"
            judged.append(Finding(name, UNKNOWN, cause, "raise total_deadline"))
    return judged


def _failed(name: str, operation: Operation, tables: TableMapping, role: str) -> Finding:
    error = operation.errors[-1]
    finding = from_error(name, error)
    tries = len(operation.errors) + len(operation.seconds)
    cause = f"{len(operation.errors)} of {tries} failed: {error.cause}"
    advice = finding.advice
    if isinstance(error, Refused) and name == READ:
        advice = grant("SELECT", f"{tables.auth.table}, {tables.keys.table}", role)
    elif isinstance(error, Refused) and name == WRITE:
        granting = grant("SELECT, UPDATE", tables.keys.table, role)
        advice = f"{granting} Or, for a role that is meant to read only, set write: false"
    elif isinstance(error, Conflict):
        advice = (
            "find who holds the table, and end it: SELECT pid, relation::regclass, mode, application_name, query FROM"
            " pg_locks JOIN pg_stat_activity USING (pid) WHERE granted AND mode LIKE '%ExclusiveLock'"
        )
    elif isinstance(error, ReadOnly):
        advice = f"{advice}; a replica is probed with write: false"
    elif isinstance(error, DeadlineExceeded):
        advice = (
            f"{advice}; see what a failover would do: ansible-playbook baileys.resilience.emergency_failover --check"
        )
    return Finding(name, CRITICAL, cause, advice)


def _timed_finding(name: str, summary: Summary, thresholds: LatencyThresholds) -> Finding:
    limit = thresholds.connect_ms if name == CONNECT else thresholds.query_ms
    if summary.p95_ms is None or summary.p95_ms <= limit:
        return Finding(name)
    return Finding(
        name,
        WARNING,
        f"P95 is {summary.p95_ms:.0f} ms, more than {limit:g} ms",
        "look whether the network or the server is slow: ping the host, then SELECT state, wait_event, query FROM"
        " pg_stat_activity on it",
    )
