# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule at the edge of its limit, with the evidence that it gives; and what is not learnt is never good."""

from __future__ import annotations

from typing import Any

import pytest

from baileys_resilience.errors import (
    Conflict,
    DatabaseError,
    DeadlineExceeded,
    Misconfigured,
    ReadOnly,
    Refused,
    ResilienceError,
    SchemaMismatch,
    StoreError,
    ToolMissing,
    Unavailable,
    UsageError,
)
from baileys_resilience.health.alerts.causes import CAUSES, CONCERNS, MIRROR
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import (
    ASIDE,
    BACKUP,
    BAD,
    CLIENT,
    DATABASE,
    GOOD,
    MISSING,
    PGBOUNCER,
    REPLICA,
    SUBJECT_KINDS,
    Moment,
    Subject,
    Verdict,
    in_words,
)
from baileys_resilience.health.alerts.readings import (
    P95,
    Aside,
    Backup,
    Bouncer,
    Client,
    Connections,
    Disk,
    Keys,
    Latencies,
    Mirror,
    Probe,
    Reading,
    Replica,
)
from baileys_resilience.health.alerts.rules import Rules, cause_of
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.client_metrics import ClientPool
from baileys_resilience.health.pgbouncer import BouncerPool
from baileys_resilience.health.thresholds import KeyThresholds, LatencyThresholds, PoolThresholds
from tests.support.time_lines import BOOTED, EPOCH

DB, APP = Subject(DATABASE, "db"), Subject(CLIENT, "app")
MB = 1024 * 1024


def judged(reading: Reading, **settings: Any) -> dict[str, Verdict]:
    """By concern."""
    found = Rules(AlertSettings(**settings)).judge([reading], Moment(BOOTED, EPOCH))
    return {each.key.concern: each for each in found}


def well(**changes: Any) -> Client:
    values: dict[str, Any] = {"pool": ClientPool(5, 5, 0, 10), "slow_total": 0, "cached": {"962301": 0.0}}
    return Client(APP, **{**values, **changes})


def bouncer(active: int, waiting: int) -> Bouncer:
    pool = BouncerPool("wa", "app", 1, waiting, active, 0, 0.0, 100, "transaction")
    return Bouncer(Subject(PGBOUNCER, "b:6432"), (pool,))


EDGES = [
    (Connections(DB, 80.0, 4), Connections(DB, 80.1, 4), "connections_used"),
    (Disk(DB, 90.0), Disk(DB, 90.5), "disk_full"),
    (Keys(DB, {"1": 400, "2": 100}), Keys(DB, {"1": 400, "2": 101}), "removable_keys"),
    (Keys(DB, tables_bytes=50_000_000), Keys(DB, tables_bytes=50_000_001), "tables_large"),
    (Mirror(DB, 60.0), Mirror(DB, 60.5), "mirror_old"),
    (Mirror(DB, 1.0), Mirror(DB, None), "mirror_unusable"),
    (Mirror(DB, 1.0), Mirror(DB, 1.0, "no such file"), "mirror_unusable"),
    (Backup(Subject(BACKUP, "nightly"), 93600.0), Backup(Subject(BACKUP, "nightly"), 93601.0), "backup_old"),
    (Backup(Subject(BACKUP, "nightly"), 0.0), Backup(Subject(BACKUP, "nightly"), None), "backup_missing"),
    (
        Backup(Subject(BACKUP, "b"), 600.0, kind="wal", limit_seconds=600.0),
        Backup(Subject(BACKUP, "b"), 601.0, kind="wal", limit_seconds=600.0),
        "backup_old",
    ),
    (Replica(Subject(REPLICA, "r"), 64 * MB, 0), Replica(Subject(REPLICA, "r"), 64 * MB + 1, 0), "replica_lag"),
    (Replica(Subject(REPLICA, "r"), 1, 30), Replica(Subject(REPLICA, "r"), 1, 30.5), "replica_lag"),
    (Replica(Subject(REPLICA, "r"), 0, 3600), Replica(Subject(REPLICA, "r"), 1, 3600), "replica_lag"),
    (well(pool=ClientPool(2, 8, 5, 10)), well(pool=ClientPool(1, 9, 0, 10)), "pool_used"),
    (well(pool=ClientPool(2, 8, 5, 10)), well(pool=ClientPool(0, 10, 6, 10)), "pool_waiting"),
    (bouncer(80, 5), bouncer(81, 0), "bouncer_used"),
    (bouncer(80, 5), bouncer(0, 6), "bouncer_waiting"),
    (well(), well(cached={"962301": 0.0, "962302": 3.0}), "cache_in_use"),
    (well(), Client(APP, hangs=True), "client_hangs"),
    (Latencies(DB, {"read": P95(150, 100, 50)}), Latencies(DB, {"read": P95(151, 100, 50)}), "slower_than_usual"),
    (Latencies(DB, {"read": P95(50, 100, 1)}), Latencies(DB, {"read": P95(51, 100, 1)}), "slower_than_usual"),
    (Probe(DB, slowest_ms=9.0), Probe(DB, Unavailable("connection refused"), "connect"), "down"),
]


