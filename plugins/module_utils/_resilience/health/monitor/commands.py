# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What ``baileys-resilience monitor``, ``health`` and ``silence`` do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from ...clock import in_words
from ...errors import Busy, ResilienceError, UsageError
from ...files import make_private_directory, owner_of_directory
from ...locks import held
from ...progress import Progress
from ..alerts.core import Alerts
from ..alerts.model import SUBJECT_KINDS, Subject
from ..findings import CRITICAL, OK, UNKNOWN, WARNING
from .asking import LATENCY_PATH, STATUS_PATH, ask_monitor
from .configuration import MonitorSettings
from .deliveries import opened_delivery
from .loop import moment
from .memory import opened_memory
from .once import first_sight, looked_at
from .saved import leave_request
from .service import Monitor, sources_of
from .status import as_status, lines
from .terminal import StatusBoard, board_of

LOCK = "monitor.lock"
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
    board: Optional[StatusBoard] = None


def run(settings: MonitorSettings, progress: Progress) -> Told:
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
    with contextlib.ExitStack() as opened:
        opened.enter_context(held(state / LOCK, 0.0, busy))
        delivery = opened.enter_context(opened_delivery(settings, progress))
        memory = opened.enter_context(opened_memory(settings, progress))
        Monitor(settings, progress, delivery, memory).run()
    return Told({"stopped": True}, ["monitor: stopped"])


def once(settings: MonitorSettings) -> Told:
    """Look at everything once, judge each look as it is, and end like a monitoring plugin. Nothing is told or kept."""
    found = looked_at(sources_of(settings))
    alerts = Alerts(settings.alerts)
    published = first_sight(alerts, found, moment())
    return Told(as_status(published), lines(published), EXIT_CODES[published.status])


def health(settings: MonitorSettings) -> Told:
    """What the monitor of this host knows, or, where none answers, one look of our own."""
    remarks: List[str] = []
    try:
        content = _asked(settings)
    except ResilienceError as error:
        content = once(settings).content
        if settings.listen.port:
            remarks = [f"No monitor answers ({error.cause}), so this is one look. Run: {error.hint}"]
    board = board_of(content, remarks, status=WARNING if remarks else OK)
    told = {**content, "status": board.status, "remarks": list(board.remarks)}
    return Told(told, [line for _status, line in board.lines()], EXIT_CODES[board.status], board)


def _asked(settings: MonitorSettings) -> Dict[str, Any]:
    content = ask_monitor(settings.listen, STATUS_PATH)
    with contextlib.suppress(ResilienceError):
        content["latency"] = ask_monitor(settings.listen, LATENCY_PATH).get("operations", [])
    return content


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
