# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""When each source looks, in a thread of its own: a look that hangs delays no other and not the loop."""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field
from typing import Callable, List, NamedTuple, Optional

from .source import Look, Source

#: threads of one source that hang, at most: none is begun beside them until one has ended
_MOST_HANGING = 3
#: a look that takes longer than its interval leaves this much of it before the next one
_LEAST_PAUSE = 0.2


class Finished(NamedTuple):
    """A look that ended, or was given up."""

    lane: Lane
    number: int
    look: Look


#: what came in, for the one thread that judges. None wakes it
Arrivals = queue.SimpleQueue["Optional[Finished]"]


def jitter() -> float:
    """Monitors of many hosts must not all ask a database in the same moment."""
    return random.uniform(0.9, 1.1)


@dataclass
class Lane:
    """One source. All methods are the loop's; times are monotonic."""

    source: Source
    arrivals: Arrivals
    spread: Callable[[], float] = jitter
    due_at: float = 0.0
    running_since: Optional[float] = None
    number: int = 0
    _begun_at: float = 0.0
    _hanging: List[threading.Thread] = field(default_factory=list)
    _thread: Optional[threading.Thread] = None

    def turn(self, now: float) -> None:
        """Begin a look where one is due, give up one that takes too long."""
        if self.running_since is not None and now - self.running_since > self.source.limit_seconds:
            self._give_up(now)
        if self.running_since is None and now >= self.due_at:
            self._begin(now)

    def ended(self, finished: Finished, now: float, look_again_seconds: Optional[float]) -> None:
        """Say when the next one is due."""
        self.running_since = None
        source = self.source
        every = source.interval_seconds if finished.look.again_seconds is None else finished.look.again_seconds
        self.due_at = max(self._begun_at + every * self.spread(), now + every * _LEAST_PAUSE)
        if source.quick and look_again_seconds is not None:
            # Of one that hung, the time has been waited already.
            self.due_at = min(self.due_at, max(now, self._begun_at + look_again_seconds))

    def is_current(self, finished: Finished) -> bool:
        """Whether this is the look that is waited for, and not one that was given up long ago."""
        return self.running_since is not None and finished.number == self.number

    def _begin(self, now: float) -> None:
        self.number += 1
        self.running_since = self._begun_at = now
        self._hanging = [each for each in self._hanging if each.is_alive()]
        if len(self._hanging) >= _MOST_HANGING:
            self._failed(f"{len(self._hanging)} looks at it hang")
            return
        name = f"look-{self.source.name}"
        self._thread = threading.Thread(target=self._run, args=(self.number,), name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the process is at its limit of threads
            self._thread = None
            self._failed(f"no thread could be started: {error}")

    def _give_up(self, now: float) -> None:
        if self._thread is not None:
            self._hanging.append(self._thread)
            self._thread = None
        self.number += 1
        self.running_since = now
        self._failed(f"a look at it was given up after {self.source.limit_seconds:g} s")

    def _failed(self, problem: str) -> None:
        look = Look(self.source.failed(problem), degraded=(f"{self.source.name}: {problem}",))
        self.arrivals.put(Finished(self, self.number, look))

    def _run(self, number: int) -> None:
        try:
            look = self.source.look()
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one source must not end the watch over all
            problem = f"the monitor failed to look: {type(error).__name__}: {error}"
            look = Look(self.source.failed(problem), degraded=(f"{self.source.name}: {problem}",))
        self.arrivals.put(Finished(self, number, look))
