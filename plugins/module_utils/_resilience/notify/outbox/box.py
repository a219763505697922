# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The outbox: puts a message on the shelf of each service, and runs a thread for each."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ... import files
from ...clock import Clock
from ...errors import Busy, UsageError
from ..dedupe import OnceOnly
from ..model import Notification, Notifier
from .messages import Message
from .sender import Sender
from .settings import OutboxSettings
from .shelf import Shelf, as_store_error, services_in
from .status import ServiceStatus
from .waiting import Waiting

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Put:
    """Of which services it is told. ``problem`` says why it is in memory only; empty when it is on disk."""

    services: Tuple[str, ...]
    problem: str = ""


class _Thread:
    """Runs one sender until it is closed."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self._wake = threading.Event()
        self._ends_at: Optional[float] = None
        self._thread = threading.Thread(target=self._run, name=f"outbox-{sender.service}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def close(self, ends_at: float) -> None:
        """From now on only what needs no waiting is sent, and nothing is begun after ``ends_at``."""
        self._ends_at = ends_at
        self._wake.set()

    def join(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while self._ends_at is None or time.monotonic() < self._ends_at:
            self._wake.clear()
            try:
                wait = self.sender.step()
            except Exception as exc:  # noqa: BLE001 - a thread that ended would keep every later message to itself
                wait = self.sender.broke(exc)
            if self._ends_at is not None and wait != 0.0:
                left = self._ends_at - time.monotonic()
                if wait is None or wait > left:
                    return
                time.sleep(max(0.0, wait))
            elif wait is None or wait > 0:
                self._wake.wait(wait)


class Outbox:
    """``directory`` is this outbox's own, ``notifiers`` are those of ``notifiers_for`` without ``state_dir``. Raises
    Busy while another outbox has the directory, StoreError for a disk that refuses.
    """

    def __init__(
        self,
        directory: files.PathLike,
        notifiers: Sequence[Notifier],
        settings: Optional[OutboxSettings] = None,
        clock: Optional[Clock] = None,
        jitter: Optional[Callable[[], float]] = None,
    ) -> None:
        self._directory = files.make_private_directory(directory)
        self._settings, self._clock = settings or OutboxSettings(), clock or Clock()
        self._lock = threading.Lock()
        self._lock_file = _take_lock(self._directory)
        try:
            self._senders = {each.service: self._sender(each, jitter) for each in notifiers}
            self._expire_others()
        except BaseException as exc:
            os.close(self._lock_file)
            if isinstance(exc, OSError):
                raise as_store_error(exc, self._directory) from exc
            raise
        self._number = max((each.last_number for each in self._senders.values()), default=0)
        self._threads: Dict[str, _Thread] = {name: _Thread(each) for name, each in self._senders.items()}
        self._started = False

    def put(self, notification: Notification, services: Sequence[str] = ()) -> Put:
        """Take it for ``services``, all of them where there is none. On disk when it returns, and never waits for a
        network. What has the fingerprint of one that waits, or was sent within a day, is not taken again.
        """
        return self._put(notification, [each for each in self._senders if not services or each in services])

    def start(self) -> None:
        """Begin to send."""
        with self._lock:
            if self._started:
                return
            self._started = True
        for each in self._threads.values():
            each.start()

    def close(self, seconds: float = 5.0) -> None:
        """End within ``seconds``. Until then what is due is sent; the rest is for the next start. A send that has not
        ended then is left to itself, and may be done once more by the next start.
        """
        ends_at = time.monotonic() + seconds
        for each in self._threads.values():
            each.close(ends_at)
        if self._started:
            for each in self._threads.values():
                each.join(ends_at - time.monotonic())
        with self._lock:
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    def status(self) -> List[ServiceStatus]:
        """One a service, for metrics."""
        return [each.status() for each in self._senders.values()]

    def step(self) -> Dict[str, Optional[float]]:
        """What the threads do, once a service: for tests, and for a program that wants no threads."""
        return {name: each.step() for name, each in self._senders.items()}

    def _put(self, notification: Notification, services: List[str]) -> Put:
        message = Message(notification, self._clock.stamp())
        content = message.to_bytes()
        with self._lock:
            self._number += 1
            problems = [self._senders[each].add(self._number, message, content) for each in services]
        for each in services:
            self._threads[each].wake()
        return Put(tuple(services), next((each for each in problems if each), ""))

    def _tell_others(self, notification: Notification, service: str) -> None:
        self._put(notification, [each for each in self._senders if each != service])

    def _sender(self, notifier: Notifier, jitter: Optional[Callable[[], float]]) -> Sender:
        if not _NAME.fullmatch(notifier.service):
            raise UsageError(f"{notifier.service!r} is no name of a service", operation="open outbox")
        if isinstance(notifier, OnceOnly):
            # It notes a message before it is sent: a kill in between would lose it.
            raise UsageError(
                f"the notifier of {notifier.service} remembers what it sent",
                operation="open outbox",
                hint="call notifiers_for without state_dir: the outbox remembers that itself",
            )
        waiting = Waiting(notifier.paces, self._settings, jitter) if jitter else Waiting(notifier.paces, self._settings)
        shelf = Shelf(self._directory / notifier.service)
        return Sender(shelf, notifier, self._settings, self._clock, waiting, self._tell_others)

    def _expire_others(self) -> None:
        for name in services_in(self._directory):
            if name not in self._senders:
                Shelf(self._directory / name).expire_all(self._settings.expires_seconds)


def _take_lock(directory: Path) -> int:
    try:
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE)
    except OSError as exc:
        raise files.translate_os_error(exc, "open outbox", directory) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise Busy(
            "another process sends from it",
            operation="open outbox",
            subject=str(directory),
            hint="one monitor a host; see: systemctl status baileys-resilience-monitor",
        ) from exc
    return descriptor
