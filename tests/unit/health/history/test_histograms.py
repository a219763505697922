# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merged histograms tell the percentiles of all their values, within the error that they name."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baileys_resilience.errors import ToolMissing
from baileys_resilience.health.history.histograms import ERROR, MOST_US, Damaged, Histogram, merged
from baileys_resilience.health.history.rows import histogram_values
from baileys_resilience.health.percentiles import nearest_rank

MICROSECONDS = st.one_of(
    st.integers(0, 300), st.integers(0, 20_000), st.integers(0, MOST_US), st.just(MOST_US), st.sampled_from([127, 128])
)
MINUTES = st.lists(st.lists(MICROSECONDS, min_size=1, max_size=40), min_size=1, max_size=12)


def row(values: list[int]) -> tuple[object, ...]:
    return histogram_values(Histogram.of(Counter(values)))


@settings(max_examples=300, deadline=None)
@given(MINUTES)
def test_percentiles_of_merged_rows_are_those_of_all_values_within_the_error(minutes: list[list[int]]) -> None:
    histogram = merged([row(values) for values in minutes])
    assert histogram is not None
    found = histogram.percentiles()
    everything = [value for values in minutes for value in values]
    for percent, told in ((50, found.p50_ms), (95, found.p95_ms), (99, found.p99_ms)):
        exact = nearest_rank(everything, percent)
        assert exact is not None
        assert told is not None
        assert exact <= round(told * 1000) <= exact * (1 + ERROR)
    assert (found.samples, found.max_ms) == (len(everything), max(everything) / 1000)


@settings(max_examples=100, deadline=None)
@given(MINUTES, st.data())
def test_the_order_and_the_grouping_of_merges_change_nothing(minutes: list[list[int]], data: st.DataObject) -> None:
    rows = [row(values) for values in minutes]
    at_once = merged(rows)
    cut = data.draw(st.integers(0, len(rows)))
    halves = [each for each in (merged(rows[cut:]), merged(rows[:cut])) if each is not None]
    in_two = merged([histogram_values(each) for each in halves])
    assert at_once is not None
    assert in_two is not None
    assert histogram_values(at_once) == histogram_values(in_two)


def test_an_average_of_percentiles_would_be_far_off() -> None:
    """Why histograms are merged: 99 fast minutes and one slow one with a thousand times the traffic."""
    rows = [row([1000]) for _ in range(99)] + [row([500_000] * 1000)]
    histogram = merged(rows)
    assert histogram is not None
    assert histogram.percentiles().p50_ms == pytest.approx(500, rel=ERROR)


def test_what_is_longer_than_an_hour_is_an_hour_but_for_the_longest() -> None:
    found = Histogram.of({2 * MOST_US: 3}).percentiles()
    assert found.max_ms == 2 * MOST_US / 1000
    assert found.p50_ms == pytest.approx(MOST_US / 1000, rel=ERROR)


def test_a_dozen_values_of_a_minute_are_a_short_row() -> None:
    values = [3000 + 137 * number for number in range(12)]
    assert len(Histogram.of(Counter(values)).encoded()) < 45


def test_a_histogram_is_gone_when_nobody_has_it_any_more() -> None:
    """Without waiting for the collector of cycles: each holds 26 kB."""
    histogram = Histogram.of({1000: 3})
    encoded = histogram.encoded()
    merged_once = Histogram()
    gc.disable()
    try:
        held = [weakref.ref(histogram._counts), weakref.ref(merged_once._counts)]
        merged_once.add(encoded, 3, 1000)
        before = sum(type(each).__name__ == "HdrHistogram" for each in gc.get_objects())
        merged_once.add(encoded, 3, 1000)
        assert sum(type(each).__name__ == "HdrHistogram" for each in gc.get_objects()) == before
        del histogram, merged_once
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("encoded", [b"", b"\1", b"\1xx", b"\2\0\0", b"\0" + b"\xff" * 30, b"\0" + b"\1" * 60_000])
def test_bytes_that_are_no_histogram_are_damage(encoded: bytes) -> None:
    with pytest.raises(Damaged):
        Histogram().add(encoded, 3, 1)


def test_a_row_that_counts_otherwise_than_its_histogram_is_damage() -> None:
    with pytest.raises(Damaged):
        Histogram().add(Histogram.of({1: 2}).encoded(), 3, 1)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(ToolMissing) as missing:
        Histogram()
    assert "pip install hdrhistogram" in missing.value.hint
