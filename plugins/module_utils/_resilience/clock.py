# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Times are UTC, ISO 8601 with a Z, microseconds."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Mapping

from .errors import UsageError

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Clock:
    """Both clocks of a host, in seconds; tests have one of their own. ``boot`` names this run of the kernel: within it,
    the monotonic clock goes on through a restart of the process, whatever is done to the wall clock.
    """

    def __init__(self) -> None:
        try:
            self.boot = Path(_BOOT_ID).read_text("ascii").strip()
        except OSError:
            self.boot = ""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def stamp(self) -> Dict[str, Any]:
        """Now, to be written down; :meth:`seconds_since` reads it."""
        return {"wall": self.wall(), "monotonic": self.monotonic(), "boot": self.boot}

    def seconds_since(self, stamp: Mapping[str, Any]) -> float:
        """Never negative. By the monotonic clock within one boot, otherwise by the wall clocks of then and now."""
        elapsed = self.monotonic() - float(stamp["monotonic"])
        if self.boot and stamp["boot"] == self.boot and elapsed >= 0:
            return elapsed
        return max(0.0, self.wall() - float(stamp["wall"]))


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def from_seconds(seconds: float) -> datetime:
    """Of seconds since 1970."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def to_iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime(FORMAT)


def now_iso() -> str:
    return to_iso(utc_now())


def from_iso(text: str) -> datetime:
    """Read what :func:`to_iso` or PostgreSQL in UTC (``2026-01-31T03:00:00.25+00``) wrote."""
    plain = re.sub(r"(Z|\+00(:?00)?)$", "", text.replace(" ", "T", 1))
    for pattern in ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(plain, pattern).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    raise UsageError("is not a time", operation="read", subject=repr(text), hint="write times as 2026-01-31T03:00:00Z")


def age_seconds(text: str) -> float:
    """Seconds between ``text`` and now; never negative (clocks differ)."""
    return max(0.0, (utc_now() - from_iso(text)).total_seconds())


def seconds_left(of_seconds: float, since: str) -> float:
    """Of a time that began ``since`` (ISO 8601); 0 behind its end. A beginning that is further ahead than that is
    of before the clock was set back: nobody shall wait a year for it.
    """
    gone = (utc_now() - from_iso(since)).total_seconds()
    return 0.0 if gone < -of_seconds else max(0.0, of_seconds - max(0.0, gone))


def in_words(seconds: float) -> str:
    """A duration as one says it: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {lower}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
