# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that go on by themselves: shown in order, a failure told once, a dead process noticed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from baileys_resilience.errors import ApplicationError, ResilienceError
from baileys_resilience.steps import detached
from baileys_resilience.steps.detached import detach, follow
from baileys_resilience.steps.engine import Run
from tests.unit.steps.toy import NAMES, Toy, World, begin, calls, made, sleep_for, toy_run

DEADLINE_SECONDS = 10.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return tmp_path / "world"


def begun(state: Path, world: World, during: Callable[[World], None] | None = None) -> Run[World]:
    """A run whose second step does `during`."""
    run = toy_run(state, world, [Toy(name, during if name == "second" else None) for name in NAMES])
    begin(run)
    return run


def nobody(error: ResilienceError) -> None:
    raise AssertionError(error)


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < limit, "not in time"
        time.sleep(0.01)


def test_steps_go_on_without_their_caller_and_each_is_shown(state: Path, world: World) -> None:
    run = begun(state, world, sleep_for(0.2))
    began = time.monotonic()
    detach(run, NAMES, nobody)
    assert time.monotonic() - began < 0.2
    shown = [follow(run.directory, name) for name in NAMES]
    assert [each.title for each in shown if each] == ["do the first", "do the second", "do the third"]
    assert calls(world) == ["apply first", "apply second", "apply third"]
    assert shown[1] is not None
    assert shown[1].result["made"] is True


def test_without_a_detached_process_the_caller_has_to_run_the_step(state: Path, world: World) -> None:
    run = begun(state, world)
    assert follow(run.directory, "first") is None
    run.execute("first")
    assert follow(run.directory, "first") is None


def test_a_failure_is_raised_once_where_its_step_is_shown_and_later_steps_are_not_run(
    state: Path, world: World
) -> None:
    def fail(_world: World) -> None:
        raise ApplicationError("no process appeared", operation="start service", subject="wa", hint="see its log")

    run = begun(state, world, fail)
    detach(run, NAMES, nobody)
    assert follow(run.directory, "first") is not None
    with pytest.raises(ApplicationError, match="no process appeared") as caught:
        follow(run.directory, "second")
    assert caught.value.hint == "see its log"
    assert follow(run.directory, "second") is None
    assert "apply third" not in calls(world)


def test_a_detached_process_that_is_killed_leaves_its_step_to_the_caller(state: Path, world: World) -> None:
    run = begun(state, world, _remember_and_hang)
    detach(run, NAMES, nobody)
    wait_for(lambda: (world / "pid").exists() and (world / "pid").read_text() != "")
    os.kill(int((world / "pid").read_text()), signal.SIGKILL)
    assert follow(run.directory, "second") is None
    again = toy_run(state, world)
    again.run_all()
    assert made(world) == list(NAMES)


def _remember_and_hang(world: World) -> None:
    (world / "pid").write_text(str(os.getpid()))
    time.sleep(DEADLINE_SECONDS)


def test_what_was_done_long_ago_is_asked_again(state: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(state, world)
    detach(run, NAMES, nobody)
    assert follow(run.directory, "third") is not None
    monkeypatch.setattr(detached, "_FRESH_SECONDS", 0.0)
    assert follow(run.directory, "third") is None


@pytest.mark.parametrize("told", [True, False])
def test_a_failure_is_given_up_by_its_process_only_when_nobody_asked_for_it(
    state: Path, world: World, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(detached, "PATIENCE_SECONDS", 5.0 if told else 0.1)

    def fail(_world: World) -> None:
        raise ApplicationError("no process appeared", operation="start service", subject="wa", hint="see its log")

    def abandoned(error: ResilienceError) -> None:
        (world / "abandoned").write_text(error.cause)

    run = begun(state, world, fail)
    detach(run, NAMES, abandoned)
    if told:
        with pytest.raises(ApplicationError):
            follow(run.directory, "second")
    detached.wait_for_end(run.directory)
    assert (world / "abandoned").exists() is not told
