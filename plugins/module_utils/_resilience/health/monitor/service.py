# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The parts of a running monitor, put together."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional

from ...errors import ResilienceError
from ...notify import Notification
from ...progress import Progress
from ..alerts.model import BACKUP, CLIENT, DATABASE, REPLICA, Subject
from ..findings import UNKNOWN
from ..pgbouncer import console_params
from .asking import COMPANIES_PATH, HISTORY_PATH, LATENCY_PATH, STATUS_PATH
from .bouncer import BouncerSource, subject_of
from .clients import ClientSource, read_token
from .companies import as_companies
from .configuration import MonitorSettings
from .database import DatabaseSource
from .deliveries import Deliveries
from .loop import Heart, Loop, moment
from .memory import Memory
from .metrics import Metrics
from .page import page_files
from .past import Past
from .requesting import AutoFailover
from .saved import AlertFile, Requests
from .server import TEXT, Endpoint, Page, Query, Show, json_page
from .source import Source
from .status import as_status
from .surroundings import BackupSource, DiskSource, KeysSource, MirrorSource
from .systemd import Systemd
from .watch import Observer, Watch

#: the loop that does not come round for so long is ill
_ILL_SECONDS = 15.0


def sources_of(settings: MonitorSettings) -> List[Source]:
    database = DatabaseSource(
        settings.database,
        settings.tables,
        monitor=settings.name,
        interval_seconds=settings.interval_seconds,
        deadline_seconds=settings.deadline_seconds,
        write=settings.write,
        replicas=settings.replicas,
    )
    every = settings.interval_seconds
    found: List[Source] = [database]
    found += [
        ClientSource(
            each.name,
            directory=each.directory,
            port=each.port,
            token=each.token,
            token_file=each.token_file,
            interval_seconds=every,
            deadline_seconds=settings.deadline_seconds,
        )
        for each in settings.clients
    ]
    if settings.data_dirs:
        found.append(DiskSource(database.subject, settings.data_dirs, interval_seconds=every))
    if settings.mirror_age_file:
        found.append(MirrorSource(database.subject, settings.mirror_age_file, interval_seconds=every))
    if settings.pgbouncer_dsn:
        console = console_params(settings.pgbouncer_dsn)
        found.append(BouncerSource(console, interval_seconds=every, deadline_seconds=settings.deadline_seconds))
    if settings.backup_age_file:
        limit = settings.alerts.backup_age_seconds
        found.append(BackupSource(settings.database.where, settings.backup_age_file, limit, interval_seconds=every))
    found.append(
        KeysSource(
            database.params,
            settings.tables,
            Path(settings.state_dir),
            interval_seconds=settings.keys_interval_seconds,
            older_than_days=settings.older_than_days,
        )
    )
    return found


def subjects_of(settings: MonitorSettings) -> List[Subject]:
    return [
        Subject(DATABASE, settings.database.where),
        *(Subject(CLIENT, each.name) for each in settings.clients),
        *(Subject(REPLICA, each) for each in settings.replicas),
        *([subject_of(console_params(settings.pgbouncer_dsn))] if settings.pgbouncer_dsn else []),
        *([Subject(BACKUP, settings.database.where)] if settings.backup_age_file else []),
    ]


class Monitor:
    """The parts of a running service."""

    def __init__(
        self, settings: MonitorSettings, progress: Progress, delivery: Deliveries, memory: Optional[Memory] = None
    ) -> None:
        self.settings = settings
        self._progress, self._delivery, self.memory = progress, delivery, memory
        self.systemd = Systemd()
        now = moment()
        file = AlertFile(Path(settings.state_dir))
        alerts, damage = file.load(settings.alerts, now)
        self.metrics = Metrics(
            lambda: self.watch.published,
            self._beat_age,
            most_companies=settings.most_companies,
            services=delivery.services,
        )
        observers: List[Observer] = [self.metrics, *([memory] if memory else [])]
        self.watch = Watch(alerts, file, delivery, progress, observers, self._auto_failover())
        self.watch.keep_only(subjects_of(settings))
        if damage:
            self._tell_damage(damage, delivery)
        self.loop = Loop(
            [*sources_of(settings), *([memory] if memory else [])],
            self.watch,
            log=progress,
            requests=Requests(Path(settings.state_dir)),
            on_beat=self._beat,
        )
        self.endpoint = self._endpoint()

    def run(self) -> None:
        self.loop.stop_on_signals()
        where = ""
        if self.endpoint is not None:
            self.endpoint.start()
            where = f"{self.endpoint.host}:{self.endpoint.port}"
        self._progress.note(
            "monitor started",
            database=self.settings.database.where,
            listen=where or "nowhere",
            tells=self._delivery.names,
        )
        self.systemd.tell("READY=1")
        try:
            self.loop.run()
        finally:
            self.systemd.tell("STOPPING=1")
            if self.endpoint is not None:
                self.endpoint.close()

    def _auto_failover(self) -> Optional[AutoFailover]:
        wanted = self.settings.auto_failover
        if wanted is None:
            return None
        database, *others = subjects_of(self.settings)
        clients = [each for each in others if each.kind == CLIENT]
        return AutoFailover(wanted, Path(self.settings.state_dir), database, clients, moment())

    def _tell_damage(self, damage: str, delivery: Deliveries) -> None:
        self._progress.note("state set aside", what=damage)
        try:
            delivery.put(
                Notification("the monitor begins anew", f"{damage}\nWhat is wrong now is told again.", level="warning")
            )
        except (ResilienceError, OSError) as error:
            self._progress.note("that could not be told", why=str(error))

    def _beat(self) -> None:
        self.systemd.tell("WATCHDOG=1")
        self._delivery.beat()

    def _beat_age(self) -> float:
        return self.loop.heart.age_seconds

    def _endpoint(self) -> Optional[Endpoint]:
        listen = self.settings.listen
        if not listen.port:
            return None
        token = listen.token or (read_token(listen.token_file) if listen.token_file else "")
        files, missing = page_files(self.settings.page_file)
        if missing and self.settings.page_file:
            self._progress.note("there is no page", why=missing)
        pages: Dict[str, Show] = {
            "/metrics": lambda _query: Page(200, self.metrics.content_type, self.metrics.text()),
            "/healthz": lambda _query: healthz(self.loop.heart),
            STATUS_PATH: self._status,
            LATENCY_PATH: self._latency,
            HISTORY_PATH: Past(self.memory).show,
            COMPANIES_PATH: lambda _query: json_page(as_companies(self.watch.published, self.settings.most_companies)),
            **files,
        }
        return Endpoint(listen.host, listen.port, pages, token=token, open_paths=("/healthz", *files))

    def _latency(self, _query: Query) -> Page:
        if self.memory is None:
            return json_page({"range": "1h", "operations": [], "problem": "no history is kept"})
        return json_page({"range": "1h", "operations": self.memory.latency()})

    def _status(self, _query: Query) -> Page:
        published = self.watch.published
        if published is None:
            return json_page({"status": UNKNOWN, "cause": "nothing was looked at yet"}, 503)
        return json_page(
            as_status(
                published,
                name=self.settings.name,
                most_companies=self.settings.most_companies,
                services=self._delivery.services(),
            )
        )


def healthz(heart: Heart) -> Page:
    """Of the monitor, not of what it watches."""
    age = heart.age_seconds
    well = age < _ILL_SECONDS
    return Page(200 if well else 503, TEXT, f"{'ok' if well else 'ill'}: came round {age:.1f} s ago\n".encode())
