# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any window is covered once, by rows that are there, and by few of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baileys_resilience.errors import UsageError
from baileys_resilience.health.history import RANGES, Window
from baileys_resilience.health.history.model import MOST_POINTS
from baileys_resilience.health.history.tiers import FINER, MINUTE, TIERS, Known, ceil, cover, floor

DAY = 86400


@st.composite
def known(draw: st.DrawFn) -> Known:
    """As the recorder leaves it: a coarser tier is closed no later, and rows go only where a coarser one is closed."""
    closed, last = {}, draw(st.integers(0, 40 * DAY))
    for tier in FINER:
        last = closed[tier] = floor(last, tier)
    trimmed, limit = {}, draw(st.integers(0, 40 * DAY))
    for tier in TIERS[:-1]:
        coarser = next(each for each in TIERS if each > tier)
        limit = trimmed[tier] = floor(min(limit, closed[coarser]), coarser)
        limit = draw(st.integers(0, limit))
    return Known(closed, trimmed)


@settings(max_examples=500, deadline=None)
@given(known(), st.integers(0, 40 * DAY), st.integers(1, 31 * DAY), st.sampled_from(TIERS))
def test_a_window_is_covered_exactly_once_by_rows_that_are_there(
    what: Known, begin: int, length: int, coarsest: int
) -> None:
    start = floor(begin, what.finest_at(begin))
    if coarsest < what.finest_at(start):
        coarsest = what.finest_at(start)
    end = ceil(start + length, coarsest)
    segments = cover(start, end, coarsest, what)
    assert [segments[0].start, segments[-1].end] == [start, end]
    assert all(one.end == two.start for one, two in itertools.pairwise(segments))
    for each in segments:
        assert each.tier <= coarsest
        assert each.start % each.tier == each.end % each.tier == 0
        assert what.trimmed_until(each.tier) <= each.start
        assert each.end <= what.closed_until(each.tier)


def test_thirty_days_are_few_rows() -> None:
    now = 20_000 * DAY + 12 * 3600 + 42 * 60
    what = Known({tier: floor(now, tier) for tier in FINER})
    number = {
        # Behind now there are none; looking for them costs nothing.
        name: sum((min(each.end, now) - each.start) // each.tier for each in cover(*each_range.until(now), what))
        for name, each_range in RANGES.items()
    }
    assert number == {"1h": 59, "24h": 143 + 2, "7d": 167 + 4 + 2, "30d": 119 + 4 + 2}


def test_the_ranges_end_with_the_point_that_is_under_way() -> None:
    for name, points in (("1h", 60), ("24h", 144), ("7d", 168), ("30d", 120)):
        window = RANGES[name].until(1_000_000_123)
        assert (window.end - window.start) // window.step == points <= MOST_POINTS
        assert window.end - window.step <= 1_000_000_123 < window.end
        assert window.start % window.step == 0


@given(st.integers(1, 400 * DAY), st.integers(1, 500))
def test_a_window_of_any_length_has_few_points(length: int, points: int) -> None:
    window = Window.between(1_000_000_007, 1_000_000_007 + length, points)
    assert (window.end - window.start) // window.step <= min(points, MOST_POINTS) + 2
    assert window.step % MINUTE == 0
    assert window.start <= 1_000_000_007
    assert 1_000_000_007 + length <= window.end


@pytest.mark.parametrize("length", [0, -1, 401 * DAY])
def test_a_window_that_is_none_is_refused(length: int) -> None:
    with pytest.raises(UsageError):
        Window.between(10, 10 + length)
