# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the real collectors of monitor and client show to Prometheus, and the parts of PromQL that name it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.errors import Unavailable
from baileys_resilience.health.alerts.causes import CONCERNS
from baileys_resilience.health.alerts.core import Alerts
from baileys_resilience.health.alerts.model import BACKUP, CLIENT, DATABASE, PGBOUNCER, REPLICA, Moment, Subject
from baileys_resilience.health.alerts.overview import overview
from baileys_resilience.health.alerts.readings import (
    P95,
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
from baileys_resilience.health.alerts.settings import AlertSettings
from baileys_resilience.health.client_metrics import ClientPool, Sample, parsed
from baileys_resilience.health.key_ages import CompanyAges, KeyAges, TypeAges
from baileys_resilience.health.latency import CONNECT
from baileys_resilience.health.monitor.bouncer import BouncerFigure
from baileys_resilience.health.monitor.clients import ClientFigure
from baileys_resilience.health.monitor.database import DatabaseFigure
from baileys_resilience.health.monitor.metrics import Metrics
from baileys_resilience.health.monitor.replication import ReplicaState
from baileys_resilience.health.monitor.surroundings import DiskFigure
from baileys_resilience.health.monitor.watch import Published
from baileys_resilience.health.pgbouncer import BouncerPool
from baileys_resilience.health.server_pool import Limits, ServerPool
from baileys_resilience.sessions.backup_age import BackupAges
from baileys_resilience.sessions.mirror_age import MirrorAge
from baileys_resilience.sessions.sizes import TableSize
from lab import nodejs
from tests.support.time_lines import EPOCH

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "roles" / "health_monitor" / "files"
RULES = FILES / "prometheus" / "baileys-resilience.rules.yml"
DASHBOARD = FILES / "grafana" / "baileys-resilience.json"
#: the values of the label `job` in the role's scrape jobs
MONITOR_JOB, CLIENT_JOB = "baileys-resilience-monitor", "baileys-resilience-client"
#: what Prometheus itself adds to every series
TARGET_LABELS = {"job", "instance", "monitor", "client"}
DB, APP, STANDBY = Subject(DATABASE, "db:5432/whatsapp"), Subject(CLIENT, "app"), Subject(REPLICA, "standby")
BACKUPS = Subject(BACKUP, "db:5432/whatsapp")
_POOL = ServerPool(Limits(100, 3, 0, None, None), "wa_app", True, 20, 10, 10, {"idle": 15, "active": 5})
_BOUNCER = BouncerPool("whatsapp", "wa_app", 3, 0, 2, 1, 0.0, 10, "transaction")
_CLIENT_SCRIPT = """
const { Metrics, STATES } = await import(process.argv[1]);
const made = new Metrics();
const pool = { totalCount: 3, idleCount: 2, waitingCount: 0 };
made.watchPool(pool, 10);
made.query("set", 0.002);
made.query("get", 0.002, "Unavailable");
made.slow("set", 700);
made.sessionState("962301", "online", { keys: 2, store: "postgres" });
made.looked("962301", 3, 1);
made.clean("962301");
made.evictions.inc();
made.journalFailures.inc({ company: "962301" });
made.replays.inc({ company: "962301", result: "replayed" });
made.replayed.inc({ company: "962301" });
console.log(await made.registry.metrics());
"""


class Shown(NamedTuple):
    """``names`` have no samples perhaps; ``samples`` are what Prometheus makes series of."""

    names: frozenset[str]
    samples: tuple[Sample, ...]

    def labels(self, name: str) -> set[str]:
        return {label for each in self.samples if each.name == name for label in each.labels}


def shown(text: str) -> Shown:
    samples = tuple(parsed(text))
    announced = re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)
    return Shown(frozenset({*announced, *(each.name for each in samples)}), samples)


@cache
def healthy_monitor() -> Shown:
    """Of a monitor that looks at everything, and finds it well."""
    return shown(_monitor(_readings(), telegram_refuses=False))


@cache
def ill_monitor() -> Shown:
    """The same with the database down, and told of."""
    down = Probe(DB, Unavailable("Connection refused"), CONNECT)
    return shown(_monitor([down, *_readings()[1:]], telegram_refuses=True))


