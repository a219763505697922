# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Rules and board as the one thing that a monitor holds."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping

from . import saved
from .board import Board
from .model import Key, Moment, Step, Subject
from .readings import Reading
from .rules import Rules
from .settings import AlertSettings


class Alerts:
    """::

    alerts = Alerts(AlertSettings())
    step = alerts.step(readings, moment)   # send step.notices; look again after step.look_again_seconds
    """

    def __init__(self, settings: AlertSettings) -> None:
        self.rules = Rules(settings)
        self.board = Board(settings)

    def step(self, readings: Iterable[Reading], now: Moment) -> Step:
        """One round, with whatever was looked at. Call it without readings too when a round brought none."""
        return self.board.step(self.rules.judge(readings, now), now)

    def retire(self, subject: Subject) -> List[Key]:
        """Forget a subject that is no longer watched; the keys whose incident was told and now has no end."""
        self.rules.retire(subject)
        return self.board.retire(subject)

    def to_dict(self, now: Moment, boot: str) -> Dict[str, Any]:
        """All that a restart must not lose. ``boot`` names this run of the kernel (its boot_id): within one, durations
        go on exactly, whatever the wall clock did.
        """
        return saved.to_dict(self.board, self.rules, now, boot)

    @staticmethod
    def from_dict(content: Mapping[str, Any], settings: AlertSettings, now: Moment, boot: str) -> Alerts:
        """Raises StoreError for content that is damaged, or of another version."""
        alerts = Alerts(settings)
        saved.load(content, alerts.board, alerts.rules, now, boot)
        return alerts
