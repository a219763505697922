# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What counts as too slow, too full or too many. Every limit is a setting; results name those that were used."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UsageError

#: a longer deadline is none
LONGEST_SECONDS = 86400.0


def check(subject: str, value: float, lowest: float, highest: float = math.inf) -> None:
    """Raise UsageError for a number outside of the limits, or for none (nan)."""
    if lowest <= value <= highest:
        return
    limits = f"{lowest:g} or more" if math.isinf(highest) else f"between {lowest:g} and {highest:g}"
    raise UsageError(f"{value:g} is out of range", operation="read", subject=subject, hint=f"set it to {limits}")


def check_deadline(subject: str, seconds: float) -> None:
    check(subject, seconds, 0.1, LONGEST_SECONDS)


def _check_all(thresholds: Any) -> None:
    for each in fields(thresholds):
        check(f"thresholds.{each.name}", getattr(thresholds, each.name), 0.0)


@dataclass(frozen=True)
class LatencyThresholds:
    """Milliseconds at P95. Connecting takes several round trips, and more with TLS, so it has a limit of its own."""

    query_ms: float = 500.0
    connect_ms: float = 1500.0

    def __post_init__(self) -> None:
        _check_all(self)


@dataclass(frozen=True)
class PoolThresholds:
    """``used_percent`` of a pool or of the server's connections, and requests that wait for one: more is a warning."""

    used_percent: float = 80.0
    waiting: int = 5

    def __post_init__(self) -> None:
        _check_all(self)
        check("thresholds.used_percent", self.used_percent, 0.0, 100.0)


@dataclass(frozen=True)
class KeyThresholds:
    """Keys that may go, and keys older than the days asked for: more is a warning. The latter is off (0) by default,
    since keys that must stay grow old too.
    """

    removable_keys: int = 500
    old_keys: int = 0

    def __post_init__(self) -> None:
        _check_all(self)