@cache
def client() -> Shown:
    """Everything that a session client can show, by its own code."""
    node, _npm = nodejs.find()
    module = ROOT / "roles/session_client/files/client/src/metrics.js"
    command = [node, "--input-type=module", "-e", _CLIENT_SCRIPT, str(module)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return shown(done.stdout)


def _readings() -> list[Reading]:
    return [
        Probe(DB, slowest_ms=3.0), Connections(DB, 20.6, 77), Disk(DB, 40.0), Keys(DB, {"962301": 2}), Mirror(DB, 4.0),
        Backup(BACKUPS, 3600.0), Bouncer(Subject(PGBOUNCER, "db:6432"), (_BOUNCER,)),
        Latencies(DB, {"read": P95(3.0, 200, 3.0)}), Replica(STANDBY),
        Client(APP, pool=ClientPool(3, 2, 0, 10), slow_total=0, cached={"962301": 0.0}),
    ]  # fmt: skip


def _monitor(readings: list[Reading], *, telegram_refuses: bool) -> str:
    alerts = Alerts(AlertSettings())
    now = Moment(1000.0, EPOCH)
    for number in range(3):
        now = Moment(1000.0 + number, EPOCH)
        alerts.step(readings, now)
    database = DatabaseFigure(
        {"connect": 0.02, "read": 0.002, "write": 0.003, "canary": 0.004}, "", _POOL,
        (ReplicaState("standby", True, 0, 0.0),), True,
    )  # fmt: skip
    figures: dict[str, Any] = {
        "database": database,
        "client app": ClientFigure("app", True, ClientPool(3, 2, 0, 10), 0, {"962301": 0.0}),
        "keys": KeyAges(
            {"962301": CompanyAges({"session": TypeAges(10, 2, 1, {"<1d": 10})})},
            {"whatsapp_keys": TableSize(100, 20)}, "2026-01-31T03:00:00Z", True,
        ),
        "disk": DiskFigure("/data", 40.0, 1024),
        "pgbouncer": BouncerFigure((_BOUNCER,)),
        "backup": BackupAges({"dump": to_iso(utc_now())}),
        "mirror": MirrorAge(scanned_at=to_iso(utc_now())),
    }  # fmt: skip
    published = Published(now, overview(alerts.board, now), {name: (now, each) for name, each in figures.items()})
    services = [{"service": each, "queued": 0, "refused": telegram_refuses} for each in ("sentry", "telegram")]
    metrics = Metrics(lambda: published, lambda: 0.25, services=lambda: services)
    metrics.seen("database", database, now)
    return metrics.text().decode()


_COLLECTORS = {MONITOR_JOB: (healthy_monitor, ill_monitor), CLIENT_JOB: (client,)}


class Selector(NamedTuple):
    """``name{label="value", ...}`` in an expression; ``text`` as it stands there."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    text: str

    @property
    def job(self) -> str:
        return next((value for label, operator, value in self.matchers if (label, operator) == ("job", "=")), "")


_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_SELECTOR = re.compile(r"(?<![\w:])(wa_session_\w+|up)(?:\{([^}]*)\})?(?![\w:(])")


def selectors(expression: str) -> list[Selector]:
    """Those of metrics; names of recorded series have a colon."""
    return [
        Selector(each[1], tuple(_MATCHER.findall(each[2] or "")), each[0]) for each in _SELECTOR.finditer(expression)
    ]


def grouping_labels(expression: str) -> set[str]:
    """The labels that `by`, `on` and `ignoring` name."""
    lists = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", expression)
    return {label.strip() for each in lists for label in each.split(",") if label.strip()}


def wrong_selectors(expression: str) -> list[str]:
    """Those that name a figure, a label or a concern that there is not."""
    found = []
    for each in selectors(expression):
        collectors = _COLLECTORS.get(each.job)
        if collectors is None:
            found.append(f"{each.text}: no job")
            continue
        shows = [collector() for collector in collectors]
        if each.name != "up" and not any(each.name in one.names for one in shows):
            found.append(f"{each.text}: there is no such figure")
        known = set().union(TARGET_LABELS, *(one.labels(each.name) for one in shows))
        for label, _operator, value in each.matchers:
            if label not in known:
                found.append(f"{each.text}: it has no label {label}")
            if label == "concern" and "$" not in value:
                found += [f"{each.text}: no concern {name}" for name in value.split("|") if name not in CONCERNS]
    return found


def labels_of(expression: str) -> set[str]:
    """All that the series of an expression may have."""
    return set().union(
        TARGET_LABELS,
        *(
            collector().labels(each.name)
            for each in selectors(expression)
            for collector in _COLLECTORS.get(each.job, ())
        ),
    )


def rules() -> list[dict[str, Any]]:
    """Of all groups, recorded series and alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return content


def panels(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All of them, those of collapsed rows, too."""
    for each in content["panels"]:
        yield each
        yield from each.get("panels", ())


def panel_queries(content: Mapping[str, Any]) -> dict[str, str]:
    """``panel: A`` -> expression."""
    return {
        f"{each['title']}: {target['refId']}": target["expr"]
        for each in panels(content)
        for target in each.get("targets", ())
    }


def variable_queries(content: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """name -> (series, label) of ``label_values(series, label)``."""
    found = {}
    for each in content["templating"]["list"]:
        if each["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
            assert match, each["name"]
            found[each["name"]] = (match[1], match[2])
    return found
