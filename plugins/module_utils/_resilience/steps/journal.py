# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The journal of one run: JSON lines, each on disk before the next thing happens (docs/formats.md).

The intent stands before a step, its result behind it. Whoever finds a journal without an end knows what may have
happened, asks the things themselves, and goes on or takes back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ..clock import now_iso
from ..errors import StoreError
from ..files import FILE_MODE, fsync_directory, translate_os_error

FORMAT = "baileys-resilience/journal"
VERSION = 1


class Journal:
    """Append and read. Every :meth:`append` returns only after the line is on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **details: Any) -> None:
        line = json.dumps({"at": now_iso(), "event": event, **details}, sort_keys=True, ensure_ascii=False, default=str)
        new = not self.path.exists()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
            try:
                _write_whole(descriptor, line.encode("utf-8") + b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                fsync_directory(self.path.parent)
        except OSError as exc:
            raise translate_os_error(exc, "write journal", self.path) from exc

    def events(self) -> List[Dict[str, Any]]:
        """All whole lines. A last line without its end was cut off by a crash before anything followed it, and counts
        as not written.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise translate_os_error(exc, "read journal", self.path) from exc
        found = []
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                found.append(_event(line))
            except ValueError as exc:
                raise StoreError(
                    f"line {number} cannot be read",
                    operation="read journal",
                    subject=str(self.path),
                    hint="look at the file; complete or undo this run by hand with docs/failover.md",
                ) from exc
        return found

    def repair(self) -> None:
        """Cut off a last line that a crash left without its end, so that the next line starts on its own."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.truncate(self.path, whole)


def _write_whole(descriptor: int, content: bytes) -> None:
    """All of it or nothing: a full disk takes a part of a line and only then says no, and the next line would be glued
    to it.
    """
    before = os.fstat(descriptor).st_size
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _event(line: bytes) -> Dict[str, Any]:
    event = json.loads(line)
    if not isinstance(event, dict) or "event" not in event or "at" not in event:
        raise ValueError("no event")
    return event


class RunState:
    """What a journal says of its run."""

    def __init__(self, events: List[Dict[str, Any]]) -> None:
        self.events = events
        self.results: Dict[str, Mapping[str, Any]] = {}
        self.started: List[str] = []
        self.undone: List[str] = []
        self.undoing = False
        self.no_return: Optional[str] = None
        self.outcome: Optional[str] = None
        self.last_error: Optional[Mapping[str, Any]] = None
        self._done: Set[str] = set()
        for event in events:
            self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, step = event["event"], event.get("step", "")
        if kind == "step_started":
            if step not in self.started:
                self.started.append(step)
            if step in self.undone:
                self.undone.remove(step)
        elif kind == "step_done":
            self.results[step] = event.get("result") or {}
            self._done.add(step)
        elif kind == "step_noted":
            # What a step must not lose when it is killed half-way: its undo reads this although the step never ended.
            self.results.setdefault(step, {})
            self.results[step] = {**self.results[step], **event.get("result", {})}
        elif kind == "step_failed":
            self.last_error = event.get("error")
        elif kind == "undo_started":
            self.undoing = True
        elif kind == "step_undone":
            self.undone.append(step)
            self._done.discard(step)
        elif kind == "begun_anew":
            self._forget(event.get("steps") or [])
        elif kind == "no_return":
            self.no_return = event["at"]
            self.undoing = False  # what an undo had taken back by then is done again
            self.undone = []
        elif kind == "run_finished":
            self.outcome = event.get("outcome")

    def _forget(self, steps: Sequence[str]) -> None:
        """They were taken back, to be done in another way."""
        for step in steps:
            self._done.discard(step)
            self.results.pop(step, None)
        self.started = [each for each in self.started if each not in steps]
        self.undone = [each for each in self.undone if each not in steps]

    @property
    def header(self) -> Mapping[str, Any]:
        return self.events[0] if self.events else {}

    def done(self, step: str) -> bool:
        return step in self._done

    def seconds(self) -> Dict[str, float]:
        return {e["step"]: e["seconds"] for e in self.events if e["event"] == "step_done" and "seconds" in e}