@pytest.mark.parametrize(("good", "bad", "cause"), EDGES, ids=lambda each: each if isinstance(each, str) else "")
def test_at_the_limit_is_good_and_beyond_it_is_bad(good: Reading, bad: Reading, cause: str) -> None:
    concern = CAUSES[cause].concern
    assert judged(good)[concern].state == GOOD
    found = judged(bad)[concern]
    assert (found.state, found.cause) == (BAD, cause)
    assert found.evidence


def test_every_cause_can_come_out_of_a_rule() -> None:
    made = {cause for _good, _bad, cause in EDGES} | {cause for _error, _failed, cause in ERRORS}
    made |= {"old_keys", "slow_queries"}  # below
    assert made == set(CAUSES)


@pytest.mark.parametrize(
    "reading",
    [
        Probe(DB, problem="x"),
        Connections(DB, problem="x"),
        Disk(DB, problem="x"),
        Keys(DB, problem="x"),
        Mirror(DB, 1.0, problem="x"),
        Backup(Subject(BACKUP, "b"), 1.0, problem="x"),
        Replica(Subject(REPLICA, "r"), problem="x"),
        Bouncer(Subject(PGBOUNCER, "b:6432"), problem="x"),
        Client(APP, problem="x"),
        Latencies(DB, problem="x"),
    ],
)
def test_what_could_not_be_learnt_is_missing_with_the_reason(reading: Reading) -> None:
    found = judged(reading, old_keys=500)
    assert {(each.state, each.evidence) for each in found.values()} == {(MISSING, "x")}


def test_a_client_whose_metrics_lack_figures_is_good_where_it_has_some() -> None:
    states = {name: each.state for name, each in judged(Client(APP)).items()}
    assert states == {"answers": GOOD, "pool": MISSING, "cache": MISSING, "slow": MISSING}


ERRORS: list[tuple[ResilienceError, str, str]] = [
    (Unavailable("Connection refused"), "connect", "down"),
    (Unavailable("server closed the connection unexpectedly"), "read", "down"),
    (DeadlineExceeded("no answer within 2.0 s"), "connect", "frozen"),
    (Unavailable("FATAL: sorry, too many clients already"), "connect", "slots_used_up"),
    (Unavailable('too many connections for role "wa"'), "connect", "slots_used_up"),
    (Unavailable("remaining connection slots are reserved"), "connect", "slots_used_up"),
    (Refused("role wa is not permitted to log in"), "connect", "login_refused"),
    (Refused("permission denied for table whatsapp_keys"), "write", "privileges_lost"),
    (ReadOnly("cannot execute UPDATE in a read-only transaction"), "write", "read_only"),
    (SchemaMismatch('relation "whatsapp_keys" does not exist'), "read", "tables_missing"),
    (Misconfigured('database "whatsapp" does not exist'), "connect", "tables_missing"),
    (Conflict("canceling statement due to lock timeout"), "write", "locked"),
    (DatabaseError("could not read block 7"), "read", "failing"),
]


@pytest.mark.parametrize(("error", "failed", "cause"), ERRORS)
def test_the_error_of_a_probe_tells_the_cause(error: ResilienceError, failed: str, cause: str) -> None:
    assert cause_of(error, failed) == cause
    found = judged(Probe(DB, error, failed, advice="GRANT x"))["serves"]
    assert (found.state, found.cause, found.evidence, found.command) == (
        BAD,
        cause,
        f"{failed}: {error.cause}",
        "GRANT x",
    )


