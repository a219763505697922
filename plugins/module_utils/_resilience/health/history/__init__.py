# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Thirty days of what the monitor saw, in one SQLite file: times as histograms, figures, and what happened.

::

    recorder, warnings = Recorder.open(path, HistorySettings())
    recorder.time("company 962301", "read", seconds=0.004)
    recorder.figure("client app1", "pool waiting", 3)
    recorder.event(Event("alert", "database db:5432/wa", title="PostgreSQL takes no connections"))
    warnings = recorder.flush()                      # about once a minute, from any thread
    Reader(path).times("company 962301", "read", RANGES["30d"].until(now)).total.p95_ms

Percentiles of any window are those of all its values within the error of a histogram (0.8%): histograms are merged,
percentiles never averaged.
"""

from __future__ import annotations

from .model import RANGES, Charts, Event, HistorySettings, HistoryStatus, HistoryWarning, Window
from .reader import Reader
from .recorder import Recorder

__all__ = [
    "RANGES",
    "Charts",
    "Event",
    "HistorySettings",
    "HistoryStatus",
    "HistoryWarning",
    "Reader",
    "Recorder",
    "Window",
]
