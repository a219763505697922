# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What ``baileys-resilience monitor`` and ``silence`` do: everything is put together here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ...errors import Busy, ResilienceError, UsageError
from ...files import make_private_directory, owner_of_directory
from ...locks import held
from ...notify import Notification
from ...progress import Progress
from ..alerts.core import Alerts
from ..alerts.model import CLIENT, DATABASE, REPLICA, SUBJECT_KINDS, Subject, in_words
from ..findings import CRITICAL, OK, UNKNOWN, WARNING
from .clients import ClientSource, read_token
from .configuration import MonitorSettings
from .database import DatabaseSource
from .loop import Heart, Loop, moment
from .metrics import Metrics
from .once import first_sight, looked_at
from .saved import AlertFile, Requests, leave_request
from .server import TEXT, Endpoint, Page, json_page
from .source import Source
from .status import as_status, lines
from .surroundings import DiskSource, KeysSource, MirrorSource
from .systemd import Systemd
from .watch import Delivery, Watch

LOCK = "monitor.lock"
#: the loop that does not come round for so long is ill
_ILL_SECONDS = 15.0
#: the loop looks for requests each time that it comes round
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LONGEST_SILENCE_SECONDS = 31 * 86400.0
#: as monitoring plugins end
EXIT_CODES = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}


@dataclass(frozen=True)
class Told:
    """What a command says."""

    content: Dict[str, Any]
    lines: List[str] = field(default_factory=list)
    exit_code: int = 0


class OnlyLogged:
    """A delivery for those who read the journal: the watch writes each notice there already."""

    def put(self, notification: Notification, services: Sequence[str] = ()) -> None:
        return None


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
    ]


def run(settings: MonitorSettings, progress: Progress, delivery: Optional[Delivery] = None) -> Told:
    """Watch until SIGTERM or SIGINT. Raises Busy where another monitor uses the same state, Misconfigured for an
    endpoint that cannot be.
    """
    state = make_private_directory(settings.state_dir)
    busy = Busy(
        "another monitor runs",
        operation="monitor",
        subject=str(state),
        hint="stop it (systemctl stop baileys-resilience-monitor), or set another state_dir",
    )
    with held(state / LOCK, 0.0, busy):
        monitor = Monitor(settings, progress, delivery or OnlyLogged())
        monitor.run()
    return Told({"stopped": True}, ["monitor: stopped"])


class Monitor:
    """The parts of a running service."""

    def __init__(self, settings: MonitorSettings, progress: Progress, delivery: Delivery) -> None:
        self.settings = settings
        self._progress = progress
        self.systemd = Systemd()
        now = moment()
        file = AlertFile(Path(settings.state_dir))
        alerts, damage = file.load(settings.alerts, now)
        self.metrics = Metrics(lambda: self.watch.published, self._beat_age, most_companies=settings.most_companies)
        self.watch = Watch(alerts, file, delivery, progress, [self.metrics])
        self.watch.keep_only(subjects_of(settings))
        if damage:
            self._tell_damage(damage, delivery)
        self.loop = Loop(
            sources_of(settings),
            self.watch,
            log=progress,
            requests=Requests(Path(settings.state_dir)),
            on_beat=lambda: self.systemd.tell("WATCHDOG=1"),
        )
        self.endpoint = self._endpoint()

    def run(self) -> None:
        self.loop.stop_on_signals()
        where = ""
        if self.endpoint is not None:
            self.endpoint.start()
            where = f"{self.endpoint.host}:{self.endpoint.port}"
        self._progress.note("monitor started", database=self.settings.database.where, listen=where or "nowhere")
        self.systemd.tell("READY=1")
        try:
            self.loop.run()
        finally:
            self.systemd.tell("STOPPING=1")
            if self.endpoint is not None:
                self.endpoint.close()

    def _tell_damage(self, damage: str, delivery: Delivery) -> None:
        self._progress.note("state set aside", what=damage)
        try:
            delivery.put(
                Notification("the monitor begins anew", f"{damage}\nWhat is wrong now is told again.", level="warning")
            )
        except (ResilienceError, OSError) as error:
            self._progress.note("that could not be told", why=str(error))

    def _beat_age(self) -> float:
        return self.loop.heart.age_seconds

    def _endpoint(self) -> Optional[Endpoint]:
        listen = self.settings.listen
        if not listen.port:
            return None
        token = listen.token or (read_token(listen.token_file) if listen.token_file else "")
        pages: Dict[str, Callable[[], Page]] = {
            "/metrics": lambda: Page(200, self.metrics.content_type, self.metrics.text()),
            "/healthz": lambda: healthz(self.loop.heart),
            "/api/status": self._status,
        }
        return Endpoint(listen.host, listen.port, pages, token=token, open_paths=("/healthz",))

    def _status(self) -> Page:
        published = self.watch.published
        if published is None:
            return json_page({"status": UNKNOWN, "cause": "nothing was looked at yet"}, 503)
        return json_page(as_status(published, most_companies=self.settings.most_companies))


def healthz(heart: Heart) -> Page:
    """Of the monitor, not of what it watches."""
    age = heart.age_seconds
    well = age < _ILL_SECONDS
    return Page(200 if well else 503, TEXT, f"{'ok' if well else 'ill'}: came round {age:.1f} s ago\n".encode())


def once(settings: MonitorSettings) -> Told:
    """Look at everything once, judge each look as it is, and end like a monitoring plugin. Nothing is told or kept."""
    found = looked_at(sources_of(settings))
    alerts = Alerts(settings.alerts)
    published = first_sight(alerts, found, moment())
    return Told(as_status(published), lines(published), EXIT_CODES[published.status])


def silence(
    settings: MonitorSettings, seconds: float, subject: str = "", *, wait_seconds: float = _SETTLE_SECONDS
) -> Told:
    """Ask the running monitor to tell nothing for so long, of one subject or of all. 0 ends it. Raises Busy where no
    monitor comes for the request.
    """
    if not 0 <= seconds <= _LONGEST_SILENCE_SECONDS:
        raise UsageError(
            f"{seconds:g} s is no silence", operation="silence", hint="give 0 (ends it) to 31 days, such as 2h or 30min"
        )
    state = Path(settings.state_dir)
    wanted = list(_subject(subject)) if subject else None
    path = leave_request(
        state, {"request": "silence", "seconds": seconds, "subject": wanted}, owner_of_directory(state)
    )
    until = time.monotonic() + wait_seconds
    while path.exists():
        if time.monotonic() >= until:
            path.unlink(missing_ok=True)
            raise Busy(
                "no monitor came for it",
                operation="silence",
                subject=subject or "all",
                hint="systemctl status baileys-resilience-monitor",
            )
        time.sleep(_POLL_SECONDS)
    what = subject or "everything"
    said = f"nothing is told of {what} for {in_words(seconds)}" if seconds else f"{what} is told again"
    return Told({"subject": subject or None, "seconds": seconds}, [said])


def _subject(text: str) -> Subject:
    kind, _space, name = text.partition(" ")
    if kind not in SUBJECT_KINDS or not name:
        raise UsageError(
            "is no subject",
            operation="silence",
            subject=repr(text),
            hint="write it as the alert does, such as 'database db.example.net:5432/whatsapp' or 'client app'",
        )
    return Subject(kind, name)
