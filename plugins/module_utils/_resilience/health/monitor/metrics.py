# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``/metrics``: what the monitor knows, for Prometheus. Labels are operations, clients, replicas, concerns and
companies; never a JID, an id of a key or SQL. Of companies only so many are named as the settings allow.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..._thirdparty import require
from ...sessions.backup_age import BackupAges
from ...sessions.mirror_age import MirrorAge
from ..alerts.causes import SERVES
from ..alerts.model import DATABASE, Moment, Notice
from ..findings import OK, STATUSES, UNKNOWN
from ..key_ages import KeyAges
from .bouncer import BouncerFigure
from .clients import ClientFigure
from .database import DatabaseFigure
from .surroundings import DiskFigure
from .watch import Published

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
#: the companies that are not named, together
OTHERS = "(others)"
#: name without the prefix -> what it is; the first of the labels is named
_GAUGES: Mapping[str, Tuple[str, Sequence[str]]] = {
    "storage_up": ("1 while the database serves, 0 while it does not; absent while that is not known", ()),
    "server_connections": ("Connections of PostgreSQL by state", ("state",)),
    "server_connections_usable": ("Connections that PostgreSQL has for roles that are no superusers", ()),
    "server_connections_free": ("Connections that the application can still open", ()),
    "server_connections_used_ratio": ("Used connections of PostgreSQL, of the tightest limit", ()),
    "replica_lag_bytes": ("WAL that a replica has not replayed", ("replica",)),
    "replica_lag_seconds": ("Age of what a replica replayed last, 0 where that is all", ("replica",)),
    "replica_connected": ("1 while the replica is connected", ("replica",)),
    "pool_connections": ("Connections of a client's pool by state", ("client", "state")),
    "pool_max_connections": ("Connections of a client's pool at most", ("client",)),
    "pool_pending_requests": ("Operations of a client that wait for a connection", ("client",)),
    "bouncer_clients": ("Clients of a PgBouncer by pool (user@database) and state", ("pool", "state")),
    "bouncer_servers": ("Connections of a PgBouncer to the server by pool and state", ("pool", "state")),
    "bouncer_pool_size": ("Connections of a PgBouncer to the server at most, by pool", ("pool",)),
    "bouncer_longest_wait_seconds": ("How long the first of the clients that wait has waited, by pool", ("pool",)),
    "client_up": ("1 while the client answers the monitor", ("client",)),
    "client_cached_companies": ("Companies of a client that run without the database", ("client",)),
    "client_slow_queries": ("Slow queries of a client since its start", ("client",)),
    "keys": ("Keys by type", ("type",)),
    "expired_keys": ("Keys that may go under the policy, by company", ("company",)),
    "old_keys": ("Keys written longer ago than the days of the settings", ()),
    "tables_bytes": ("Size of the session tables with their indexes", ()),
    "disk_used_ratio": ("Use of the fullest file system of the data directory", ()),
    "disk_free_bytes": ("Free bytes of that file system", ()),
    "mirror_age_seconds": ("Age of the live mirror", ()),
    "backup_age_seconds": ("Age of the newest validated backup, by kind", ("kind",)),
    "concern_status": (f"{', '.join(f'{n} {s}' for n, s in enumerate(STATUSES))}", ("subject", "concern")),
    "incident_open": ("1 while somebody has been told of it and not of its end", ("subject", "concern")),
    "notify_queued": ("Messages that wait for a service", ("service",)),
    "notify_refused": ("1 while a service does not take our settings", ("service",)),
    "monitor_degraded": ("Things that the monitor cannot look at; /api/status says which", ()),
    "monitor_looks": ("Looks since the monitor's start", ()),
    "monitor_last_turn_age_seconds": ("Time since the monitor's loop came round", ()),
}
Sample = Tuple[str, Tuple[str, ...], float]


