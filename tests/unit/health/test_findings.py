# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One status for the whole, the limits at their edges, and what is never taken for a result."""

from __future__ import annotations

from typing import Any

import pytest

from baileys_resilience.errors import (
    DeadlineExceeded,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    StoreError,
    ToolMissing,
    UsageError,
)
from baileys_resilience.health.findings import (
    CRITICAL,
    FAIL_ON,
    OK,
    STATUSES,
    UNKNOWN,
    WARNING,
    Finding,
    advice_of,
    fails,
    from_error,
    grant,
    sentence,
    worst,
)
from baileys_resilience.health.latency import CONNECT, READ, WRITE, Latency, Operation, ProbePlan, judge_latency
from baileys_resilience.health.thresholds import KeyThresholds, LatencyThresholds, PoolThresholds
from baileys_resilience.sessions.model import TableMapping


def test_the_whole_is_as_ill_as_its_worst_part() -> None:
    parts = [Finding("a"), Finding("b", WARNING), Finding("c", UNKNOWN)]
    assert worst(parts[:1]) == OK
    assert worst(parts[:2]) == WARNING
    assert worst(parts) == UNKNOWN
    assert worst([Finding("d", CRITICAL), *parts]) == CRITICAL


def test_what_was_not_looked_at_is_not_ok() -> None:
    assert worst([]) == UNKNOWN


def test_what_fails_is_what_was_asked_for_and_everything_graver() -> None:
    failing = {asked: [status for status in STATUSES if fails(status, asked)] for asked in FAIL_ON}
    assert failing == {
        "never": [],
        "warning": [WARNING, UNKNOWN, CRITICAL],
        "unknown": [UNKNOWN, CRITICAL],
        "critical": [CRITICAL],
    }


def test_advice_comes_most_urgent_first_and_once() -> None:
    findings = [
        Finding("a", WARNING, "x", "one"),
        Finding("b", CRITICAL, "y", "two"),
        Finding("c", WARNING, "z", "one"),
    ]
    assert advice_of(findings) == ["two", "one"]
    assert sentence(findings) == "status critical: b: y. HINT: two"
    assert sentence([Finding("a")]) == "status ok"


@pytest.mark.parametrize("kind", [DeadlineExceeded, Refused, ReadOnly, SchemaMismatch])
def test_what_the_database_says_is_a_result(kind: type[ResilienceError]) -> None:
    assert from_error("read", kind("why", hint="do it")) == Finding("read", CRITICAL, "why", "do it")


@pytest.mark.parametrize("kind", [UsageError, ToolMissing, StoreError])
def test_what_says_nothing_of_the_database_is_raised(kind: type[ResilienceError]) -> None:
    with pytest.raises(kind):
        from_error("read", kind("why"))


def test_a_role_is_quoted_in_a_grant() -> None:
    assert grant("SELECT", "a, b", 'o"x') == 'GRANT SELECT ON a, b TO "o""x";'
    assert grant("pg_monitor", "", "wa") == 'GRANT pg_monitor TO "wa";'


@pytest.mark.parametrize(
    ("make", "subject"),
    [
        (lambda: LatencyThresholds(query_ms=-1), "thresholds.query_ms"),
        (lambda: LatencyThresholds(connect_ms=float("nan")), "thresholds.connect_ms"),
        (lambda: PoolThresholds(used_percent=101), "thresholds.used_percent"),
        (lambda: PoolThresholds(waiting=-1), "thresholds.waiting"),
        (lambda: KeyThresholds(removable_keys=-1), "thresholds.removable_keys"),
        (lambda: ProbePlan(samples=0), "samples"),
        (lambda: ProbePlan(deadline_seconds=0), "deadline"),
        (lambda: ProbePlan(deadline_seconds=float("nan")), "deadline"),
        (lambda: ProbePlan(deadline_seconds=3, total_seconds=2), "total_deadline"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_by_its_name(make: Any, subject: str) -> None:
    with pytest.raises(UsageError) as refused:
        make()
    assert refused.value.subject == subject
    assert "set" in refused.value.hint


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert LatencyThresholds() == LatencyThresholds(500, 1500)
    assert PoolThresholds() == PoolThresholds(80, 5)
    assert KeyThresholds() == KeyThresholds(500, 0)


def judged(**operations: Operation) -> dict[str, Finding]:
    found = judge_latency(Latency(dict(operations)), LatencyThresholds(500, 1500), TableMapping(), "wa")
    return {each.figure: each for each in found}


def test_a_time_at_the_limit_is_fast_enough_and_one_above_is_slow() -> None:
    assert judged(read=Operation([0.5]))[READ].status == OK
    assert judged(read=Operation([0.501]))[READ].status == WARNING
    assert judged(connect=Operation([1.5]))[CONNECT].status == OK
    slow = judged(connect=Operation([1.501]))[CONNECT]
    assert (slow.status, slow.cause) == (WARNING, "P95 is 1501 ms, more than 1500 ms")
    assert "pg_stat_activity" in slow.advice


def test_one_slow_sample_of_twenty_is_no_slow_database() -> None:
    assert judged(read=Operation([0.01] * 19 + [3.0]))[READ].status == OK
    assert judged(read=Operation([0.01] * 18 + [3.0] * 2))[READ].status == WARNING


def test_an_operation_that_failed_once_is_critical_whatever_its_times_are() -> None:
    found = judged(write=Operation([0.01] * 19, [ReadOnly("no", hint="see")]))[WRITE]
    assert (found.status, found.cause) == (CRITICAL, "1 of 20 failed: no")
    assert found.advice == "see; a replica is probed with write: false"


def test_a_missing_right_names_the_grant() -> None:
    refused = Operation([], [Refused("permission denied")])
    found = judged(read=refused, write=refused, connect=refused)
    assert found[READ].advice == 'GRANT SELECT ON whatsapp_auth, whatsapp_keys TO "wa";'
    assert found[WRITE].advice.startswith('GRANT SELECT, UPDATE ON whatsapp_keys TO "wa"; Or,')
    assert "GRANT" not in found[CONNECT].advice


def test_what_was_not_reached_has_no_finding_of_its_own() -> None:
    assert list(judged(connect=Operation([], [DeadlineExceeded("slow")]), read=Operation(), write=Operation())) == [
        CONNECT
    ]
