# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that cannot go on as it began takes back what it has done so far, and goes another way."""

from __future__ import annotations

from pathlib import Path

import pytest

from baileys_resilience.errors import ApplicationError, ResilienceError, StepFailed
from baileys_resilience.steps.engine import OtherWay, Result, Run
from tests.unit.steps.toy import Toy, World, begin, calls, made


class OneWayOnly(Toy):
    """Fails until the journal says that it goes the other way."""

    run: Run[World]

    def apply(self, context: World, notes: object) -> Result:
        result = super().apply(context, notes)  # type: ignore[arg-type]
        if self.run.state.results["zero"].get("way") != "other":
            raise ApplicationError("not this way")
        return result


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return tmp_path / "world"


def run_of(world: World, first: Toy | None = None) -> Run[World]:
    def other_way(step: str, error: ResilienceError) -> OtherWay | None:
        return OtherWay("first", "zero", {"way": "other", "why": error.cause}) if step == "second" else None

    second = OneWayOnly("second")
    steps = [Toy("zero"), first or Toy("first"), second, Toy("third")]
    second.run = Run(world.parent / "state", "r1", steps, world, other_way=other_way)
    return second.run


def test_it_takes_back_what_came_before_the_failure_and_does_it_anew(world: World) -> None:
    run = run_of(world)
    begin(run)
    run.run_all()
    way = ["apply zero", "apply first", "apply second", "undo second noted", "undo first made"]
    assert calls(world) == [*way, "apply first", "apply second", "apply third"]
    assert run.state.results["zero"] == {
        "path": str(world / "zero"),
        "made": True,
        "way": "other",
        "why": "not this way",
    }
    assert run.state.undone == []
    run.undo("a test")
    assert made(world) == []
    assert calls(world)[-4:] == ["undo third made", "undo second made", "undo first made", "undo zero made"]


def test_what_cannot_be_taken_back_leaves_the_error_that_led_there(world: World) -> None:
    class Stuck(Toy):
        def undo(self, context: World, result: Result) -> None:
            raise StepFailed("it stays")

    run = run_of(world, Stuck("first"))
    begin(run)
    with pytest.raises(ApplicationError, match="not this way"):
        run.run_all()
    assert "way" not in run.state.results["zero"]


def test_a_run_that_was_killed_while_it_took_back_goes_on(world: World) -> None:
    """Before the line that says which way: it tries the first way once more."""
    run = run_of(world)
    begin(run)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run.journal, "append", _die_at(run, "begun_anew"))
        with pytest.raises(KeyboardInterrupt):
            run.run_all()
    again = run_of(world)
    again.run_all()
    assert made(world) == ["first", "second", "third"]
    assert again.state.undone == []


def _die_at(run: Run[World], line: str):  # type: ignore[no-untyped-def]
    append = run.journal.append

    def dying(event: str, **details: object) -> None:
        if event == line:
            raise KeyboardInterrupt
        append(event, **details)

    return dying
