# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The same news once: fingerprints and when they were sent, in a small file that processes share.

Format: ``{"format": "baileys-resilience/notified", "version": 1, "sent": {"<sha256>": <unix time>}}``. A file that is
lost or broken costs one repeated notification and is written anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Sequence, Tuple

from .. import files
from ..errors import ResilienceError
from .model import Delivery, Notification, Notifier, Pace

FORMAT = "baileys-resilience/notified"
VERSION = 1
# Whoever holds it syncs a file, which took more than half a second on a busy disk.
_LOCK_SECONDS = 5.0
_POLL_SECONDS = 0.01


class Ledger:
    """What was sent when. ``clock`` is a setting of tests."""

    def __init__(self, path: files.PathLike, window_seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._window_seconds = window_seconds
        self._clock = clock

    def claim(self, *names: str) -> Optional[float]:
        """Take the right to send this now: None when it is ours, otherwise how many seconds ago somebody took it.

        It is recorded before the sending, so that of two processes with the same news one sends it.
        """
        name = _digest(names)
        with self._locked():
            # Under the lock: a time taken before it is earlier than what another process has written meanwhile.
            now = self._clock()
            sent = self._read(now)
            if name in sent:
                return max(0.0, now - sent[name])
            self._write({**sent, name: now})
        return None

    def release(self, *names: str) -> None:
        """Give the right back: it was not sent after all."""
        with self._locked():
            sent = self._read(self._clock())
            if sent.pop(_digest(names), None) is not None:
                self._write(sent)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        files.make_private_directory(self._path.parent)
        # A file of its own: the ledger is replaced at each change, and a lock on it would go with the old one.
        descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, files.FILE_MODE)
        try:
            limit = time.monotonic() + _LOCK_SECONDS
            while not _try_lock(descriptor):
                if time.monotonic() >= limit:
                    raise TimeoutError("the ledger is locked")
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _read(self, now: float) -> Dict[str, float]:
        try:
            content = json.loads(self._path.read_bytes())
            sent = content["sent"] if content.get("format") == FORMAT and content.get("version") == VERSION else {}
            # A time far ahead is from before the clock was set back: it must not silence us for a year.
            return {
                name: float(moment) for name, moment in sent.items() if abs(now - float(moment)) < self._window_seconds
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write(self, sent: Dict[str, float]) -> None:
        files.write_json(self._path, {"format": FORMAT, "version": VERSION, "sent": sent})


class OnceOnly:
    """A notifier that leaves out what was sent to its service within the window. Without a fingerprint all is sent."""

    def __init__(self, notifier: Notifier, ledger: Ledger) -> None:
        self._notifier = notifier
        self._ledger = ledger

    @property
    def service(self) -> str:
        return self._notifier.service

    @property
    def budget_seconds(self) -> float:
        return self._notifier.budget_seconds

    @property
    def paces(self) -> Sequence[Pace]:
        return self._notifier.paces

    @property
    def settings_digest(self) -> str:
        return self._notifier.settings_digest

    def send(self, notification: Notification) -> Delivery:
        if not notification.fingerprint:
            return self._notifier.send(notification)
        names = (self.service, notification.fingerprint)
        try:
            age = self._ledger.claim(*names)
        except (OSError, ResilienceError):
            # Twice is better than never: a full disk is often what the notification is about.
            return self._notifier.send(notification)
        if age is not None:
            return Delivery(True, f"not sent again, the same was sent {age:.0f} s ago", self.service)
        delivery = self._notifier.send(notification)
        if not delivery.ok:
            self._give_back(names)
        return delivery

    def _give_back(self, names: Tuple[str, ...]) -> None:
        try:
            self._ledger.release(*names)
        except (OSError, ResilienceError):
            pass  # the window ends by itself


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(names: Tuple[str, ...]) -> str:
    """Fingerprints may name companies; of the file only equality is asked."""
    return hashlib.sha256("\0".join(names).encode("utf-8", "replace")).hexdigest()
