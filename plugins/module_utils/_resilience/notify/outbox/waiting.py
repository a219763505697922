# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""When a service may be asked again: what it is known to take, and how long it is left alone after a failure."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Callable, Deque, Optional, Sequence

from ..model import Pace
from .settings import OutboxSettings

#: what a service asks for is believed up to here
_LONGEST_RETRY_AFTER = 3600.0


class Waiting:
    """All times are of the monotonic clock. The windows end with the process: the service then says 429 itself."""

    def __init__(
        self, paces: Sequence[Pace], settings: OutboxSettings, jitter: Callable[[], float] = random.random
    ) -> None:
        self._paces = tuple(paces)
        self._settings = settings
        self._jitter = jitter
        self._tries: Deque[float] = deque(maxlen=max([each.messages for each in self._paces], default=1))
        self._failures = 0
        self._not_before = -math.inf

    def seconds(self, now: float) -> float:
        """How long until the next try may begin."""
        wait = self._not_before - now
        for pace in self._paces:
            if len(self._tries) >= pace.messages:
                wait = max(wait, self._tries[-pace.messages] + pace.seconds - now)
        return max(0.0, wait)

    def tried(self, now: float) -> None:
        """A try ended now. Counted from its end: that is the latest at which the service may have counted it."""
        self._tries.append(now)

    def went_well(self) -> None:
        self._failures, self._not_before = 0, -math.inf

    def failed(self, now: float, retry_after: Optional[float]) -> None:
        """Leave it alone: for as long as it asks, or for twice as long as before; by chance up to half as long again,
        so that hosts that met the same outage do not come back together.
        """
        self._failures += 1
        if retry_after is not None and 0 < retry_after < math.inf:
            self.leave_alone(now, min(retry_after, _LONGEST_RETRY_AFTER))
            return
        doubled = self._settings.first_wait_seconds * 2.0 ** min(self._failures - 1, 30)
        wait = min(doubled, self._settings.longest_wait_seconds)
        self._not_before = now + wait * (1.0 + 0.5 * self._jitter())

    def leave_alone(self, now: float, seconds: float) -> None:
        self._not_before = now + seconds * (1.0 + 0.1 * self._jitter())
