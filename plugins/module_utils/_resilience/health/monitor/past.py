# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``/api/history``: what was, in columns of at most 300 points, as a chart takes them."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional, Tuple

from ...clock import from_seconds, to_iso, utc_now
from ...errors import UsageError
from ..history import RANGES, Charts, Event, Window
from .memory import Memory
from .server import JSON, Page, Query, json_page

_DEFAULT_RANGE = "1h"
_PARAMETERS = ("range", "subject")
_MOST_EVENTS = 200
#: answers that are kept: four ranges, of all and of a few subjects
_MOST_KEPT = 16


class Past:
    """Each answer is kept until the history was written again, or its window moved on, however many ask."""

    def __init__(self, memory: Optional[Memory]) -> None:
        self._memory = memory
        self._kept: Dict[Tuple[str, str], Tuple[Tuple[int, Window], bytes]] = {}

    def show(self, query: Query) -> Page:
        """Raises UsageError for a question that cannot be meant, StoreError for a history that cannot be read."""
        wanted, subject = _asked(query)
        window = RANGES[wanted].until(utc_now().timestamp())
        if self._memory is None:
            return json_page({"range": wanted, **_window(window), **_NOTHING, "problem": "no history is kept"})
        state = (self._memory.written, window)
        kept = self._kept.get((wanted, subject))
        if kept is None or kept[0] != state:
            charts = self._memory.reader.charts(window, subject or None)
            events = self._memory.reader.events(window, subject=subject or None, limit=_MOST_EVENTS)
            content = {"range": wanted, **_window(charts.window), **as_columns(charts), "events": _events(events)}
            kept = (state, (json.dumps(content, separators=(",", ":")) + "\n").encode())
            if len(self._kept) >= _MOST_KEPT:
                self._kept = {}
            self._kept[wanted, subject] = kept
        return Page(200, JSON, kept[1])


_NOTHING: Dict[str, Any] = {"times": [], "figures": [], "left_off": 0, "events": []}


def _asked(query: Query) -> Tuple[str, str]:
    for name in query:
        if name not in _PARAMETERS:
            raise UsageError(
                "there is no such parameter",
                operation="read history",
                subject=name[:40],
                hint=f"give {' or '.join(_PARAMETERS)}",
            )
    wanted = query.get("range", _DEFAULT_RANGE)
    if wanted not in RANGES:
        raise UsageError(
            f"{wanted[:40]!r} is no range",
            operation="read history",
            subject="range",
            hint=f"choose among {', '.join(RANGES)}",
        )
    return wanted, query.get("subject", "")


def _window(window: Window) -> Dict[str, int]:
    return {"start": window.start, "end": window.end, "step": window.step}


def as_columns(charts: Charts) -> Dict[str, Any]:
    """``at`` are the begins of all points, in seconds since 1970; the columns of each series are as long, with null
    where nothing is known.
    """
    window = charts.window
    grid = range(window.start, window.end, window.step)
    times = []
    for (subject, operation), found in charts.times.items():
        points = {each.at: each.values for each in found.points}
        columns = {
            name: [_short(getattr(points[at], name)) if at in points else None for at in grid]
            for name in ("p50_ms", "p95_ms", "p99_ms")
        }
        times.append({"subject": subject, "operation": operation, **columns, "total": found.total._asdict()})
    figures = []
    for (subject, name), series in charts.figures.items():
        known = {each.at: each for each in series.points}
        columns = {
            column: [_short(getattr(known[at], column)) if at in known else None for at in grid]
            for column in ("mean", "least", "most")
        }
        figures.append({"subject": subject, "name": name, **columns, "last": _last(columns["mean"])})
    return {"at": list(grid), "times": times, "figures": figures, "left_off": charts.left_off}


def _last(column: List[Optional[float]]) -> Optional[float]:
    return next((each for each in reversed(column) if each is not None), None)


def _short(value: Optional[float]) -> Optional[float]:
    """Charts have fewer pixels than floats have digits."""
    return None if value is None else round(value, 3)


def _events(events: List[Event]) -> List[Dict[str, Any]]:
    return [{**each.as_dict(), "at": to_iso(from_seconds(each.at))} for each in events]
