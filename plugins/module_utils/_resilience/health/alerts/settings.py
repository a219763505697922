# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Every limit and every time of the alerts. Each is a setting; an error names the one that cannot be meant."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Dict, Mapping, Tuple

from ...errors import UsageError
from ..thresholds import KeyThresholds, LatencyThresholds, PoolThresholds, check

_DAY = 86400.0
_LONGEST = 366 * _DAY
#: of settings that have other limits than "0 or more": lowest, highest
_LIMITS: Mapping[str, Tuple[float, float]] = {
    "pool_used_percent": (0.0, 100.0),
    "disk_used_percent": (0.0, 100.0),
    "slow_queries": (1, math.inf),
    "slow_window_seconds": (1.0, _DAY),
    "baseline_factor": (1.0, math.inf),
    "failures": (1, 100),
    "successes": (1, 100),
    "recheck_seconds": (0.1, 60.0),
    "unknown_after_seconds": (15.0, _DAY),  # three rounds: one that fails is no lack
    "unknown_after_slow_seconds": (1.0, _LONGEST),
    "flap_changes": (1, 1000),
    "flap_window_seconds": (1.0, _DAY),
}


@dataclass(frozen=True)
class AlertSettings:
    """What counts as bad, and when it is told. *More than* a limit is bad; 0 turns ``old_keys`` and ``tables_bytes``
    off.

    ``query_ms``: a query above is slow; ``slow_queries`` of them within ``slow_window_seconds`` are told.
    ``baseline_factor``: P95 against the usual one of the same operation, where it is above ``baseline_floor_ms`` and
    made of ``baseline_samples`` at least.
    ``lag_seconds`` counts only while bytes are missing: an idle primary makes the age of the last commit grow.
    """

    query_ms: float = LatencyThresholds.query_ms
    slow_queries: int = 3
    slow_window_seconds: float = 300.0
    pool_used_percent: float = PoolThresholds.used_percent
    pool_waiting: int = PoolThresholds.waiting
    removable_keys: int = KeyThresholds.removable_keys
    old_keys: int = KeyThresholds.old_keys
    tables_bytes: int = 50 * 1000 * 1000
    lag_bytes: int = 64 * 1024 * 1024
    lag_seconds: float = 30.0
    mirror_age_seconds: float = 60.0
    backup_age_seconds: float = 26 * 3600.0
    disk_used_percent: float = 90.0
    baseline_factor: float = 3.0
    baseline_floor_ms: float = 50.0
    baseline_samples: int = 100

    #: looks in a row that make a trouble, and that end it
    failures: int = 3
    successes: int = 3
    recheck_seconds: float = 0.75
    #: a slow trouble must last so long, and what a greater one explains gets so long behind its end
    hold_seconds: float = 15.0
    grace_seconds: float = 30.0
    #: without data for so long, nobody knows; the other is for what is counted hourly
    unknown_after_seconds: float = 60.0
    unknown_after_slow_seconds: float = 3 * 3600.0
    #: after the alert; the last one again and again
    repeat_seconds: Tuple[float, ...] = (300.0, 900.0, 3600.0)
    #: more changes than that in the window are flapping, until the window is without any
    flap_changes: int = 3
    flap_window_seconds: float = 600.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "repeat_seconds":
                _check_repeats(value)
                continue
            _check_number(each.name, value, whole=isinstance(each.default, int))
            check(f"alerts.{each.name}", value, *_LIMITS.get(each.name, (0.0, math.inf)))

    @staticmethod
    def from_mapping(content: Mapping[str, Any]) -> AlertSettings:
        """Raises UsageError for a name that is no setting: a limit with a typing error would be the default."""
        known = [each.name for each in fields(AlertSettings)]
        for name in content:
            if name not in known:
                raise _wrong(str(name), "there is no such setting", f"choose among {', '.join(known)}")
        values: Dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in content.items()
        }
        return AlertSettings(**values)


def _check_number(name: str, value: Any, *, whole: bool) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise _wrong(name, f"{value!r} is no {'whole ' if whole else ''}number", "set it to a number without quotes")
    if not math.isfinite(value):
        raise _wrong(name, f"{value!r} is no number", "set it to a number")


def _check_repeats(value: Any) -> None:
    if not isinstance(value, tuple) or not value:
        raise _wrong("repeat_seconds", f"{value!r} is no list of times", "set it to seconds such as [300, 900, 3600]")
    last = 0.0
    for each in value:
        _check_number("repeat_seconds", each, whole=False)
        check("alerts.repeat_seconds", each, 1.0, _LONGEST)
        if each <= last:
            raise _wrong(
                "repeat_seconds", "its times do not grow", "set it to growing seconds such as [300, 900, 3600]"
            )
        last = each


def _wrong(name: str, cause: str, hint: str) -> UsageError:
    return UsageError(cause, operation="read", subject=f"alerts.{name}", hint=hint)
