# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Percentiles of times that were measured one by one, and of histograms that somebody else filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

NEAREST_RANK = "nearest-rank"
INTERPOLATED = "interpolated in buckets"


def nearest_rank(values: Sequence[float], percent: float) -> Optional[float]:
    """The smallest value that ``percent`` of all are not above: always one that was measured. None without values."""
    if not values:
        return None
    ordered = sorted(values)
    # Rounded first: 0.07 * 100 is 7.000000000000001, and its ceiling would be a rank too many.
    rank = math.ceil(round(percent / 100.0 * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


@dataclass(frozen=True)
class Summary:
    """Milliseconds."""

    samples: int
    p50_ms: Optional[float]
    p95_ms: Optional[float]
    p99_ms: Optional[float]
    max_ms: Optional[float]
    method: str = NEAREST_RANK

    def as_dict(self) -> Dict[str, object]:
        return dict(vars(self))


def summary_of(seconds: Sequence[float]) -> Summary:
    p50, p95, p99, most = (_ms(nearest_rank(seconds, percent)) for percent in (50, 95, 99, 100))
    return Summary(len(seconds), p50, p95, p99, most)


def summary_of_histogram(buckets: Sequence[Tuple[float, float]]) -> Summary:
    """Of cumulative buckets (upper limit in seconds, number), as Prometheus has them. The largest value is not in
    them.
    """
    total = buckets[-1][1] if buckets else 0.0
    p50, p95, p99 = (_ms(interpolated(buckets, percent)) for percent in (50, 95, 99))
    return Summary(int(total), p50, p95, p99, None, INTERPOLATED)


def interpolated(buckets: Sequence[Tuple[float, float]], percent: float) -> Optional[float]:
    """The percentile, as if values lay evenly in their bucket. Beyond the last finite limit it is that limit, so at
    least that; None without values.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    rank = percent / 100.0 * total
    lower, before = 0.0, 0.0
    for limit, number in buckets:
        if number >= rank and number > before:
            return lower if math.isinf(limit) else lower + (limit - lower) * (rank - before) / (number - before)
        lower, before = limit, number
    return lower


def _ms(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else round(seconds * 1000.0, 3)
