# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the monitor keeps on disk: its alerts, so that a restart neither repeats nor forgets; and what a human has asked
of it meanwhile.

Format: docs/formats.md.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any, Optional, Tuple

from ...clock import utc_now
from ...errors import ResilienceError, StoreError
from ...files import make_private_directory, translate_os_error, write_json
from ..alerts.core import Alerts
from ..alerts.model import Moment
from ..alerts.settings import AlertSettings

ALERTS_FILE = "alerts.json"
DAMAGED_SUFFIX = ".damaged"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Of this run of the kernel. Where nobody tells, each process has one of its own: then the wall clock counts."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        return str(uuid.uuid4())


class AlertFile:
    """``alerts.json`` in the monitor's state directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / ALERTS_FILE
        self._boot = boot_id()

    def load(self, settings: AlertSettings, now: Moment) -> Tuple[Alerts, str]:
        """The alerts of before, and a sentence where they could not be read: the file is set aside, all begins anew.
        Raises StoreError where the directory cannot be used at all.
        """
        make_private_directory(self.path.parent)
        try:
            content = self._read()
            return (Alerts(settings) if content is None else self._from(content, settings, now)), ""
        except _Damaged as error:
            aside = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
            try:
                os.replace(self.path, aside)
            except OSError as exc:
                raise translate_os_error(exc, "set aside", self.path) from exc
            return Alerts(settings), f"the saved alerts were damaged and are now {aside}: {error}"

    def save(self, alerts: Alerts, now: Moment) -> None:
        """Raises StoreError."""
        write_json(self.path, alerts.to_dict(now, self._boot))

    def _read(self) -> Optional[Any]:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise translate_os_error(exc, "read", self.path) from exc
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise _Damaged("it is no JSON") from exc

    def _from(self, content: Any, settings: AlertSettings, now: Moment) -> Alerts:
        try:
            return Alerts.from_dict(content, settings, now, self._boot)
        except StoreError as exc:
            raise _Damaged(exc.cause) from exc


class _Damaged(Exception):
    pass


REQUESTS = "requests"
#: one that nobody came for in a day was meant for a monitor that is gone
_REQUEST_SECONDS = 86400.0


def leave_request(directory: Path, content: Any, owner: Optional[Tuple[int, int]]) -> Path:
    """For the running monitor. Who may write into its directory may ask: root, and its own user."""
    place = directory / REQUESTS
    if not place.is_dir():
        raise StoreError(
            "there is no place for requests",
            operation="ask the monitor",
            subject=str(place),
            hint="the monitor makes it when it starts: systemctl status baileys-resilience-monitor",
        )
    path = place / f"{utc_now().strftime('%Y%m%dT%H%M%S.%f')}-{uuid.uuid4().hex[:8]}.json"
    write_json(path, content, owner=owner)
    return path


class Requests:
    """What was asked, oldest first; each is taken once."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / REQUESTS
        make_private_directory(self._place)

    def take(self) -> Tuple[Any, ...]:
        found = []
        for path in sorted(self._place.glob("[0-9]*.json")):
            try:
                if utc_now().timestamp() - path.stat().st_mtime < _REQUEST_SECONDS:
                    found.append(json.loads(path.read_text("utf-8")))
                path.unlink()
            except (OSError, ValueError, ResilienceError):
                path.unlink(missing_ok=True)
        return tuple(found)
