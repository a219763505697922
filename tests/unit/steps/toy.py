# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A toy operation for the engine: each step writes a line into a file of its own, and undoing removes it.

As a program, `toy.py STATE WORLD ACTION [LINE]` runs, resumes or undoes the run "r1"; with LINE it kills itself
(SIGKILL) as soon as that line of the journal is on disk.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baileys_resilience.steps.engine import Notes, Result, Run, Step
from baileys_resilience.steps.journal import Journal

NAMES = ("first", "second", "third")
World = Path


class Toy(Step[World]):
    """`<name>` in the world is its postcondition; `calls` there remembers the order of what was called."""

    def __init__(self, name: str, during: Callable[[World], None] | None = None, budget_seconds: float = 5.0) -> None:
        self.name = name
        self.title = f"do the {name}"
        self.budget_seconds = budget_seconds
        self._during = during

    def holds(self, context: World, result: Result) -> bool:
        return (context / self.name).exists()

    def apply(self, context: World, notes: Notes) -> Result:
        called(context, f"apply {self.name}")
        notes.keep(path=str(context / self.name))
        (context / self.name).touch()
        if self._during is not None:
            self._during(context)
        return {"path": str(context / self.name), "made": True}

    def undo(self, context: World, result: Result) -> None:
        called(context, f"undo {self.name} {'made' if result.get('made') else 'noted' if result else 'nothing'}")
        if result:
            Path(result["path"]).unlink(missing_ok=True)


class NoReturn(Toy):
    def apply(self, context: World, notes: Notes) -> Result:
        notes.no_return("a session has moved on")
        return super().apply(context, notes)


def called(world: World, what: str) -> None:
    with (world / "calls").open("a") as stream:
        stream.write(what + "\n")


def calls(world: World) -> list[str]:
    path = world / "calls"
    return path.read_text().splitlines() if path.exists() else []


def made(world: World) -> list[str]:
    return [name for name in NAMES if (world / name).exists()]


def toy_run(state: Path, world: World, steps: list[Step[World]] | None = None, run_id: str = "r1") -> Run[World]:
    return Run(state, run_id, steps or [Toy(name) for name in NAMES], world)


def begin(run: Run[World], operator: str = "maria", cooldown_seconds: float = 0.0) -> None:
    run.begin("toy", operator, {"toy": True}, companies=["962301"], cooldown_seconds=cooldown_seconds)


def sleep_for(seconds: float) -> Callable[[World], None]:
    return lambda _world: time.sleep(seconds)


def _kill_behind(line: int) -> None:
    """The journal is the real one; only the moment of death is ours."""
    append = Journal.append

    def append_and_die(self: Journal, event: str, **details: Any) -> None:
        append(self, event, **details)
        if len(self.events()) == line:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = append_and_die  # type: ignore[method-assign]


def main() -> None:
    state, world, action = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if len(sys.argv) > 4:
        _kill_behind(int(sys.argv[4]))
    run = toy_run(state, world)
    if action == "undo":
        run.undo("asked for")
        return
    if not run.state.events:
        begin(run)
    run.run_all()
    run.finish("done")


if __name__ == "__main__":
    main()
