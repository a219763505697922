# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard for Grafana as JSON, on stdout. `make docs` writes it to roles/health_monitor/files/grafana; panels of
Grafana's core only, as of Grafana 10 and 11.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

M = 'job="baileys-resilience-monitor", instance=~"$instance"'
MC = f'{M}, client=~"$client"'
C = 'job="baileys-resilience-client", client=~"$client"'
#: width of the whole
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
#: health/findings.py
STATUSES = {"0": ("ok", GREEN), "1": ("warning", YELLOW), "2": ("unknown", ORANGE), "3": ("critical", RED)}
UP_DOWN = {"0": ("down", RED), "1": ("up", GREEN)}
REFUSED = {"0": ("takes them", GREEN), "1": ("refuses", RED)}
CONNECTED = {"0": ("not connected", RED), "1": ("connected", GREEN)}
Query = tuple[str, str]


def percentiles(metric: str, matchers: str) -> list[Query]:
    buckets = f"sum by (le, operation) (rate({metric}_bucket{{{matchers}}}[$__rate_interval]))"
    return [
        (f"histogram_quantile({share}, {buckets})", f"{name} {{{{operation}}}}")
        for share, name in (("0.5", "P50"), ("0.95", "P95"), ("0.99", "P99"))
    ]


def panel(kind: str, title: str, queries: Sequence[Query], **more: Any) -> dict[str, Any]:
    """Without its place. ``more``: description, unit, mappings, steps, stacked, width, height, minimum, maximum."""
    defaults: dict[str, Any] = {
        "unit": more.get("unit", "short"),
        "color": {"mode": "palette-classic" if kind == "timeseries" else "thresholds"},
        "mappings": mapped(more.get("mappings", {})),
        "thresholds": {"mode": "absolute", "steps": steps(more.get("steps", ()))},
        "noValue": more.get("nothing", "nothing known"),
    }
    for name, key in (("minimum", "min"), ("maximum", "max")):
        if name in more:
            defaults[key] = more[name]
    instant = kind in ("stat", "gauge", "bargauge")
    made = {
        "type": kind,
        "title": title,
        "description": more.get("description", ""),
        "datasource": DATASOURCE,
        "gridPos": {"w": more.get("width", 8), "h": more.get("height", 8)},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": OPTIONS[kind](more),
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expression,
                "legendFormat": legend,
                "editorMode": "code",
                "range": not instant,
                "instant": instant,
            }
            for number, (expression, legend) in enumerate(queries)
        ],
    }
    if kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if more.get("stacked") else 0,
            "spanNulls": False,
            "showPoints": "auto",
            "stacking": {"mode": "normal" if more.get("stacked") else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if more.get("steps") else "off"},
        }
    return made


OPTIONS = {
    "stat": lambda more: {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto", "textMode": more.get("text", "value"), "colorMode": "background", "graphMode": "none",
        "justifyMode": "auto",
    },
    "bargauge": lambda _more: {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True,
    },
    "timeseries": lambda _more: {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": lambda _more: {
        "showValue": "never", "mergeValues": True, "alignValue": "left", "rowHeight": 0.9,
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "single", "sort": "none"},
    },
}  # fmt: skip


