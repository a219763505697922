# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What goes into the history, what comes out of it, and what can be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from ...errors import UsageError
from . import tiers

#: what is taken for a series when there are too many: their times are one series then
OTHERS = "(others)"
MOST_POINTS = 300
#: series in one answer: a time takes 15 ms to read, a figure 1 ms, and somebody waits
MOST_TIMES, MOST_FIGURES = 10, 60
#: kinds of warnings
CORRUPT, NO_ROOM, TRIMMED, FOLDED, UNWRITTEN = "corrupt", "no_room", "trimmed", "folded", "unwritten"
_LONGEST = 400 * 86400


@dataclass(frozen=True)
class HistorySettings:
    """
    - ``days``: what is older goes, once a day.
    - ``most_bytes``: the file grows no larger. What goes first: rows of single minutes (but for the last two hours),
      then of ten minutes (but for a day), of hours (but for a week), of six hours, of days; in each, the oldest. No
      chart of the four ranges needs what goes in the first three. Beside it lies a log of up to 16 MB.
    - ``most_series``: of times, and of figures. More of them would be a mistake in the naming, or thousands of
      companies: the times of the rest are recorded as one, ``(others)``, and their figures not at all.
    - ``most_events``: the oldest go first.
    """

    days: int = 30
    most_bytes: int = 512 * 1024 * 1024
    most_series: int = 1000
    most_events: int = 50_000

    def __post_init__(self) -> None:
        for name, least in (("days", 1), ("most_bytes", 1024 * 1024), ("most_series", 1), ("most_events", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"is {getattr(self, name)!r}", operation="read setting", subject=name, hint=f"give at least {least}"
                )


class Window(NamedTuple):
    """[start, end) in seconds since 1970, cut into points of ``step`` seconds."""

    start: int
    end: int
    step: int

    @staticmethod
    def between(start: float, end: float, points: int = 120) -> Window:
        """Any window, with at most about ``points`` points. Start and end are widened to whole points."""
        if not 0 < end - start <= _LONGEST:
            raise UsageError("the window has no length, or is longer than 400 days", operation="read history")
        wanted = (end - start) / max(1, min(points, MOST_POINTS))
        step = next((tier for tier in tiers.TIERS if tier >= wanted), tiers.ceil(wanted, tiers.TIERS[-1]))
        return Window(tiers.floor(start, step), tiers.ceil(end, step), step)


class Range(NamedTuple):
    """A window that ends now."""

    seconds: int
    step: int

    def until(self, now: float) -> Window:
        """``now`` is in its last point."""
        end = tiers.floor(now, self.step) + self.step
        return Window(end - self.seconds, end, self.step)


RANGES: Dict[str, Range] = {
    "1h": Range(3600, 60),
    "24h": Range(86400, 600),
    "7d": Range(7 * 86400, 3600),
    "30d": Range(30 * 86400, 21600),
}


class Percentiles(NamedTuple):
    """Of all values of a time, in milliseconds; None where there were none. ``max_ms`` is exact."""

    samples: int = 0
    p50_ms: Optional[float] = None
    p95_ms: Optional[float] = None
    p99_ms: Optional[float] = None
    max_ms: Optional[float] = None


class TimesPoint(NamedTuple):
    at: int
    values: Percentiles


@dataclass(frozen=True)
class Times:
    """``window`` is what was read: a time of which only coarser rows are left has a longer step than was asked for.
    Points without values are not in ``points``.
    """

    window: Window
    total: Percentiles
    points: Tuple[TimesPoint, ...] = ()


class FiguresPoint(NamedTuple):
    """``mean`` is of all values of the time; ``last`` the newest of them."""

    at: int
    samples: int
    mean: float
    least: float
    most: float
    last: float


@dataclass(frozen=True)
class Figures:
    window: Window
    points: Tuple[FiguresPoint, ...] = ()


@dataclass(frozen=True)
class Charts:
    """Series by subject and name. ``window`` is that of all of them."""

    window: Window
    times: Mapping[Tuple[str, str], Times]
    figures: Mapping[Tuple[str, str], Figures]
    left_off: int = 0


@dataclass(frozen=True)
class Event:
    """Something that happened. ``kind`` is a notice's (alert, recovery, ...) or ``error``; ``at`` is set when it is
    recorded.
    """

    kind: str
    subject: str
    cause: str = ""
    severity: str = ""
    title: str = ""
    text: str = ""
    duration_seconds: float = 0.0
    at: float = 0.0

    def as_dict(self) -> Dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class HistoryWarning:
    """What somebody should be told of. ``detail`` is a sentence; ``path`` the file that was put aside, if one was."""

    kind: str
    detail: str
    path: str = ""


@dataclass(frozen=True)
class HistoryStatus:
    """``oldest`` is the begin of the oldest row by tier, ``trimmed`` until when rows had to go for lack of room;
    ``folded`` counts values of series that were too many, ``pending_minutes`` those that could not be written yet.
    """

    bytes: int
    most_bytes: int
    series: int
    events: int
    oldest: Mapping[int, int] = field(default_factory=dict)
    trimmed: Mapping[int, int] = field(default_factory=dict)
    folded: int = 0
    pending_minutes: int = 0

    def as_dict(self) -> Dict[str, Any]:
        return {**vars(self), "oldest": dict(self.oldest), "trimmed": dict(self.trimmed)}