class Metrics:
    """An observer of looks, and a collector for prometheus_client. ``published`` is what there is to be shown, ``beat``
    the age of the loop's last turn.
    """

    def __init__(
        self,
        published: Callable[[], Optional[Published]],
        beat: Callable[[], float],
        *,
        most_companies: int = 100,
        services: Callable[[], Sequence[Mapping[str, Any]]] = lambda: (),
    ) -> None:
        self._client = require("prometheus_client")
        self._core = require("prometheus_client.core")
        self._published, self._beat, self._most = published, beat, most_companies
        self._services = services
        self._registry = self._client.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._lock = threading.Lock()
        self._last_success: Dict[str, float] = {}
        self._duration = self._client.Histogram(
            "wa_session_query_duration_seconds",
            "Time of the monitor's own probes",
            ["operation"],
            buckets=BUCKETS,
            registry=self._registry,
        )

    def seen(self, name: str, figure: Any, now: Moment) -> None:
        if not isinstance(figure, DatabaseFigure):
            return
        with self._lock:
            for operation, seconds in figure.seconds.items():
                self._duration.labels(operation).observe(seconds)
                self._last_success[operation] = now.wall.timestamp()

    def told(self, notice: Notice, now: Moment) -> None:
        """Incidents are shown by what is open."""

    def text(self) -> bytes:
        found: bytes = self._client.generate_latest(self._registry)
        return found

    @property
    def content_type(self) -> str:
        return str(require("prometheus_client.exposition").CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Any]:
        """prometheus_client's interface."""
        published = self._published()
        samples = list(self._samples(published)) if published else []
        samples.append(("monitor_last_turn_age_seconds", (), self._beat()))
        for each in self._services():
            samples.append(("notify_queued", (each["service"],), float(each["queued"])))
            samples.append(("notify_refused", (each["service"],), float(each["refused"])))
        by_name: Dict[str, List[Sample]] = {}
        for sample in samples:
            by_name.setdefault(sample[0], []).append(sample)
        for name, (text, labels) in _GAUGES.items():
            if name not in by_name:
                continue
            family = self._core.GaugeMetricFamily(f"wa_session_{name}", text, labels=labels)
            for _name, values, figure in by_name[name]:
                family.add_metric(values, figure)
            yield family
        yield self._successes()

    def _successes(self) -> Any:
        family = self._core.GaugeMetricFamily(
            "wa_session_probe_last_success_timestamp_seconds", "When a probe last ended well", labels=["operation"]
        )
        with self._lock:
            for operation, at in self._last_success.items():
                family.add_metric([operation], at)
        return family

    def _samples(self, published: Published) -> Iterator[Sample]:
        for state in published.states:
            labels = (str(state.key.subject), state.key.concern)
            yield "concern_status", labels, STATUSES.index(state.status)
            if state.told:
                yield "incident_open", labels, 1.0
            if state.key.subject.kind == DATABASE and state.key.concern == SERVES and state.status != UNKNOWN:
                yield "storage_up", (), float(state.status == OK)
        for _at, figure in published.figures.values():
            yield from self._of(figure)
        yield "monitor_degraded", (), float(len(published.degraded))
        yield "monitor_looks", (), float(published.looks)

    def _of(self, figure: Any) -> Iterator[Sample]:
        if isinstance(figure, DatabaseFigure):
            yield from _of_database(figure)
        elif isinstance(figure, ClientFigure):
            yield from _of_client(figure)
        elif isinstance(figure, KeyAges):
            yield from _of_keys(figure, self._most)
        elif isinstance(figure, DiskFigure):
            yield "disk_used_ratio", (), figure.used_percent / 100.0
            yield "disk_free_bytes", (), float(figure.free_bytes)
        elif isinstance(figure, MirrorAge) and figure.age_seconds is not None:
            yield "mirror_age_seconds", (), figure.age_seconds
        elif isinstance(figure, BouncerFigure):
            yield from _of_bouncer(figure)
        elif isinstance(figure, BackupAges):
            for kind, age in figure.ages.items():
                yield "backup_age_seconds", (kind,), age


def _of_database(figure: DatabaseFigure) -> Iterator[Sample]:
    pool = figure.pool
    if pool is not None:
        for state, number in (pool.by_state or {"any": pool.used}).items():
            yield "server_connections", (state,), float(number)
        yield "server_connections_usable", (), float(pool.limits.usable)
        yield "server_connections_free", (), float(pool.free)
        yield "server_connections_used_ratio", (), pool.used_percent / 100.0
    for each in figure.replicas:
        yield "replica_lag_bytes", (each.name or "",), float(each.behind_bytes)
        yield "replica_lag_seconds", (each.name or "",), each.behind_seconds
        yield "replica_connected", (each.name or "",), float(each.connected)


def _of_bouncer(figure: BouncerFigure) -> Iterator[Sample]:
    for each in figure.pools:
        yield "bouncer_clients", (each.name, "active"), float(each.clients_active)
        yield "bouncer_clients", (each.name, "waiting"), float(each.clients_waiting)
        yield "bouncer_servers", (each.name, "active"), float(each.servers_active)
        yield "bouncer_servers", (each.name, "idle"), float(each.servers_idle)
        yield "bouncer_pool_size", (each.name,), float(each.pool_size)
        yield "bouncer_longest_wait_seconds", (each.name,), each.longest_wait_seconds


def _of_client(figure: ClientFigure) -> Iterator[Sample]:
    name = (figure.name,)
    yield "client_up", name, float(figure.answers)
    if figure.pool is not None:
        yield "pool_connections", (figure.name, "idle"), float(figure.pool.idle)
        yield "pool_connections", (figure.name, "active"), float(figure.pool.active)
        yield "pool_max_connections", name, float(figure.pool.max)
        yield "pool_pending_requests", name, float(figure.pool.waiting)
    if figure.slow_total is not None:
        yield "client_slow_queries", name, float(figure.slow_total)
    if figure.cached is not None:
        yield "client_cached_companies", name, float(sum(1 for each in figure.cached.values() if each > 0))


def _of_keys(figure: KeyAges, most: int) -> Iterator[Sample]:
    for kind, ages in figure.by_type.items():
        yield "keys", (kind,), float(ages.count)
    for company, number in removable_by_company(figure, most):
        yield "expired_keys", (company,), float(number)
    yield "old_keys", (), float(figure.total("older"))
    yield "tables_bytes", (), float(figure.total_bytes)


def removable_by_company(figure: KeyAges, most: int) -> List[Tuple[str, int]]:
    """Those with the most, and the others together."""
    numbers = {
        company: sum(kind.removable for kind in each.keys.values()) for company, each in figure.companies.items()
    }
    ordered = sorted(numbers.items(), key=lambda each: (-each[1], each[0]))
    rest = ordered[most:]
    return ordered[:most] + ([(OTHERS, sum(number for _company, number in rest))] if rest else [])
