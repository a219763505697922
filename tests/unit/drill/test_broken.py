# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill breaks is written down before, heals whatever happens, and heals once."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.drill import broken, faults
from baileys_resilience.drill.broken import WATCH, BrokenHost
from baileys_resilience.drill.faults import Fault
from baileys_resilience.errors import Busy, ResilienceError, UsageError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the marks are: a file that is there means that the database is up."""
    (tmp_path / "up").touch()
    return tmp_path


def fault(place: Path, **other: Any) -> Fault:
    words: dict[str, Any] = {
        "break_command": ("rm", str(place / "up")),
        "heal_command": ("touch", str(place / "up")),
        **other,
    }
    return Fault("command", **words)


def host(place: Path) -> BrokenHost:
    return BrokenHost(place / "drill")


def eventually(condition: Callable[[], bool]) -> bool:
    limit = time.monotonic() + 20
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def test_what_is_broken_is_written_down_and_healed_once(place: Path) -> None:
    made = host(place).break_it(fault(place), "d1", "maria", 60)
    assert not (place / "up").exists()
    assert host(place).current() == made
    assert (place / "drill").stat().st_mode & 0o077 == 0
    assert (place / "drill" / "fault.json").stat().st_mode & 0o077 == 0
    healed = host(place).heal_it("maria")
    assert healed is not None
    assert (healed.drill, healed.by, healed.since) == ("d1", "maria", made.since)
    assert (place / "up").exists()
    assert host(place).current() is None
    (place / "up").unlink()
    assert host(place).heal_it("maria") is None
    assert not (place / "up").exists(), "healed twice"
    assert host(place).healed("d1") == healed
    assert host(place).healed("d2") is None


def test_a_host_that_was_never_broken_heals_to_nothing_and_stays_as_it_is(place: Path) -> None:
    assert host(place).heal_it("maria") is None
    assert not (place / "drill").exists()


def test_the_watch_heals_when_nobody_comes_in_time_and_says_so(place: Path) -> None:
    host(place).break_it(fault(place), "d1", "maria", 0.3)
    assert eventually(lambda: host(place).current() is None)
    assert (place / "up").exists()
    healed = host(place).healed("d1")
    assert healed is not None
    assert healed.by == WATCH


def test_a_watch_that_cannot_heal_tries_again_until_it_can(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken, "_RETRY_SECONDS", 0.1)
    heal = place / "heal.sh"
    heal.write_text(f"#!/bin/sh\ntest -e {place}/way-is-free && touch {place}/up\n")
    heal.chmod(0o700)
    host(place).break_it(fault(place, heal_command=(str(heal),)), "d1", "maria", 0.1)
    assert not (place / "up").exists()
    (place / "way-is-free").touch()
    assert eventually((place / "up").exists)


def test_the_watch_of_a_healed_drill_leaves_the_next_one_alone(place: Path) -> None:
    host(place).break_it(fault(place), "d1", "maria", 0.5)
    host(place).heal_it("maria")
    host(place).break_it(fault(place), "d2", "maria", 60)
    assert not eventually_within(1.5, (place / "up").exists)
    assert host(place).heal_it("maria") is not None


def eventually_within(seconds: float, condition: Callable[[], bool]) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_a_second_drill_is_refused_while_something_is_broken(place: Path) -> None:
    host(place).break_it(fault(place), "d1", "maria", 60)
    with pytest.raises(Busy) as caught:
        host(place).break_it(fault(place), "d2", "paul", 60)
    assert "d1 by maria broke this host" in caught.value.cause
    assert "baileys-resilience drill heal" in caught.value.hint
    host(place).heal_it("maria")


def test_breaking_that_fails_leaves_nothing_broken(place: Path) -> None:
    with pytest.raises(ResilienceError, match="exit code 1"):
        host(place).break_it(fault(place, break_command=("rm", str(place / "nothing"))), "d1", "maria", 60)
    assert host(place).current() is None
    assert (place / "up").exists()


def test_breaking_and_healing_that_both_fail_are_both_told_and_stay_written_down(place: Path) -> None:
    wrong = fault(place, break_command=("rm", str(place / "nothing")), heal_command=("rm", str(place / "nothing")))
    with pytest.raises(ResilienceError) as caught:
        host(place).break_it(wrong, "d1", "maria", 60)
    assert "; and healing failed: exit code 1" in caught.value.cause
    assert "heal it by hand" in caught.value.hint
    assert host(place).current() is not None
    (place / "drill" / "fault.json").unlink()


def test_a_drill_that_is_killed_while_it_breaks_is_healed_by_its_watch(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with the lock in its hands: the watch must not wait for a lock that it has inherited itself."""
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(faults, "bring_about", lambda _fault: os.kill(os.getpid(), signal.SIGKILL))
        host(place).break_it(fault(place), "d1", "maria", 0.5)
        os._exit(1)
    os.waitpid(child, 0)
    (place / "up").unlink()
    assert host(place).current() is not None
    assert eventually(lambda: host(place).current() is None)
    assert (place / "up").exists()


def test_the_lock_is_free_as_soon_as_the_host_is_broken(place: Path) -> None:
    host(place).break_it(fault(place), "d1", "maria", 60)
    with (place / "drill" / "fault.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    host(place).heal_it("maria")


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_fault_without_an_end_is_refused(place: Path, seconds: float) -> None:
    with pytest.raises(UsageError, match="there has to be an end"):
        host(place).break_it(fault(place), "d1", "maria", seconds)
    assert (place / "up").exists()


def test_a_broken_record_says_how_to_go_on(place: Path) -> None:
    (place / "drill").mkdir()
    (place / "drill" / "fault.json").write_text("{")
    with pytest.raises(ResilienceError, match="heal by hand, then remove this file"):
        host(place).heal_it("maria")


WRONG = [
    (Fault("burn"), "'burn' is no way to break", "choose one of stop, kill"),
    (Fault("kill"), "no unit is named", "failover_drill_unit"),
    (Fault("command", break_command=("true",)), "needs one to heal", "failover_drill_heal_command"),
    (Fault("isolate", addresses=("/run/postgresql",)), "unix socket", "choose stop, kill"),
]


@pytest.mark.parametrize(("wrong", "cause", "hint"), WRONG, ids=[each[1] for each in WRONG])
def test_a_fault_that_cannot_be_meant_is_refused_with_what_to_do(wrong: Fault, cause: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        faults.check(wrong)
    assert cause in caught.value.cause
    assert hint in caught.value.hint


def test_a_fault_is_read_back_as_it_was_written() -> None:
    made = Fault("command", break_command=("a", "b"), heal_command=("c",))
    assert Fault.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_what_a_command_is_given_does_not_get_into_an_error(place: Path) -> None:
    secret = "}X|o<7n?0 '\"$"
    with pytest.raises(ResilienceError) as caught:
        host(place).break_it(fault(place, break_command=("false", secret)), "d1", "maria", 60)
    assert secret not in str(caught.value)


def test_the_sentences_of_faults_are_those_that_the_page_shows() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "game_day.md").read_text("utf-8")
    made = Fault("isolate", addresses=("db.staging.example.net",))
    assert f"fault: isolate on wa_staging_1: {made.sentence()}\n" in page
    assert Fault("isolate").sentence().startswith("drop packets that come in for port 5432")
    assert (
        Fault("freeze", unit="postgresql@17-main").sentence() == "freeze every process of the unit postgresql@17-main"
    )
