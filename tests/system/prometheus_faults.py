# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For each alert of the rules for Prometheus, what a monitor or a client shows when it is due."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.exposed import APP, BACKUPS, CLIENT_JOB, DB, MONITOR_JOB

GONE = "gone"
#: a series as the rules see it: its name and labels that tell it from others
Series = tuple[str, tuple[tuple[str, str], ...]]


def series(name: str, **labels: str) -> Series:
    return f"wa_session_{name}", tuple(sorted(labels.items()))


def concern(name: str, subject: str = str(DB)) -> Series:
    return series("concern_status", concern=name, subject=subject)


@dataclass(frozen=True)
class Fault:
    """``shows``: the value of each series from its beginning on, or how much it grows each 5 s (``+1``), or GONE.
    ``labels`` and ``summary`` are those of the alert. ``job`` has the series.
    """

    alert: str
    summary: str
    shows: dict[Series, str]
    labels: dict[str, str] = field(default_factory=dict)
    job: str = MONITOR_JOB


UP: Series = ("up", ())
CLIENT = {"client": "app"}
FAULTS = [
    Fault("WaSessionDatabaseDown", "PostgreSQL does not serve the sessions, says host:1", {series("storage_up"): "0"}),
    Fault(
        "WaSessionDatabaseUnknown",
        "The monitor host:1 does not know whether PostgreSQL serves",
        {series("storage_up"): GONE, concern("serves"): "2"},
    ),
    Fault(
        "WaSessionMonitorGone",
        "The monitor host:1 does not answer Prometheus, so nobody watches the sessions",
        {UP: "0", series("storage_up"): GONE},
    ),
    Fault(
        "WaSessionMonitorHangs",
        "The monitor host:1 has not looked at anything for 16s",
        {series("monitor_last_turn_age_seconds"): "16"},
    ),
    Fault(
        "WaSessionNoData",
        "client app: nothing is known",
        {concern("answers", str(APP)): "2", concern("pool", str(APP)): "2"},
        {"subject": str(APP)},
    ),
    Fault(
        "WaSessionClientHangs",
        "client app: the application hangs",
        {concern("answers", str(APP)): "3"},
        {"subject": str(APP)},
    ),
    Fault(
        "WaSessionCacheInUse",
        "client app: 2 sessions run without the database",
        {series("client_cached_companies", client="app"): "2"},
        CLIENT,
    ),
    Fault(
        "WaSessionDiskFull",
        "The disk of PostgreSQL is nearly full (95%), says host:1",
        {series("disk_used_ratio"): "0.95"},
    ),
    Fault(
        "WaSessionConnectionsUsed",
        "The connections of PostgreSQL are running out (81%% are used), says host:1".replace("%%", "%"),
        {series("server_connections_used_ratio"): "0.81"},
    ),
    Fault(
        "WaSessionPoolUsed",
        "client app: its connections are running out (90% are lent out)",
        {series("pool_connections", client="app", state="active"): "9"},
        CLIENT,
    ),
    Fault(
        "WaSessionPoolWaiting",
        "client app: 6 operations wait for a connection",
        {series("pool_pending_requests", client="app"): "6"},
        CLIENT,
    ),
    Fault(
        "WaSessionBouncerUsed",
        "PgBouncer, wa_app@whatsapp: its connections are running out (90% are lent out)",
        {series("bouncer_servers", pool="wa_app@whatsapp", state="active"): "9"},
        {"pool": "wa_app@whatsapp"},
    ),
    Fault(
        "WaSessionBouncerWaiting",
        "PgBouncer, wa_app@whatsapp: 6 clients wait for a connection",
        {series("bouncer_clients", pool="wa_app@whatsapp", state="waiting"): "6"},
        {"pool": "wa_app@whatsapp", "state": "waiting"},
    ),
    Fault(
        "WaSessionSlowQueries",
        "3 queries of more than 500 ms within 5 minutes (client app)",
        {series("client_slow_queries", client="app"): "+1x3"},
        CLIENT,
    ),
    Fault(
        "WaSessionSlowQueries",
        "3 queries of more than 500 ms within 5 minutes (of the monitor)",
        {series("query_duration_seconds_count", operation="read"): "+1x3"},
    ),
    Fault(
        "WaSessionSlowerThanUsual",
        f"{DB}: queries are slower than usual",
        {concern("latency"): "1"},
        {"subject": str(DB)},
    ),
    Fault(
        "WaSessionReplicaLag",
        "replica standby: it is 65MiB behind",
        {series("replica_lag_bytes", replica="standby"): f"{65 * 1024 * 1024}"},
        {"replica": "standby"},
    ),
    Fault(
        "WaSessionReplicaLag",
        "replica standby: it is 8B behind",
        {series("replica_lag_bytes", replica="standby"): "8", series("replica_lag_seconds", replica="standby"): "31"},
        {"replica": "standby"},
    ),
    Fault(
        "WaSessionMirrorOld",
        "The mirror is 1m 1s old, says host:1",
        {series("mirror_age_seconds"): "61", concern("mirror"): "1"},
    ),
    Fault(
        "WaSessionMirrorUnusable",
        "The mirror cannot be used, says host:1",
        {series("mirror_age_seconds"): GONE, concern("mirror"): "1"},
        {"subject": str(DB)},
    ),
    Fault(
        "WaSessionBackup",
        f"{BACKUPS}: the newest backup is too old, or there is none",
        {concern("backup", str(BACKUPS)): "1"},
        {"subject": str(BACKUPS)},
    ),
    Fault(
        "WaSessionRemovableKeys",
        "501 keys may go, says host:1",
        {series("expired_keys", company="962301"): "501"},
    ),
    Fault(
        "WaSessionTablesLarge",
        "The session tables take 51.2MB, says host:1",
        {series("tables_bytes"): "51200000"},
    ),
    Fault(
        "WaSessionNotifyRefused",
        "telegram refuses the messages of the monitor host:1",
        {series("notify_refused", service="telegram"): "1"},
        {"service": "telegram"},
    ),
    Fault(
        "WaSessionNotifyWaits",
        "4 messages of the monitor host:1 wait for sentry",
        {series("notify_queued", service="sentry"): "4"},
        {"service": "sentry"},
    ),
    Fault("WaSessionClientNotScraped", "client app: it does not answer Prometheus", {UP: "0"}, CLIENT, CLIENT_JOB),
    Fault(
        "WaSessionJournalFails",
        "client app: company 962301 has writes that no journal took",
        {series("journal_failures_total", company="962301"): "+1x1"},
        {"client": "app", "company": "962301"},
        CLIENT_JOB,
    ),
    Fault(
        "WaSessionJournalFails",
        "client app: company 962302 has writes that no journal took",
        {series("journal_failures_total", company="962302"): "1"},
        {"client": "app", "company": "962302"},
        CLIENT_JOB,
    ),
]
#: just within the limit, and the sessions on files, where the age of a mirror means nothing
WITHIN = {
    series("disk_used_ratio"): "0.9",
    series("server_connections_used_ratio"): "0.8",
    series("pool_connections", client="app", state="active"): "8",
    series("pool_pending_requests", client="app"): "5",
    series("bouncer_servers", pool="wa_app@whatsapp", state="active"): "8",
    series("bouncer_clients", pool="wa_app@whatsapp", state="waiting"): "5",
    series("client_slow_queries", client="app"): "+1x2",
    series("query_duration_seconds_count", operation="read"): "+1x2",
    series("replica_lag_bytes", replica="standby"): f"{64 * 1024 * 1024}",
    series("replica_lag_seconds", replica="standby"): "30",
    series("mirror_age_seconds"): "9999",
    series("expired_keys", company="962301"): "500",
    series("monitor_last_turn_age_seconds"): "15",
    concern("answers", str(APP)): "0",
}
