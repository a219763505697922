# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which rows make up a window. Rows of a minute are merged into those of ten minutes, and so on: a chart of 30 days
reads 120 rows and not 43,200.

A tier is *closed* until a time: all that is earlier is in its rows. Behind that only finer tiers know. A tier is
*trimmed* until a time when its older rows had to go: before it only coarser tiers know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, NamedTuple

MINUTE = 60
TIERS = (MINUTE, 600, 3600, 21600, 86400)
#: what each is made of
FINER: Dict[int, int] = dict(zip(TIERS[1:], TIERS))


class Segment(NamedTuple):
    """Rows of ``tier`` that begin at ``start`` or later and before ``end``; both are multiples of it."""

    tier: int
    start: int
    end: int


@dataclass(frozen=True)
class Known:
    """``closed`` and ``trimmed`` by tier, seconds since 1970."""

    closed: Mapping[int, int] = field(default_factory=dict)
    trimmed: Mapping[int, int] = field(default_factory=dict)

    def closed_until(self, tier: int) -> float:
        return math.inf if tier == MINUTE else self.closed.get(tier, 0)

    def trimmed_until(self, tier: int) -> int:
        return self.trimmed.get(tier, 0)

    def finest_at(self, moment: int) -> int:
        """The finest tier that still has rows of then."""
        return next((tier for tier in TIERS if floor(moment, tier) >= self.trimmed_until(tier)), TIERS[-1])


def floor(moment: float, step: int) -> int:
    return int(moment // step) * step


def ceil(moment: float, step: int) -> int:
    return -floor(-moment, step)


def cover(start: int, end: int, coarsest: int, known: Known) -> List[Segment]:
    """The fewest rows, in order, that are exactly [start, end): none of a tier coarser than ``coarsest``. ``start``
    must be a multiple of the finest tier that is there at that time, ``end`` of a minute.
    """
    if start >= end:
        return []
    tiers = [tier for tier in TIERS if tier <= coarsest]
    return _cover(start, end, tiers, known) if tiers else []


def _cover(start: int, end: int, tiers: List[int], known: Known) -> List[Segment]:
    tier = tiers[-1]
    inner_start = max(ceil(start, tier), ceil(known.trimmed_until(tier), tier))
    inner_end = floor(min(end, known.closed_until(tier)), tier)
    if inner_start >= inner_end:
        return _cover(start, end, tiers[:-1], known) if len(tiers) > 1 else []
    inner = [Segment(tier, inner_start, inner_end)]
    if len(tiers) == 1:
        return inner
    left = _cover(start, inner_start, tiers[:-1], known) if start < inner_start else []
    right = _cover(inner_end, end, tiers[:-1], known) if inner_end < end else []
    return [*left, *inner, *right]
