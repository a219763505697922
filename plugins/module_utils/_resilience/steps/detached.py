# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Steps that go on by themselves, in a process of their own, while their caller shows them one after the other.

A playbook gives each step a task, and a task costs half a second of its own. Between the stop and the start of an
application that would be most of the downtime; and a controller whose network fails there would leave the application
stopped. So the process that runs the first of these steps leaves a child behind that runs the others at once. Each
later call waits for its step in the journal; where the child died, it runs the step itself. A failure is told to the
call that shows its step; when nobody comes for it, the child takes the run back by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar

from ..clock import age_seconds
from ..errors import Busy, ResilienceError, StepFailed, registry
from ..files import FILE_MODE, write_json
from .engine import Run
from .journal import Journal, RunState

C = TypeVar("C")
_POLL_SECONDS = 0.02
_FRESH_SECONDS = 60.0
#: a caller that still lives needs this long at most from task to task until it asks for the step that failed
PATIENCE_SECONDS = 15.0
_LOCK, _FAILURE = "detached.lock", "detached.json"


@dataclass(frozen=True)
class Shown:
    """A step that was done by the process that goes on by itself."""

    name: str
    title: str
    result: Mapping[str, Any]


Abandoned = Callable[[ResilienceError], None]


def detach(run: Run[C], names: Sequence[str], abandoned: Abandoned) -> None:
    """Let a process of its own run the steps ``names``. Its lock is held before this returns.

    ``abandoned`` is called there with what a step met when nobody has come for it within :data:`PATIENCE_SECONDS`.
    """
    lock = os.open(run.directory / _LOCK, os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (run.directory / _FAILURE).unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            try:
                _become_independent()
                _execute(run, names, abandoned)
            finally:
                os._exit(0)  # whatever happened: the caller's stack must not be unwound a second time here
        os.waitpid(child, 0)
    finally:
        # The lock belongs to the open file, which the child shares: it ends with the last of them.
        os.close(lock)


def leave_behind(work: Callable[[], None]) -> None:
    """Let a process of its own do ``work``, which outlives the caller and holds nothing of it but what is open."""
    child = os.fork()
    if child == 0:
        try:
            _become_independent()
            work()
        finally:
            os._exit(0)  # the caller's stack must not be unwound a second time here
    os.waitpid(child, 0)


def _become_independent() -> None:
    """Own session, no terminal, no pipe of the caller's: Ansible waits until the last holder of its pipes has gone."""
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _execute(run: Run[C], names: Sequence[str], abandoned: Abandoned) -> None:
    for name in names:
        try:
            run.execute(name)
        except ResilienceError as exc:
            write_json(run.directory / _FAILURE, {"step": name, "error": exc.as_dict()})
            if not isinstance(exc, Busy) and not _told(run.directory):
                abandoned(exc)
            return


def _told(directory: Path) -> bool:
    """Whether a caller has taken the failure over, and with it the run."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while (directory / _FAILURE).exists():
        if time.monotonic() >= limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def wait_for_end(directory: Path) -> None:
    """Until no process goes on by itself in the run of ``directory``: its steps have time budgets, so it ends."""
    while _is_held(directory / _LOCK):
        time.sleep(_POLL_SECONDS)


def follow(directory: Path, name: str) -> Optional[Shown]:
    """Wait until the process that goes on by itself is done with ``name``, of the run in ``directory``. None when
    nobody does it, so that the caller has to. Raises what that process met.
    """
    lock, journal = directory / _LOCK, Journal(directory / "journal.jsonl")
    size = -1
    while lock.exists():
        alive = _is_held(lock)
        # Reading it again and again would take the processor from the very steps that are waited for.
        before, size = size, _size_of(journal)
        if size != before:
            shown = _shown(RunState(journal.events()), name)
            if shown is not None:
                return shown
        _raise_failure(directory, name)
        if not alive:
            break
        time.sleep(_POLL_SECONDS)
    return None


def _size_of(journal: Journal) -> int:
    try:
        return journal.path.stat().st_size
    except FileNotFoundError:
        return 0


def _shown(state: RunState, name: str) -> Optional[Shown]:
    """What was done just now. What is older is asked again by whoever executes the step: it may not hold any more."""
    for event in reversed(state.events):
        if event["event"] == "step_done" and event.get("step") == name:
            fresh = age_seconds(event["at"]) < _FRESH_SECONDS
            return Shown(name, _title(state, name), state.results[name]) if fresh else None
    return None


def _title(state: RunState, name: str) -> str:
    titles = [e.get("title", "") for e in state.events if e["event"] == "step_started" and e.get("step") == name]
    return str(titles[-1]) if titles else name


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _raise_failure(directory: Path, name: str) -> None:
    """Once: who asks for the step again wants it to be tried again."""
    path = directory / _FAILURE
    try:
        content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return
    if content["step"] != name:
        return
    path.unlink(missing_ok=True)
    error = content["error"]
    kind = registry().get(str(error["error"]), StepFailed)
    raise kind(error["cause"], operation=error["operation"], subject=error["subject"], hint=error["hint"])
