# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus and /api/status show, also of ten thousand companies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from baileys_resilience.errors import Unavailable
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import CLIENT, DATABASE, Moment, Subject
from baileys_resilience.health.alerts.overview import overview
from baileys_resilience.health.alerts.readings import Client, Probe
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.client_metrics import ClientPool, parsed
from baileys_resilience.health.key_ages import CompanyAges, KeyAges, TypeAges
from baileys_resilience.health.latency import CONNECT
from baileys_resilience.health.monitor.bouncer import BouncerFigure
from baileys_resilience.health.monitor.clients import ClientFigure
from baileys_resilience.health.monitor.database import DatabaseFigure
from baileys_resilience.health.monitor.metrics import OTHERS, Metrics
from baileys_resilience.health.monitor.replication import ReplicaState
from baileys_resilience.health.monitor.status import as_status
from baileys_resilience.health.monitor.surroundings import DiskFigure
from baileys_resilience.health.monitor.watch import Published
from baileys_resilience.health.pgbouncer import BouncerPool
from baileys_resilience.health.server_pool import Limits, ServerPool
from baileys_resilience.sessions.backup_age import BackupAges
from baileys_resilience.sessions.mirror_age import MirrorAge
from baileys_resilience.sessions.sizes import TableSize
from tests.support.time_lines import EPOCH

DB = Subject(DATABASE, "db:5432/whatsapp")
NOW = Moment(1000.0, EPOCH)
POOL = ServerPool(Limits(100, 3, 0, None, None), "wa_app", True, 20, 10, 10, {"idle": 15, "active": 5})


def many_keys(companies: int) -> KeyAges:
    made = {
        f"{962301 + number}": CompanyAges({"session": TypeAges(10, 2, number % 7, {"<1d": 10})})
        for number in range(companies)
    }
    return KeyAges(made, {"whatsapp_keys": TableSize(100, 20)}, "2026-01-31T03:00:00Z", True)


FIGURES: dict[str, Any] = {
    "database": DatabaseFigure(
        {"connect": 0.02, "read": 0.6, "canary": 0.004}, "", POOL, (ReplicaState("standby", True, 4096, 0.5),), True
    ),
    "client app": ClientFigure("app", True, ClientPool(3, 2, 1, 10), 4, {"962301": 12.0, "962302": 0.0}),
    "client gone": ClientFigure("gone", False),
    "keys": many_keys(3),
    "disk": DiskFigure("/data", 91.5, 1024),
    "mirror": MirrorAge(scanned_at="2026-01-31T03:00:00Z"),
    "pgbouncer": BouncerFigure((BouncerPool("wa", "app", 4, 2, 3, 0, 1.5, 3, "transaction"),)),
    "backup": BackupAges({"dump": "2026-01-31T03:00:00Z"}),
}


def published(figures: dict[str, Any], *, down: bool = False) -> Published:
    alerts = Alerts(AlertSettings())
    error = Unavailable("Connection refused") if down else None
    for number in range(3):
        moment = Moment(NOW.monotonic + number, EPOCH)
        alerts.step([Probe(DB, error, CONNECT), Client(Subject(CLIENT, "gone"), problem="no socket")], moment)
    return Published(
        NOW, overview(alerts.board, NOW), {name: (NOW, each) for name, each in figures.items()}, ["a sentence"], [], 7
    )


def scraped(figures: dict[str, Any], *, down: bool = False, most: int = 100) -> dict[str, float]:
    """Each series with its value."""
    services = [{"service": "telegram", "queued": 3, "refused": True}]
    metrics = Metrics(
        lambda: published(figures, down=down), lambda: 0.25, most_companies=most, services=lambda: services
    )
    metrics.seen("database", FIGURES["database"], NOW)
    found = {}
    for each in parsed(metrics.text().decode()):
        labels = ",".join(f"{name}={value}" for name, value in sorted(each.labels.items()))
        found[f"{each.name}{{{labels}}}" if labels else each.name] = each.value
    return found


