# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The words of ``baileys-resilience monitor``, ``health`` and ``silence``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ...errors import UsageError
from ...progress import Progress
from .commands import Told, health, once, run, silence
from .configuration import load_monitor_settings
from .watching import watched

DEFAULT_CONFIG = "/etc/baileys-resilience/monitor.json"
COMMANDS = ("monitor", "health", "silence")
_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def add_arguments(
    monitor: argparse.ArgumentParser, board: argparse.ArgumentParser, quiet: argparse.ArgumentParser
) -> None:
    monitor.add_argument(
        "--once", action="store_true", help="look once, show it, and end with 0 ok, 1 warning, 2 critical, 3 unknown"
    )
    board.add_argument(
        "--watch", nargs="?", type=float, const=10.0, metavar="SECONDS", help="again and again (default: each 10 s)"
    )
    quiet.add_argument("seconds", metavar="TIME", type=duration, help="for so long, such as 30min, 2h, 1d; 0 ends it")
    quiet.add_argument("--subject", default="", help="only of this one, as an alert names it: 'client app'")


def duration(text: str) -> float:
    """Seconds. Raises ArgumentTypeError, which argparse shows."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or found.group(2) not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 30min, 2h or 1d")
    return float(found.group(1)) * _UNITS[found.group(2)]


def dispatch(options: argparse.Namespace, progress: Progress) -> Told:
    """``options.config`` empty: where the role writes it."""
    settings = load_monitor_settings(Path(options.config or DEFAULT_CONFIG))
    if options.command == "monitor":
        return once(settings) if options.once else run(settings, progress)
    if options.command == "health":
        return health(settings) if options.watch is None else watched(settings, options.watch, as_json=options.json)
    if options.command == "silence":
        return silence(settings, options.seconds, options.subject)
    raise UsageError("no such command", operation="monitor", subject=str(options.command))
