# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools: free slots by the tightest limit, limits at their edges, and metrics that are not what they should be."""

from __future__ import annotations

import math

import pytest

from baileys_resilience.errors import UsageError
from baileys_resilience.health.client_metrics import (
    ClientPool,
    judge_client_pool,
    parsed,
    pool_of,
    queries_of,
)
from baileys_resilience.health.findings import CRITICAL, OK, UNKNOWN, WARNING
from baileys_resilience.health.pgbouncer import BouncerPool, console_params, judge_bouncer
from baileys_resilience.health.server_pool import Limits, ServerPool, judge_server_pool
from baileys_resilience.health.thresholds import PoolThresholds

METRICS = """
# HELP wa_session_pool_connections Connections of the pool by state
# TYPE wa_session_pool_connections gauge
wa_session_pool_connections{state="idle"} 3
wa_session_pool_connections{state="active"} 1
wa_session_pool_max_connections 10
wa_session_pool_pending_requests 0
wa_session_query_duration_seconds_bucket{le="0.5",operation="write"} 2
wa_session_query_duration_seconds_bucket{le="+Inf",operation="write"} 4
wa_session_query_duration_seconds_bucket{operation="write",le="0.25"} 2
strange{label="a \\"quoted\\" } brace"} 7
broken{ 1
no_number NaNa
"""


def test_the_figures_of_prometheus_text_are_read_and_lines_that_are_none_passed_over() -> None:
    samples = list(parsed(METRICS))
    assert pool_of(samples) == ClientPool(idle=3, active=1, waiting=0, max=10)
    assert [each.value for each in samples if each.name == "strange"] == [7]
    assert {each.name for each in samples}.isdisjoint({"broken", "no_number"})
    write = queries_of(samples)["write"]
    assert (write.samples, write.p50_ms, write.p99_ms) == (4, 250.0, 500.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        METRICS.replace("wa_session_pool_max_connections 10", ""),
        METRICS.replace('{state="idle"} 3', '{state="idle"} NaN'),
        METRICS.replace('{state="active"}', '{state="busy"}'),
    ],
    ids=["nothing", "no maximum", "no number", "another state"],
)
def test_metrics_without_a_whole_pool_are_unknown(text: str) -> None:
    pool = pool_of(list(parsed(text)))
    assert pool is None
    found = judge_client_pool(pool, PoolThresholds())
    assert found.status == UNKNOWN
    assert "role session_client" in found.advice


@pytest.mark.parametrize(
    ("pool", "status"),
    [
        (ClientPool(2, 8, 5, 10), OK),
        (ClientPool(1, 9, 0, 10), WARNING),
        (ClientPool(10, 0, 6, 10), WARNING),
        (ClientPool(0, 0, 0, 0), OK),
    ],
)
def test_the_clients_pool_at_its_limits(pool: ClientPool, status: str) -> None:
    found = judge_client_pool(pool, PoolThresholds())
    assert found.status == status
    assert bool(found.advice) == (status != OK)


def server(used: int, *, role: int | None = None, database: int | None = None, visible: bool = True) -> ServerPool:
    limits = Limits(max_connections=103, superuser_reserved=3, reserved=0, role=role, database=database)
    return ServerPool(limits, "wa", visible, used=used, used_by_role=used, used_in_database=used)


def test_what_is_free_is_free_by_every_limit() -> None:
    assert (server(40).free, server(40).used_percent) == (60, 40.0)
    assert (server(40, role=50).free, server(40, role=50).used_percent) == (10, 80.0)
    assert (server(40, role=50, database=41).free, server(40, database=40).used_percent) == (1, 100.0)
    assert (server(40, role=0).free, server(40, role=0).used_percent) == (0, 100.0)
    assert server(102).free == 0


@pytest.mark.parametrize(("used", "status"), [(80, OK), (81, WARNING), (99, WARNING), (100, CRITICAL), (103, CRITICAL)])
def test_the_servers_connections_at_their_limits(used: int, status: str) -> None:
    slots, sight = judge_server_pool(server(used), PoolThresholds())
    assert (slots.status, sight.status) == (status, OK)


def test_a_role_that_sees_only_itself_is_told_the_grant() -> None:
    _slots, sight = judge_server_pool(server(1, visible=False), PoolThresholds())
    assert (sight.status, sight.advice) == (UNKNOWN, 'GRANT pg_monitor TO "wa";')


def bouncer(active: int, waiting: int, size: int = 10) -> BouncerPool:
    return BouncerPool("whatsapp", "wa", 1, waiting, active, 0, 1.5, size, "transaction")


@pytest.mark.parametrize(
    ("pool", "status"),
    [(bouncer(8, 5), OK), (bouncer(9, 0), WARNING), (bouncer(1, 6), WARNING), (bouncer(9, 0, 0), OK)],
)
def test_a_bouncers_pool_at_its_limits(pool: BouncerPool, status: str) -> None:
    assert judge_bouncer([bouncer(0, 0), pool], PoolThresholds()).status == status


def test_a_connection_string_is_read_and_its_password_never_shown() -> None:
    params = console_params("postgresql://stats:s%7Dcret@bouncer.example.net/")
    assert (params.host, params.port, params.dbname, params.user) == ("bouncer.example.net", 6432, "pgbouncer", "stats")
    assert params.password == "s}cret"
    for wrong in ("host=x password=s3cret =", "postgresql://u:s3cret@h:port/"):
        with pytest.raises(UsageError) as refused:
            console_params(wrong)
        assert "s3cret" not in str(refused.value)
        assert "host=127.0.0.1 port=6432" in refused.value.hint


def test_an_endless_bucket_is_read() -> None:
    assert next(parsed('x{le="+Inf"} +Inf')).value == math.inf