def test_every_figure_has_its_name() -> None:
    found = scraped(FIGURES)
    expected = {
        "wa_session_storage_up": 1.0,
        "wa_session_server_connections{state=active}": 5.0,
        "wa_session_server_connections_usable": 97.0,
        "wa_session_server_connections_free": 77.0,
        "wa_session_server_connections_used_ratio": 20.6 / 100.0,
        "wa_session_replica_lag_bytes{replica=standby}": 4096.0,
        "wa_session_replica_lag_seconds{replica=standby}": 0.5,
        "wa_session_replica_connected{replica=standby}": 1.0,
        "wa_session_pool_connections{client=app,state=idle}": 3.0,
        "wa_session_pool_connections{client=app,state=active}": 2.0,
        "wa_session_pool_max_connections{client=app}": 10.0,
        "wa_session_pool_pending_requests{client=app}": 1.0,
        "wa_session_bouncer_clients{pool=app@wa,state=waiting}": 2.0,
        "wa_session_bouncer_servers{pool=app@wa,state=active}": 3.0,
        "wa_session_bouncer_pool_size{pool=app@wa}": 3.0,
        "wa_session_bouncer_longest_wait_seconds{pool=app@wa}": 1.5,
        "wa_session_client_up{client=app}": 1.0,
        "wa_session_client_up{client=gone}": 0.0,
        "wa_session_client_cached_companies{client=app}": 1.0,
        "wa_session_client_slow_queries{client=app}": 4.0,
        "wa_session_keys{type=session}": 30.0,
        "wa_session_expired_keys{company=962303}": 2.0,
        "wa_session_old_keys": 6.0,
        "wa_session_tables_bytes": 120.0,
        "wa_session_disk_used_ratio": 0.915,
        "wa_session_disk_free_bytes": 1024.0,
        "wa_session_concern_status{concern=serves,subject=database db:5432/whatsapp}": 0.0,
        "wa_session_notify_queued{service=telegram}": 3.0,
        "wa_session_notify_refused{service=telegram}": 1.0,
        "wa_session_monitor_degraded": 1.0,
        "wa_session_monitor_looks": 7.0,
        "wa_session_monitor_last_turn_age_seconds": 0.25,
        "wa_session_probe_last_success_timestamp_seconds{operation=read}": EPOCH.timestamp(),
        "wa_session_query_duration_seconds_bucket{le=0.5,operation=read}": 0.0,
        "wa_session_query_duration_seconds_bucket{le=1.0,operation=read}": 1.0,
        "wa_session_query_duration_seconds_count{operation=canary}": 1.0,
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["wa_session_mirror_age_seconds"] > 0
    assert found["wa_session_backup_age_seconds{kind=dump}"] > 0


def test_a_database_that_is_down_is_down_and_open() -> None:
    found = scraped(FIGURES, down=True)
    assert found["wa_session_storage_up"] == 0.0
    assert found["wa_session_concern_status{concern=serves,subject=database db:5432/whatsapp}"] == 3.0


def test_what_is_not_known_has_no_value() -> None:
    metrics = Metrics(lambda: None, lambda: 1.0)
    names = {each.name for each in parsed(metrics.text().decode())}
    assert names == {"wa_session_monitor_last_turn_age_seconds"}
    found = scraped({"client gone": FIGURES["client gone"], "mirror": MirrorAge()})
    assert "wa_session_mirror_age_seconds" not in found
    assert not any(name.startswith("wa_session_pool") for name in found)


@pytest.mark.parametrize("companies", [100, 10_000])
def test_ten_thousand_companies_are_no_more_series_than_a_hundred(companies: int) -> None:
    found = scraped({**FIGURES, "keys": many_keys(companies)}, most=50)
    named = {name: each for name, each in found.items() if name.startswith("wa_session_expired_keys")}
    assert len(named) == 51
    total = sum(each % 7 for each in range(companies))
    assert sum(named.values()) == total
    assert named[f"wa_session_expired_keys{{company={OTHERS}}}"] == total - 50 * 6 if companies == 10_000 else True
    status = as_status(published({"keys": many_keys(companies)}), most_companies=50)
    assert len(status["figures"]["keys"]["removable_by_company"]) == 51
    assert len(json.dumps(status)) < 20_000


def test_the_status_names_what_is_wrong_with_what_to_run_and_is_json() -> None:
    status = json.loads(json.dumps(as_status(published(FIGURES, down=True))))
    assert status["status"] == "critical"
    subject = status["subjects"]["database db:5432/whatsapp"]
    assert subject["status"] == "critical"
    serves = subject["concerns"]["serves"]
    assert (serves["cause"], serves["state"]) == ("down", "DOWN")
    assert "Connection refused" in serves["evidence"]
    assert "emergency_failover --check" in serves["command"]
    assert [each["concern"] for each in status["open"]] == ["serves"]
    assert status["figures"]["database"]["connections"]["used_percent"] == pytest.approx(20.6)
    assert status["degraded"] == ["a sentence"]


def test_before_anything_was_seen_the_status_is_unknown() -> None:
    assert as_status(Published(NOW))["status"] == "unknown"
