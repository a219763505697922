# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a drill has broken on this host, written down before it is broken, and healed whatever becomes of the drill.

``fault.json`` is there exactly while something is, or may be, broken. Three heal by it: the drill at its end, the next
drill, and the watch: a process that the drill leaves on the host, which heals when the time is over. It needs neither
systemd nor a controller. A host that boots loses the watch; then the next drill, or a human, heals.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from ..clock import now_iso
from ..errors import Busy, ResilienceError, UsageError
from ..files import FILE_MODE, fsync_directory, make_private_directory, read_json, write_json
from ..steps.detached import leave_behind
from . import faults
from .faults import Fault

WATCH = "the watch"
#: how ps shows it, at most 15 characters
WATCH_PROCESS = "baileys-drill"
_BROKEN, _HEALED, _LOCK = "fault.json", "healed.json", "fault.lock"
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_GIVE_UP_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Broken:
    """``since`` is when it was broken; ``max_seconds`` later the watch heals it."""

    drill: str
    operator: str
    since: str
    max_seconds: float
    fault: Dict[str, Any]


@dataclass(frozen=True)
class Healed:
    """``by`` is "the watch" where the drill did not come to it in time."""

    drill: str
    by: str
    since: str
    at: str
    sentence: str


class BrokenHost:
    """The fault of this host. ``directory`` holds what is known of it."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._lock = -1

    def current(self) -> Optional[Broken]:
        content = self._read(_BROKEN)
        return Broken(**content) if content else None

    def healed(self, drill: str) -> Optional[Healed]:
        """How the fault of ``drill`` was healed, if it was the last one here."""
        content = self._read(_HEALED)
        return Healed(**content) if content and content["drill"] == drill else None

    def break_it(self, fault: Fault, drill: str, operator: str, max_seconds: float) -> Broken:
        """Break, and leave the watch behind. When that fails, nothing is broken. Raises Busy while something is."""
        if max_seconds <= 0:
            raise UsageError(
                "there has to be an end", operation="break", subject="max_seconds", hint="give seconds above 0"
            )
        make_private_directory(self._dir)
        with self._locked():
            left = self.current()
            if left:
                raise Busy(
                    f"the drill {left.drill} by {left.operator} broke this host at {left.since}, and it is not healed",
                    operation="break",
                    subject=fault.kind,
                    hint="wait for that drill; when it is dead, heal: baileys-resilience drill heal",
                )
            faults.check(fault)
            broken = Broken(drill, operator, now_iso(), max_seconds, fault.as_dict())
            write_json(self._dir / _BROKEN, asdict(broken))
            try:
                # The watch before the fault: a fault that nobody would heal must not be possible.
                leave_behind(lambda: self._watch(broken))
                faults.bring_about(fault)
            except ResilienceError as exc:
                self._heal_after(exc, broken)
                raise
        return broken

    def heal_it(self, by: str, only: str = "") -> Optional[Healed]:
        """Heal what is broken, of drill ``only`` where one is named. None when nothing is."""
        if not self._dir.is_dir():
            return None
        with self._locked():
            broken = self.current()
            if broken is None or only not in ("", broken.drill):
                return None
            return self._heal(broken, by)

    def _heal_after(self, error: ResilienceError, broken: Broken) -> None:
        try:
            self._heal(broken, "the drill, since breaking failed")
        except ResilienceError as second:
            error.cause += f"; and healing failed: {second.cause}"
            error.hint = "heal it by hand; the watch on this host will try, too"

    def _heal(self, broken: Broken, by: str) -> Healed:
        fault = Fault.from_dict(broken.fault)
        faults.heal(fault)
        healed = Healed(broken.drill, by, broken.since, now_iso(), fault.sentence())
        write_json(self._dir / _HEALED, asdict(healed))
        (self._dir / _BROKEN).unlink()
        fsync_directory(self._dir)
        return healed

    def _watch(self, broken: Broken) -> None:
        """Runs in a process of its own. Ends as soon as somebody has healed."""
        os.close(self._lock)  # it is the caller's, and would be held by this process too
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(WATCH_PROCESS, "ascii")
        limit = time.monotonic() + broken.max_seconds
        while time.monotonic() < limit:
            time.sleep(min(_POLL_SECONDS, broken.max_seconds))
            if not self._is_still(broken):
                return
        give_up = limit + _GIVE_UP_SECONDS
        while self._is_still(broken) and time.monotonic() < give_up:
            # Whatever stands in the way may go: a watch that gave up at once would leave a database broken.
            with contextlib.suppress(ResilienceError, OSError, ValueError):
                self.heal_it(WATCH, broken.drill)
                return
            time.sleep(_RETRY_SECONDS)

    def _is_still(self, broken: Broken) -> bool:
        try:
            now = self.current()
        except ResilienceError:
            return True
        return now is not None and now.drill == broken.drill

    def _read(self, name: str) -> Dict[str, Any]:
        return read_json(self._dir / name, hint="heal by hand, then remove this file")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._lock = descriptor
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
