# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Histograms of times that can be merged: HdrHistogram (package hdrhistogram).

Two significant digits: a value is told at most 1/128 (0.8%) too high. A third digit would make rows up to three times
as long, and reading them three times as slow; a page that shows 252 ms for 250 misleads nobody.

A row holds what the package's own format V2 holds behind its header, which is the same in all rows, and would be half
of one: with the dozen values of a minute a row is 27 bytes instead of 58. Its first byte says whether it is deflated.
"""

from __future__ import annotations

import functools
import itertools
import weakref
import zlib
from bisect import bisect_left
from math import ceil
from typing import Any, List, Mapping, Optional, Sequence

from ..._thirdparty import require
from .model import Percentiles

#: microseconds
LEAST_US, MOST_US = 1, 3_600_000_000
DIGITS = 2
#: the largest relative error of a percentile
ERROR = 1 / 128
_HEADER_BYTES = 40
_PLAIN, _DEFLATED = b"\0", b"\1"
_PERCENTS = (50.0, 95.0, 99.0)


class Damaged(ValueError):
    """A row holds no histogram of ours."""


class Histogram:
    """Of microseconds. ``most_us`` is exact, and merged apart from the counts."""

    def __init__(self) -> None:
        self._counts: Any = _without_cycle(_hdr().HdrHistogram(LEAST_US, MOST_US, DIGITS, b64_wrap=False))
        self.samples = 0
        self.most_us = 0

    @staticmethod
    def of(values: Mapping[int, int]) -> Histogram:
        """From a count by microseconds."""
        histogram = Histogram()
        for value, count in values.items():
            histogram._counts.record_value(min(max(value, 0), MOST_US), count)
            histogram.samples += count
            histogram.most_us = max(histogram.most_us, value)
        return histogram

    def encoded(self) -> bytes:
        body = zlib.decompress(self._counts.encode())[_HEADER_BYTES:]
        deflated = _deflated(body)
        return _DEFLATED + deflated if len(deflated) < len(body) else _PLAIN + body

    def add(self, encoded: bytes, samples: int, most_us: int) -> None:
        """Merge a row. Raises Damaged."""
        hdr = _hdr()
        try:
            body = zlib.decompress(encoded[1:], -zlib.MAX_WBITS) if encoded[:1] == _DEFLATED else encoded[1:]
            packed = zlib.compress(_header(len(body)) + body, 0)
            other = _without_cycle(hdr.HdrHistogram.decode(packed, b64_wrap=False))
        except Exception as exc:  # whatever zlib, ctypes and the package raise for bytes that are none
            raise Damaged(f"no histogram: {type(exc).__name__}") from exc
        if other.total_count != samples:
            raise Damaged(f"a histogram of {other.total_count} values in a row of {samples}")
        self._counts.add(other)
        self.samples += samples
        self.most_us = max(self.most_us, most_us)

    def take(self, other: Histogram) -> None:
        """Merge another one."""
        self._counts.add(other._counts)
        self.samples += other.samples
        self.most_us = max(self.most_us, other.most_us)

    def percentiles(self) -> Percentiles:
        """By the nearest rank, as :mod:`..percentiles` has it."""
        if not self.samples:
            return Percentiles()
        cumulated = self._cumulated()
        found = [_ms(min(self._value_at(percent, cumulated), self.most_us)) for percent in _PERCENTS]
        return Percentiles(self.samples, found[0], found[1], found[2], _ms(self.most_us))

    def _value_at(self, percent: float, cumulated: List[int]) -> int:
        rank = max(1, ceil(round(percent / 100.0 * self.samples, 9)))
        hdr = self._counts
        return int(hdr.get_highest_equivalent_value(hdr.get_value_from_index(bisect_left(cumulated, rank))))

    def _cumulated(self) -> List[int]:
        # The package's own walk asks it for each counter, four times as slow.
        hdr = self._counts
        length = min(hdr.counts_len, hdr.get_counts_array_index(hdr.max_value) + 1)
        return list(itertools.accumulate(hdr.counts[:length]))


def merged(rows: Sequence[Any]) -> Optional[Histogram]:
    """Of rows (samples, most_us, histogram); None without any. Raises Damaged."""
    if not rows:
        return None
    found = Histogram()
    for samples, most_us, encoded in rows:
        found.add(encoded, samples, most_us)
    return found


def _without_cycle(hdr: Any) -> Any:
    """The package lets a histogram and its encoder hold each other, so that 26 kB stay until the collector of cycles
    comes: with a thousand series that was 190 MB.
    """
    hdr.encoder.histogram = weakref.proxy(hdr)
    return hdr


def _deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def _header(body_bytes: int) -> bytes:
    """That of a histogram with our limits: the length of what follows is its second field."""
    start = _empty_header()
    return start[:4] + body_bytes.to_bytes(4, "big") + start[8:]


@functools.lru_cache(maxsize=1)
def _empty_header() -> bytes:
    empty = _hdr().HdrHistogram(LEAST_US, MOST_US, DIGITS, b64_wrap=False)
    return zlib.decompress(empty.encode())[:_HEADER_BYTES]


def _hdr() -> Any:
    return require("hdrh.histogram")


def _ms(microseconds: int) -> float:
    return microseconds / 1000.0
