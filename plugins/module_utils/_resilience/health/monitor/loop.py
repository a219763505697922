# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The loop: lanes look, the watch judges, and whoever watches the watcher is told that time goes on here."""

from __future__ import annotations

import queue
import signal
import threading
import time
from typing import Callable, List, Optional, Sequence

from ...clock import utc_now
from ...errors import ResilienceError, UsageError
from ...progress import Progress
from ..alerts.model import Moment, Subject
from .lanes import Arrivals, Lane
from .saved import Requests
from .source import Look, Source
from .watch import Watch

#: the loop comes round at least so often, whatever the sources do
TURN_SECONDS = 1.0
#: without a look for so long, time alone is judged
_STEP_SECONDS = 5.0


def moment() -> Moment:
    return Moment(time.monotonic(), utc_now())


class Heart:
    """When the loop came round last; read by other threads."""

    def __init__(self) -> None:
        self.beat_at = time.monotonic()
        self.beats = 0

    def beat(self) -> None:
        self.beat_at = time.monotonic()
        self.beats += 1

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.beat_at


class Loop:
    """Runs until :meth:`stop`. ``on_beat`` is called each time round: the watchdog."""

    def __init__(
        self,
        sources: Sequence[Source],
        watch: Watch,
        *,
        log: Progress,
        requests: Optional[Requests] = None,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.heart = Heart()
        self._arrivals: Arrivals = queue.SimpleQueue()
        self._lanes: List[Lane] = [Lane(each, self._arrivals) for each in sources]
        self._watch, self._log, self._requests, self._on_beat = watch, log, requests, on_beat
        self._stopping = threading.Event()
        self._stepped_at = time.monotonic()

    def stop(self, *_signal: object) -> None:
        """From a signal handler or another thread."""
        self._stopping.set()
        self._arrivals.put(None)

    def stop_on_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._watch.close(moment())

    def _turn(self) -> None:
        now = time.monotonic()
        for lane in self._lanes:
            lane.turn(now)
        self._wait_for_one()
        self._take_requests()
        if time.monotonic() - self._stepped_at > _STEP_SECONDS:
            self._step(Look())
        self.heart.beat()
        self._on_beat()

    def _wait_for_one(self) -> None:
        now = time.monotonic()
        due = min((lane.due_at for lane in self._lanes if lane.running_since is None), default=now + TURN_SECONDS)
        try:
            finished = self._arrivals.get(timeout=min(max(due - now, 0.0), TURN_SECONDS))
        except queue.Empty:
            return
        if finished is None or not finished.lane.is_current(finished):
            return
        again = self._step(finished.look, finished.lane.source.name)
        finished.lane.ended(finished, time.monotonic(), again)

    def _step(self, look: Look, name: str = "") -> Optional[float]:
        self._stepped_at = time.monotonic()
        return self._watch.take(name, look, moment()) if name else self._watch.step(look, moment())

    def _take_requests(self) -> None:
        for content in self._requests.take() if self._requests else ():
            try:
                self._silence(content)
            except (ResilienceError, KeyError, TypeError, ValueError) as error:
                self._log.note("a request was refused", why=str(error))

    def _silence(self, content: object) -> None:
        if not isinstance(content, dict) or content.get("request") != "silence":
            raise UsageError("it asks for nothing that is known", operation="ask the monitor")
        subject = content.get("subject")
        self._watch.silence(
            float(content["seconds"]), moment(), Subject(str(subject[0]), str(subject[1])) if subject else None
        )
