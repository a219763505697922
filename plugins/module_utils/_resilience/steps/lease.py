# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One operator a host. The lease outlives processes (each Ansible task is one of its own), the lock guards single
steps.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterator, Optional

from ..clock import age_seconds, seconds_left
from ..errors import Busy
from ..files import FILE_MODE, fsync_directory, make_private_directory, translate_os_error, write_json
from .journal import Journal, RunState

_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Lease:
    """Who runs what on this host, and since when (ISO 8601)."""

    run: str
    operation: str
    operator: str
    since: str


class HostLease:
    """``active.json`` exists while a run is open; ``last.json`` remembers the last one that ended."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._active = state_dir / "active.json"
        self._last = state_dir / "last.json"

    def current(self) -> Optional[Lease]:
        try:
            return _read(self._active)
        except ValueError:
            return self._of_open_journal()

    def _of_open_journal(self) -> Lease:
        """The lease of the newest run that never ended, for a lease file that cannot be read any more."""
        for directory in sorted((self._dir / "runs").glob("*"), reverse=True):
            state = RunState(Journal(directory / "journal.jsonl").events())
            if state.events and state.outcome is None:
                header = state.header
                return Lease(directory.name, header["operation"], header["operator"], header["at"])
        return Lease("unknown", "unreadable run", "unknown", "1970-01-01T00:00:00.000000Z")

    def check_free(self, operation: str) -> None:
        """Raise Busy with who runs what since when, if anybody does."""
        if self.current() is not None:
            raise self._busy(operation)

    def check_cooldown(self, operation: str, cooldown_seconds: float) -> None:
        """Raise Busy with the time to wait, when a run of this kind has ended so lately."""
        last = self._ended()
        wait = seconds_left(cooldown_seconds, last.since) if last and last.operation == operation else 0.0
        if last and wait > 0:
            raise Busy(
                f"a {last.operation} by {last.operator} ended {age_seconds(last.since):.0f} s ago",
                operation=operation,
                subject=last.run,
                hint=f"wait {wait:.0f} s, or set failover_cooldown to 0 when you know why you run it again",
            )

    def take(self, lease: Lease, *, cooldown_seconds: float) -> None:
        """Take the host for a new run. Raises Busy with the holder, or with the time to wait."""
        make_private_directory(self._dir)
        self.check_cooldown(lease.operation, cooldown_seconds)
        temporary = self._dir / f".active.{os.getpid()}"
        # Durable before it has its name: what a power loss left empty would say that no run is open.
        write_json(temporary, asdict(lease))
        try:
            os.link(temporary, self._active)  # fails when it exists, on every file system and at every moment
        except FileExistsError as exc:
            raise self._busy(lease.operation) from exc
        finally:
            temporary.unlink()
        fsync_directory(self._dir)

    def _ended(self) -> Optional[Lease]:
        try:
            return _read(self._last)
        except ValueError:
            return None  # it only counts for the cooldown

    def _busy(self, operation: str) -> Busy:
        holder = self.current()
        if holder is None:
            return Busy("somebody else has just ended a run", operation=operation, hint="run again")
        return Busy(
            f"{holder.operation} {holder.run} by {holder.operator} is open since {holder.since}",
            operation=operation,
            subject=holder.run,
            hint="if it still runs, wait for it; if it was cut off:"
            f" baileys-resilience {holder.operation} resume (or undo)",
        )

    def release(self, ended: Optional[Lease]) -> None:
        """End the run. ``ended`` (since = its end) counts for the cooldown; None, as after an undo, does not."""
        if ended is not None:
            write_json(self._last, asdict(ended))
        self._active.unlink(missing_ok=True)
        fsync_directory(self._dir)

    @contextlib.contextmanager
    def executing(self, operation: str) -> Iterator[None]:
        """Held while a step executes: two controllers that resume one run must not run one step twice."""
        make_private_directory(self._dir)
        descriptor = os.open(self._dir / "lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            if not _lock(descriptor):
                raise self._busy(operation)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """False when somebody holds it for longer than a process needs to end its step after the last line of it."""
    limit = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= limit:
                return False
            time.sleep(_POLL_SECONDS)


def _read(path: Path) -> Optional[Lease]:
    """None where there is none; ValueError for one that cannot be read."""
    try:
        return Lease(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except TypeError as exc:
        raise ValueError(str(exc)) from exc
    except OSError as exc:
        raise translate_os_error(exc, "read", path) from exc