@pytest.mark.parametrize("error", [ToolMissing("a"), UsageError("b"), Misconfigured("c"), StoreError("d")])
def test_an_error_of_the_monitor_says_nothing_of_the_database(error: ResilienceError) -> None:
    found = judged(Probe(DB, error, "connect"))["serves"]
    assert (found.state, found.evidence) == (MISSING, error.cause)


def test_keys_are_not_missing_while_the_database_is() -> None:
    assert judged(Probe(DB, Unavailable("x"), "connect"))["keys"].state == ASIDE


def test_the_mirror_can_be_set_aside_while_the_sessions_are_on_files() -> None:
    alerts, told = Alerts(AlertSettings()), []
    for second in range(0, 600, 5):
        aside = second >= 30
        readings: list[Reading] = [Aside(DB, (MIRROR,)) if aside else Mirror(DB, 5.0), Probe(DB, slowest_ms=5)]
        told += alerts.step(readings, Moment(BOOTED + second, EPOCH)).notices
    assert told == []
    alerts.step([Probe(DB, slowest_ms=5)], Moment(BOOTED + 600, EPOCH))
    assert [e.cause for e in alerts.step([Probe(DB)], Moment(BOOTED + 700, EPOCH)).notices] == ["no_data"]


def test_the_largest_companies_are_named_and_counted() -> None:
    counts = {str(962300 + number): 200 + number for number in range(7)}
    found = judged(Keys(DB, counts))["keys"]
    assert found.evidence.startswith("1421 keys may go, more than 500: 206 of company 962306, 205 of company 962305,")
    assert len(found.companies) == 5
    cached = judged(well(cached=dict.fromkeys(counts, 60.0)))["cache"]
    assert cached.evidence.endswith("962304 and 2 more")
    assert "962300" in cached.evidence


def test_old_keys_are_a_rule_only_where_they_are_set() -> None:
    assert "old keys" not in judged(Keys(DB, old=9999))
    assert judged(Keys(DB, old=500), old_keys=500)["old keys"].state == GOOD
    found = judged(Keys(DB, old=501, old_days=30), old_keys=500)["old keys"]
    assert (found.cause, found.evidence) == ("old_keys", "501 keys are older than 30 days, more than 500")


def test_the_size_of_the_tables_is_a_rule_that_can_be_raised_or_turned_off() -> None:
    large = Keys(DB, tables_bytes=1_251_200_000)
    assert judged(large)["size"].evidence == "they take 1,251.2 MB with their indexes, more than 50"
    assert judged(large, tables_bytes=2 * 10**9)["size"].state == GOOD
    assert "size" not in judged(large, tables_bytes=0)
    assert "size" not in judged(Keys(DB, problem="x"), tables_bytes=0)


def slow_verdicts(totals: list[int], every: float) -> list[str]:
    rules = Rules(AlertSettings())
    found = []
    for number, total in enumerate(totals):
        moment = Moment(BOOTED + number * every, EPOCH)
        found += [v.state for v in rules.judge([well(slow_total=total)], moment) if v.key.concern == "slow"]
    return found


def test_three_slow_queries_within_five_minutes_are_told_and_two_are_not() -> None:
    assert slow_verdicts([7, 8, 9, 10], 60) == [GOOD, GOOD, GOOD, BAD]
    assert slow_verdicts([7, 8, 8, 9, 9, 10], 80) == [GOOD] * 6
    assert slow_verdicts([0, 3, 3, 3, 3, 3], 100) == [GOOD, BAD, BAD, BAD, GOOD, GOOD]


def test_the_counter_of_a_client_that_was_started_anew_goes_on() -> None:
    assert slow_verdicts([100, 1, 2], 60) == [GOOD, GOOD, GOOD]
    assert slow_verdicts([100, 1, 3], 60) == [GOOD, GOOD, BAD]


def test_slow_probes_count_too() -> None:
    alerts = Alerts(AlertSettings())
    told = []
    for number, slowest in enumerate([500.0, 500.0, 501.0, 501.0, 500.0, 501.0]):
        told.append(alerts.step([Probe(DB, slowest_ms=slowest)], Moment(BOOTED + 5 * number, EPOCH)).notices)
    assert [len(each) for each in told] == [0, 0, 0, 0, 0, 1]
    assert told[-1][0].evidence == "3 queries of more than 500 ms within 5 min"


