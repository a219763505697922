# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How long an application's own queries took since the last look, by the histogram that it keeps since its start."""

from __future__ import annotations

from typing import Dict, Iterator, List, Mapping, Tuple

from ..client_metrics import Buckets
from .clients import ClientFigure

#: an operation, how long it took (seconds), and how often
Times = Tuple[str, float, int]
#: the values of a bucket are laid evenly into it, as Prometheus takes them to be; so many places are enough
_PLACES = 10
#: the client has about ten. Names are another program's, and each is a series of the history
_MOST_OPERATIONS = 20
#: the client has eleven; of more no history is made
_MOST_BUCKETS = 100
#: no query takes an hour: a limit beyond that says as little as one without an end
_LONGEST_SECONDS = 3600.0
#: in one bucket since the last look; more is no count of anything
_MOST_COUNT = 1_000_000


class ClientTimes:
    """Of all clients; remembers where their counters were, of those that each named last."""

    def __init__(self) -> None:
        self._last: Dict[str, Mapping[str, Buckets]] = {}

    def since_last(self, figure: ClientFigure) -> Iterator[Times]:
        """A first look brings nothing: its counters may be of last week. One that is smaller than before is of a
        process that was started anew.
        """
        if not figure.times:
            return  # it did not answer, or has no queries yet
        before = self._last.get(figure.name)
        named = sorted(each for each in figure.times.items() if len(each[1]) <= _MOST_BUCKETS)
        self._last[figure.name] = dict(named[:_MOST_OPERATIONS])
        if before is None:
            return
        for operation, buckets in self._last[figure.name].items():
            new = _new(before.get(operation, []), buckets)
            yield from ((operation, seconds, count) for seconds, count in new)


def _new(before: Buckets, now: Buckets) -> Iterator[Tuple[float, int]]:
    limits = [limit for limit, _number in now]
    if before and (limits != [limit for limit, _number in before] or now[-1][1] < before[-1][1]):
        before = []
    earlier = [number for _limit, number in before] or [0.0] * len(now)
    lower, below = 0.0, 0
    for (limit, number), known in zip(now, earlier):
        upto, upper = round(number - known), limit if limit <= _LONGEST_SECONDS else lower
        count, below = min(upto - below, _MOST_COUNT), upto
        if count > 0:
            yield from _laid(lower, upper, count)
        lower = upper


def _laid(lower: float, upper: float, count: int) -> List[Tuple[float, int]]:
    places = min(count, _PLACES)
    share, rest = divmod(count, places)
    step = (upper - lower) / places
    return [(lower + (place + 0.5) * step, share + (place < rest)) for place in range(places)]