def mapped(words: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    if not words:
        return []
    options = {
        value: {"text": text, "color": color, "index": number}
        for number, (value, (text, color)) in enumerate(words.items())
    }
    return [{"type": "value", "options": options}]


def steps(limits: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    base = limits[0][1] if limits and limits[0][0] == 0 else GREEN
    return [{"color": base, "value": None}] + [{"color": color, "value": at} for at, color in limits if at]


STATUS = [
    panel("stat", "Database", [(f"min(wa_session_storage_up{{{M}}})", "")], mappings=UP_DOWN, width=4, height=4,
          description="What the monitors say: every connection is a new one, and a write is tried."),
    panel("stat", "Worst status", [(f"max(wa_session_concern_status{{{M}}})", "")], mappings=STATUSES, width=4,
          height=4, description="The gravest of all that is looked at, told or not."),
    panel("stat", "Sessions without the database", [(f"sum(wa_session_client_cached_companies{{{MC}}})", "")],
          width=4, height=4, steps=[(1, RED)]),
    panel("stat", "Open incidents", [(f"sum(wa_session_incident_open{{{M}}}) or vector(0)", "")], width=3, height=4,
          steps=[(1, RED)], description="Somebody was told of them, and not of their end."),
    panel("stat", "Monitors", [(f"min(up{{{M}}})", "")], mappings=UP_DOWN, width=3, height=4,
          description="Whether they answer Prometheus. A monitor that is gone reports nothing wrong."),
    panel("stat", "Last turn", [(f"max(wa_session_monitor_last_turn_age_seconds{{{M}}})", "")], unit="s", width=3,
          height=4, steps=[(10, YELLOW), (15, RED)], description="Since a monitor's loop came round."),
    panel("stat", "Cannot look at", [(f"sum(wa_session_monitor_degraded{{{M}}})", "")], width=3, height=4,
          steps=[(1, YELLOW)], description="So many things; /api/status says which, under `degraded`."),
    panel("state-timeline", "What was wrong, and when",
          [(f"max by (subject, concern) (wa_session_concern_status{{{M}}})", "{{subject}}: {{concern}}")],
          mappings=STATUSES, width=16, height=10),
    panel("stat", "What is not well now",
          [(f"max by (subject, concern) (wa_session_concern_status{{{M}}}) > 0", "{{subject}}: {{concern}}")],
          mappings=STATUSES, text="value_and_name", width=8, height=10, nothing="all is well"),
]  # fmt: skip
LATENCY = [
    panel("timeseries", "The monitor's own queries", percentiles("wa_session_query_duration_seconds", M), unit="s",
          width=16, description="connect, read, write and canary on a new connection."),
    panel("timeseries", "Time since a probe ended well",
          [(f"time() - max by (operation) (wa_session_probe_last_success_timestamp_seconds{{{M}}})", "{{operation}}")],
          unit="s", minimum=0),
]  # fmt: skip
POOLS = [
    panel("timeseries", "Connections of PostgreSQL", [
        (f"sum by (instance, state) (wa_session_server_connections{{{M}}})", "{{state}}"),
        (f"wa_session_server_connections_free{{{M}}}", "free"),
    ], stacked=True, minimum=0),
    panel("timeseries", "Used, of the tightest limit",
          [(f"wa_session_server_connections_used_ratio{{{M}}}", "{{instance}}")], unit="percentunit", minimum=0,
          maximum=1, steps=[(0.8, RED)]),
    panel("timeseries", "Connections of the applications", [
        (f"sum by (client, state) (wa_session_pool_connections{{{MC}}})", "{{client}}: {{state}}"),
        (f"wa_session_pool_max_connections{{{MC}}}", "{{client}}: most"),
    ], minimum=0),
    panel("timeseries", "Operations that wait for a connection",
          [(f"wa_session_pool_pending_requests{{{MC}}}", "{{client}}")], minimum=0, steps=[(5, RED)]),
    panel("timeseries", "Slow queries of the applications",
          [(f"increase(wa_session_client_slow_queries{{{MC}}}[5m])", "{{client}}")], minimum=0, steps=[(3, RED)],
          description="More than 500 ms, within five minutes."),
    panel("stat", "Applications", [(f"wa_session_client_up{{{MC}}}", "{{client}}")], mappings=UP_DOWN,
          text="value_and_name", description="Whether they answer their monitor."),
    panel("timeseries", "Connections of PgBouncer", [
        (f"sum by (pool, state) (wa_session_bouncer_servers{{{M}}})", "{{pool}}: {{state}}"),
        (f"wa_session_bouncer_pool_size{{{M}}}", "{{pool}}: most"),
    ], minimum=0, width=12),
    panel("timeseries", "Clients of PgBouncer", [
        (f"sum by (pool, state) (wa_session_bouncer_clients{{{M}}})", "{{pool}}: {{state}}"),
    ], minimum=0, width=6, steps=[(5, RED)]),
    panel("timeseries", "Longest wait at PgBouncer",
          [(f"wa_session_bouncer_longest_wait_seconds{{{M}}}", "{{pool}}")], unit="s", minimum=0, width=6),
]  # fmt: skip
KEYS = [
    panel("timeseries", "Keys by type", [(f"sum by (type) (wa_session_keys{{{M}}})", "{{type}}")], stacked=True,
          minimum=0, description="Counted hourly."),
    panel("bargauge", "Keys that may go, of ten companies",
          [(f"topk(10, sum by (company) (wa_session_expired_keys{{{M}}}))", "{{company}}")], minimum=0,
          steps=[(500, YELLOW)]),
    panel("timeseries", "Keys that may go, and old ones", [
        (f"sum(wa_session_expired_keys{{{M}}})", "may go"),
        (f"sum(wa_session_old_keys{{{M}}})", "old"),
    ], minimum=0, width=4),
    panel("timeseries", "Size of the tables", [(f"wa_session_tables_bytes{{{M}}}", "{{instance}}")], unit="bytes",
          minimum=0, width=4),
]  # fmt: skip
COPIES = [
    panel("stat", "Replicas", [(f"wa_session_replica_connected{{{M}}}", "{{replica}}")], mappings=CONNECTED,
          text="value_and_name", width=4, nothing="none known"),
    panel("timeseries", "What replicas have not replayed", [(f"wa_session_replica_lag_bytes{{{M}}}", "{{replica}}")],
          unit="bytes", minimum=0, width=10, steps=[(67108864, RED)]),
    panel("timeseries", "Age of what replicas replayed last",
          [(f"wa_session_replica_lag_seconds{{{M}}}", "{{replica}}")], unit="s", minimum=0, width=10),
    panel("timeseries", "Age of the mirror", [(f"wa_session_mirror_age_seconds{{{M}}}", "{{instance}}")], unit="s",
          minimum=0, width=6, steps=[(60, RED)], description="Means nothing while the sessions live on files."),
    panel("timeseries", "Age of the newest backups",
          [(f"max by (kind) (wa_session_backup_age_seconds{{{M}}})", "{{kind}}")], unit="s", minimum=0, width=6),
    panel("timeseries", "Disk of PostgreSQL, used", [(f"wa_session_disk_used_ratio{{{M}}}", "{{instance}}")],
          unit="percentunit", minimum=0, maximum=1, width=6, steps=[(0.9, RED)]),
    panel("timeseries", "Disk of PostgreSQL, free", [(f"wa_session_disk_free_bytes{{{M}}}", "{{instance}}")],
          unit="bytes", minimum=0, width=6),
]  # fmt: skip
NOTIFY = [
    panel("timeseries", "Messages that wait", [(f"wa_session_notify_queued{{{M}}}", "{{service}}")], minimum=0,
          width=16, height=6),
    panel("stat", "Sentry and Telegram", [(f"max by (service) (wa_session_notify_refused{{{M}}})", "{{service}}")],
          mappings=REFUSED, text="value_and_name", height=6, nothing="nobody is told"),
]  # fmt: skip
CLIENTS = [
    panel("timeseries", "Queries of the applications", percentiles("wa_session_query_duration_seconds", C), unit="s",
          width=16, description="With the time that they waited for a connection."),
    panel("timeseries", "Queries that failed",
          [(f"sum by (client, operation, class) (rate(wa_session_query_errors_total{{{C}}}[$__rate_interval]))",
            "{{client}} {{operation}}: {{class}}")], unit="reqps", minimum=0),
    panel("timeseries", "Sessions by state", [(f"sum by (state) (wa_session_state{{{C}}})", "{{state}}")],
          stacked=True, minimum=0),
    panel("timeseries", "Sessions by store", [(f"sum by (store) (wa_session_store{{{C}}})", "{{store}}")],
          stacked=True, minimum=0),
    panel("timeseries", "Time without the database",
          [(f"topk(10, wa_session_cache_age_seconds{{{C}}})", "{{company}}")], unit="s", minimum=0),
    panel("timeseries", "Keys in memory", [(f"sum by (client) (wa_session_cache_keys{{{C}}})", "{{client}}")],
          minimum=0),
    panel("timeseries", "Answered from memory",
          [(f"sum by (client) (rate(wa_session_cache_hits_total{{{C}}}[$__rate_interval]))", "{{client}}")],
          unit="reqps", minimum=0),
    panel("timeseries", "Journal of an outage",
          [(f"sum by (client) (wa_session_journal_bytes{{{C}}})", "{{client}}")], unit="bytes",
          minimum=0),
]  # fmt: skip
ROWS = [
    ("Status", STATUS, False),
    ("Latency", LATENCY, False),
    ("Connections and pools", POOLS, False),
    ("Keys", KEYS, False),
    ("Replicas, mirror, backups and disk", COPIES, False),
    ("Messages", NOTIFY, False),
    ("The applications' own figures, where Prometheus scrapes them", CLIENTS, True),
]


def placed(panels: Sequence[dict[str, Any]], top: int) -> int:
    """Give them their places from left to right; the line below them."""
    left, line, height = 0, top, 0
    for each in panels:
        place = each["gridPos"]
        if left + place["w"] > COLUMNS:
            left, line, height = 0, line + height, 0
        place.update(x=left, y=line)
        left, height = left + place["w"], max(height, place["h"])
    return line + height


def laid_out() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    line = number = 0
    for title, panels, collapsed in ROWS:
        row: dict[str, Any] = {
            "type": "row", "title": title, "collapsed": collapsed, "panels": [],
            "gridPos": {"x": 0, "y": line, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        end = placed(panels, line + 1)
        for each in (row, *panels):
            number += 1
            each["id"] = number
        made.append(row)
        if collapsed:
            row["panels"] = list(panels)
            line += 1
        else:
            made.extend(panels)
            line = end
    return made


def variable(name: str, label: str, values: str) -> dict[str, Any]:
    return {
        "type": "query", "name": name, "label": label, "datasource": DATASOURCE,
        "query": {"query": values, "refId": f"variable-{name}"}, "refresh": 2, "sort": 1, "multi": True,
        "includeAll": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0,
        "options": [], "regex": "", "skipUrlSync": False,
    }  # fmt: skip


def dashboard() -> dict[str, Any]:
    monitors = 'label_values(wa_session_monitor_looks{job="baileys-resilience-monitor"}, instance)'
    clients = 'label_values(wa_session_client_up{job="baileys-resilience-monitor", instance=~"$instance"}, client)'
    return {
        "uid": "baileys-resilience",
        "title": "WhatsApp sessions",
        "description": "Made by scripts/grafana_dashboard.py of the collection baileys.resilience.",
        "tags": ["baileys-resilience"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [
                {
                    "type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus",
                    "refresh": 1, "hide": 0, "multi": False, "includeAll": False, "options": [], "regex": "",
                    "skipUrlSync": False,
                },
                variable("instance", "Monitor", monitors),
                variable("client", "Application", clients),
            ]
        },
        "panels": laid_out(),
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