@pytest.mark.parametrize(
    "operations", [{}, {"read": P95(900, 99, 10)}, {"read": P95(900, 500, None)}], ids=["idle", "few", "new"]
)
def test_without_enough_to_compare_nothing_is_said_of_the_usual(operations: dict[str, P95]) -> None:
    assert judged(Latencies(DB, operations))["latency"].state == ASIDE


def test_the_operation_that_is_slower_most_is_named() -> None:
    found = judged(Latencies(DB, {"get": P95(400, 100, 100), "set": P95(900, 100, 100), "del": P95(9, 100, 9)}))[
        "latency"
    ]
    assert found.evidence == "P95 of set is 900 ms, usually 100 ms"


# The settings


@pytest.mark.parametrize(
    ("settings", "subject"),
    [
        ({"pool_used_percent": 101}, "alerts.pool_used_percent"),
        ({"disk_used_percent": -1}, "alerts.disk_used_percent"),
        ({"pool_waiting": -1}, "alerts.pool_waiting"),
        ({"query_ms": float("nan")}, "alerts.query_ms"),
        ({"query_ms": "500"}, "alerts.query_ms"),
        ({"hold_seconds": float("inf")}, "alerts.hold_seconds"),
        ({"removable_keys": 500.5}, "alerts.removable_keys"),
        ({"removable_keys": True}, "alerts.removable_keys"),
        ({"failures": 0}, "alerts.failures"),
        ({"successes": 0}, "alerts.successes"),
        ({"recheck_seconds": 0}, "alerts.recheck_seconds"),
        ({"baseline_factor": 0.5}, "alerts.baseline_factor"),
        ({"unknown_after_seconds": 14.9}, "alerts.unknown_after_seconds"),
        ({"flap_changes": 0}, "alerts.flap_changes"),
        ({"repeat_seconds": []}, "alerts.repeat_seconds"),
        ({"repeat_seconds": [300, 300]}, "alerts.repeat_seconds"),
        ({"repeat_seconds": [0]}, "alerts.repeat_seconds"),
        ({"repeat_seconds": 300}, "alerts.repeat_seconds"),
        ({"repeat_seconds": ["300"]}, "alerts.repeat_seconds"),
        ({"pool_used_percentage": 80}, "alerts.pool_used_percentage"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_its_name(settings: dict[str, Any], subject: str) -> None:
    with pytest.raises(UsageError) as refused:
        AlertSettings.from_mapping(settings)
    assert refused.value.subject == subject
    assert refused.value.hint


def test_settings_come_from_yaml() -> None:
    found = AlertSettings.from_mapping({"repeat_seconds": [60, 600], "query_ms": 250, "old_keys": 500})
    assert (found.repeat_seconds, found.query_ms, found.old_keys) == ((60, 600), 250, 500)


def test_limits_are_those_of_the_modules() -> None:
    found = AlertSettings()
    assert found.query_ms == LatencyThresholds().query_ms == 500
    assert (found.pool_used_percent, found.pool_waiting) == (PoolThresholds().used_percent, PoolThresholds().waiting)
    assert (found.removable_keys, found.old_keys) == (KeyThresholds().removable_keys, KeyThresholds().old_keys)
    assert (found.slow_queries, found.slow_window_seconds) == (3, 300)
    assert (found.failures, found.successes, found.recheck_seconds) == (3, 3, 0.75)
    assert found.repeat_seconds == (300, 900, 3600)
    assert (found.flap_changes, found.flap_window_seconds) == (3, 600)


# The table of causes


def test_every_cause_belongs_to_a_concern_and_says_what_to_run() -> None:
    for cause in CAUSES.values():
        assert cause.concern in CONCERNS
        assert cause.title
        assert cause.command
    assert {each.concern for each in CAUSES.values()} == set(CONCERNS)


def test_nothing_explains_itself_and_what_explains_is_not_explained() -> None:
    for concern in CONCERNS.values():
        assert all(not CONCERNS[name].explained_by for name in concern.explained_by)
    assert len(SUBJECT_KINDS) == len(set(SUBJECT_KINDS))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (273700, "3 d 4 h"),
    ],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
