# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Percentiles of single values are values; those of histograms lie in the right bucket."""

from __future__ import annotations

import math
import random

import pytest

from baileys_resilience.health.percentiles import (
    INTERPOLATED,
    NEAREST_RANK,
    interpolated,
    nearest_rank,
    summary_of,
    summary_of_histogram,
)


@pytest.mark.parametrize(
    ("percent", "expected"), [(5, 15), (30, 20), (40, 20), (50, 35), (100, 50)], ids=lambda each: str(each)
)
def test_the_worked_example_of_the_nearest_rank_method(percent: float, expected: float) -> None:
    assert nearest_rank([35, 15, 50, 40, 20], percent) == expected


@pytest.mark.parametrize("number", [1, 2, 3, 19, 20, 21, 99, 100, 101, 1000])
def test_that_many_values_are_not_above_it_and_one_less_would_be_too_few(number: int) -> None:
    values = [float(each) for each in range(1, number + 1)]
    random.Random(number).shuffle(values)
    for percent in (50, 95, 99, 100):
        found = nearest_rank(values, percent)
        assert found is not None
        assert found in values
        assert 100 * found >= percent * number, "fewer values than that are at or below it"
        assert 100 * (found - 1) < percent * number, "a smaller value would do"


def test_a_share_that_floating_point_makes_a_little_too_large_takes_no_rank_too_many() -> None:
    values = [float(each) for each in range(1, 101)]
    assert [nearest_rank(values, each) for each in (7, 14, 28, 55, 56)] == [7, 14, 28, 55, 56]


def test_without_values_there_is_no_percentile() -> None:
    assert nearest_rank([], 50) is None
    empty = summary_of([])
    assert (empty.samples, empty.p50_ms, empty.p99_ms, empty.max_ms) == (0, None, None, None)


def test_a_summary_is_in_milliseconds_and_says_its_method() -> None:
    found = summary_of([0.001 * each for each in range(1, 21)])
    assert (found.samples, found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (20, 10.0, 19.0, 20.0, 20.0)
    assert found.method == NEAREST_RANK


BUCKETS = [(0.1, 50.0), (0.2, 90.0), (0.5, 98.0), (math.inf, 100.0)]


def test_values_lie_evenly_in_their_bucket() -> None:
    assert interpolated(BUCKETS, 50) == pytest.approx(0.1)
    assert interpolated(BUCKETS, 70) == pytest.approx(0.15)
    assert interpolated(BUCKETS, 94) == pytest.approx(0.35)


def test_beyond_the_last_limit_the_limit_is_what_is_known() -> None:
    assert interpolated(BUCKETS, 99) == 0.5
    assert interpolated([(math.inf, 3.0)], 50) == 0.0


def test_an_empty_bucket_is_passed_over_and_an_empty_histogram_has_none() -> None:
    assert interpolated([(0.1, 0.0), (0.2, 0.0), (0.5, 4.0), (math.inf, 4.0)], 50) == pytest.approx(0.35)
    assert interpolated([(0.1, 0.0), (math.inf, 0.0)], 50) is None
    assert interpolated([], 50) is None
    assert interpolated([(0.1, 0.0), (0.2, 4.0), (math.inf, 4.0)], 0) == pytest.approx(0.1)


def test_a_histogram_has_no_maximum_and_says_how_it_was_read() -> None:
    found = summary_of_histogram(BUCKETS)
    assert (found.samples, found.p50_ms, found.p99_ms, found.max_ms) == (100, 100.0, 500.0, None)
    assert found.method == INTERPOLATED
