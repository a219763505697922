# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine with toy steps: order, resume, undo, the point of no return, budgets, and death behind every line."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baileys_resilience.errors import (
    ApplicationError,
    Busy,
    DatabaseError,
    DeadlineExceeded,
    ResilienceError,
    StepFailed,
    UsageError,
)
from baileys_resilience.steps.engine import Step
from tests.unit.steps.toy import NAMES, NoReturn, Toy, World, begin, calls, made, sleep_for, toy_run

TOY = Path(__file__).with_name("toy.py")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return tmp_path / "world"


def fail(_world: World) -> None:
    raise ApplicationError("broke", operation="toy", hint="mend it")


def crash(_world: World) -> None:
    raise KeyError("surprise")


def steps_with(second: Step[World]) -> list[Step[World]]:
    return [Toy("first"), second, Toy("third")]


def test_a_run_executes_its_steps_in_order_and_writes_intent_and_result_of_each(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    run.run_all()
    run.finish("done")
    assert calls(world) == [f"apply {name}" for name in NAMES]
    said = [(e["event"], e.get("step")) for e in run.journal.events()]
    steps = [(event, name) for name in NAMES for event in ("step_started", "step_noted", "step_done")]
    assert said == [("run_started", None), *steps, ("run_finished", None)]
    assert run.lease.current() is None
    assert json.loads((run.directory / "plan.json").read_text()) == {"toy": True}


def test_a_step_out_of_order_is_refused_with_the_name_of_the_next(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    run.execute("first")
    with pytest.raises(UsageError) as caught:
        run.execute("third")
    assert caught.value.cause == "the next step is second"
    assert "in order" in caught.value.hint
    assert made(world) == ["first"]


def test_a_step_that_does_not_exist_is_refused_with_the_names_of_those_that_do(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    with pytest.raises(UsageError) as caught:
        run.execute("fourth")
    assert "first, second, third" in caught.value.hint


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_that_has_ended_or_never_began_takes_no_steps(state: Path, world: World, ended: bool) -> None:
    run = toy_run(state, world)
    if ended:
        begin(run)
        run.finish("done")
    with pytest.raises(UsageError) as caught:
        run.execute("first")
    assert ("has ended" if ended else "no such run") in caught.value.cause
    assert made(world) == []


def test_a_step_that_is_done_and_holds_is_passed_over_and_one_that_no_longer_holds_is_done_again(
    state: Path, world: World
) -> None:
    run = toy_run(state, world)
    begin(run)
    run.run_all()
    (world / "second").unlink()
    toy_run(state, world).run_all()
    assert calls(world) == ["apply first", "apply second", "apply third", "apply second"]
    assert made(world) == list(NAMES)


def test_a_failed_step_is_written_down_raised_as_it_is_and_resumed(state: Path, world: World) -> None:
    run = toy_run(state, world, steps_with(Toy("second", fail)))
    begin(run)
    with pytest.raises(ApplicationError) as caught:
        run.run_all()
    assert caught.value.hint == "mend it"
    last_error = run.state.last_error
    assert last_error is not None
    assert (last_error["error"], last_error["cause"]) == ("application", "broke")
    toy_run(state, world).run_all()
    assert made(world) == list(NAMES)


def test_an_unexpected_exception_becomes_a_failed_step_that_asks_for_a_report(state: Path, world: World) -> None:
    run = toy_run(state, world, steps_with(Toy("second", crash)))
    begin(run)
    with pytest.raises(StepFailed) as caught:
        run.run_all()
    assert "KeyError: 'surprise'" in caught.value.cause
    assert "defect" in caught.value.hint
    assert run.journal.events()[-1]["event"] == "step_failed"


def test_a_postcondition_that_is_not_so_fails_the_step(state: Path, world: World) -> None:
    class Liar(Toy):
        def verify(self, context: World, result: object) -> None:
            raise StepFailed("it is not so")

    run = toy_run(state, world, steps_with(Liar("second")))
    begin(run)
    with pytest.raises(StepFailed):
        run.run_all()
    assert not run.state.done("second")


def test_undo_goes_backwards_and_gives_a_step_that_never_ended_its_notes(state: Path, world: World) -> None:
    run = toy_run(state, world, steps_with(Toy("second", fail)))
    begin(run)
    with contextlib.suppress(ApplicationError):
        run.run_all()
    assert run.undo("it failed") == ["second", "first"]
    assert calls(world)[-2:] == ["undo second noted", "undo first made"]
    assert made(world) == []
    assert run.state.outcome == "undone"
    assert run.lease.current() is None


def test_a_step_killed_before_its_first_note_is_undone_with_nothing_known(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    run.execute("first")
    run.journal.append("step_started", step="second", title="")
    assert toy_run(state, world).undo("cut off") == ["second", "first"]
    assert calls(world)[-2:] == ["undo second nothing", "undo first made"]


def test_an_undone_run_leaves_no_cooldown_and_a_finished_one_does(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    run.undo("no")
    again = toy_run(state, world, run_id="r2")
    begin(again, cooldown_seconds=300)
    again.run_all()
    again.finish("done")
    with pytest.raises(Busy):
        begin(toy_run(state, world, run_id="r3"), cooldown_seconds=300)
    assert not (state / "runs" / "r3" / "journal.jsonl").exists()


def test_nothing_is_undone_past_the_point_of_no_return(state: Path, world: World) -> None:
    run = toy_run(state, world, steps_with(NoReturn("second", fail)))
    begin(run)
    with contextlib.suppress(ApplicationError):
        run.run_all()
    with pytest.raises(StepFailed) as caught:
        run.undo("please")
    assert "has logged in from the new store at 20" in caught.value.cause
    assert "resume" in caught.value.hint
    assert "failback" in caught.value.hint
    assert made(world) == ["first", "second"]
    toy_run(state, world).run_all()
    assert made(world) == list(NAMES)


def test_a_run_that_is_being_undone_takes_no_more_steps_and_the_undo_is_completed(state: Path, world: World) -> None:
    class Stubborn(Toy):
        def undo(self, context: World, result: object) -> None:
            raise ApplicationError("cannot", hint="push")

    run = toy_run(state, world, [Stubborn("first"), Toy("second"), Toy("third")])
    begin(run)
    run.run_all()
    with pytest.raises(ApplicationError):
        run.undo("asked for")
    later = toy_run(state, world)
    with pytest.raises(UsageError) as caught:
        later.execute("third")
    assert "is being undone" in caught.value.cause
    assert "undo" in caught.value.hint
    later.undo("again")
    assert made(world) == []
    assert calls(world).count("undo third made") == 1


def test_an_unexpected_exception_in_an_undo_is_a_typed_error_too(state: Path, world: World) -> None:
    class Broken(Toy):
        def undo(self, context: World, result: object) -> None:
            raise OSError(5, "Input/output error")

    run = toy_run(state, world, [Broken("first")])
    begin(run)
    run.run_all()
    with pytest.raises(ResilienceError) as caught:
        run.undo("asked for")
    assert "Input/output error" in caught.value.cause
    assert caught.value.subject == "first"
    assert toy_run(state, world, [Toy("first")]).undo("again") == ["first"]


def test_a_step_that_outlives_its_budget_is_ended_and_says_so(state: Path, world: World) -> None:
    run = toy_run(state, world, steps_with(Toy("second", sleep_for(30), budget_seconds=0.2)))
    begin(run)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        run.run_all()
    assert time.monotonic() - started < 5
    assert "its budget of 0.2 s" in caught.value.cause
    assert caught.value.subject == "second"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_step_that_passes_over_database_errors_does_not_pass_over_its_budget(state: Path, world: World) -> None:
    def forgiving(_world: World) -> None:
        for _source in range(3):
            with contextlib.suppress(DatabaseError, ResilienceError):
                time.sleep(10)

    run = toy_run(state, world, steps_with(Toy("second", forgiving, budget_seconds=0.2)))
    begin(run)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run.run_all()
    assert time.monotonic() - started < 5


def test_a_second_run_finds_the_host_taken_and_the_first_goes_on(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    with pytest.raises(Busy) as caught:
        begin(toy_run(state, world, run_id="r2"), operator="hugo")
    assert "r1 by maria is open since" in caught.value.cause
    run.run_all()
    assert made(world) == list(NAMES)


def test_the_end_of_a_run_never_releases_the_lease_of_another(state: Path, world: World) -> None:
    run = toy_run(state, world)
    begin(run)
    run.lease.release(None)
    other = toy_run(state, world, run_id="r2")
    begin(other, operator="hugo")
    run.finish("done")
    held = other.lease.current()
    assert held is not None
    assert held.operator == "hugo"


def run_toy(state: Path, world: World, action: str, *line: str) -> int:
    argv = [sys.executable, str(TOY), str(state), str(world), action, *line]
    return subprocess.run(argv, timeout=30, check=False, cwd=TOY.parents[3]).returncode


LINES = range(1, 12)  # run_started, three lines a step, run_finished


@pytest.mark.parametrize("line", LINES)
def test_killed_behind_any_line_a_resumed_run_is_whole(state: Path, world: World, line: int) -> None:
    assert run_toy(state, world, "run", str(line)) == -signal.SIGKILL
    whole = len(toy_run(state, world).journal.events())
    assert whole == line
    if line < max(LINES):
        assert run_toy(state, world, "resume") == 0
        assert toy_run(state, world).lease.current() is None
    assert made(world) == list(NAMES)
    assert toy_run(state, world).state.outcome == "done"


@pytest.mark.parametrize("line", range(1, max(LINES)))
def test_killed_behind_any_line_an_undone_run_leaves_nothing(state: Path, world: World, line: int) -> None:
    assert run_toy(state, world, "run", str(line)) == -signal.SIGKILL
    assert run_toy(state, world, "undo") == 0
    assert made(world) == []
    assert toy_run(state, world).state.outcome == "undone"


@pytest.mark.parametrize("more", range(1, 5))  # undo_started, then step_undone of each
def test_an_undo_killed_behind_any_line_is_completed(state: Path, world: World, more: int) -> None:
    assert run_toy(state, world, "run", "10") == -signal.SIGKILL
    assert run_toy(state, world, "undo", str(10 + more)) == -signal.SIGKILL
    assert run_toy(state, world, "undo") == 0
    assert made(world) == []
    undone = [each.split()[1] for each in calls(world) if each.startswith("undo")]
    assert sorted(undone) == sorted(NAMES), "a step that was undone is not undone twice"
