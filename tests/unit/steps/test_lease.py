# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One operator a host: the second is told who and since when, and of two at the same moment exactly one wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from baileys_resilience.clock import now_iso, to_iso, utc_now
from baileys_resilience.errors import Busy, StoreError
from baileys_resilience.steps.lease import HostLease, Lease

MARIA = Lease("20260101T030000-failover-1", "failover", "maria", "2026-01-01T03:00:00.000000Z")
TAKE = """
import os, sys, time
from pathlib import Path
from baileys_resilience.errors import Busy
from baileys_resilience.steps.lease import HostLease, Lease
lease = HostLease(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    lease.take(Lease("run-" + sys.argv[2], "failover", sys.argv[2], "2026-01-01T03:00:00Z"), cooldown_seconds=0)
    print("won", flush=True)
except Busy as exc:
    print("lost " + exc.cause, flush=True)
"""
HOLD = """
import sys
from pathlib import Path
from baileys_resilience.steps.lease import HostLease
with HostLease(Path(sys.argv[1])).executing("stop"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def lease(tmp_path: Path) -> HostLease:
    return HostLease(tmp_path / "state")


def program(source: str, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", source, *arguments]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_free_host_has_no_holder_and_taking_it_names_one(lease: HostLease, tmp_path: Path) -> None:
    assert lease.current() is None
    lease.take(MARIA, cooldown_seconds=300)
    assert lease.current() == MARIA
    assert os.stat(tmp_path / "state" / "active.json").st_mode & 0o777 == 0o600
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["active.json"]


def test_the_second_operator_is_told_who_holds_the_host_and_since_when(lease: HostLease) -> None:
    lease.take(MARIA, cooldown_seconds=0)
    with pytest.raises(Busy) as caught:
        lease.take(Lease("r2", "failover", "hugo", now_iso()), cooldown_seconds=0)
    assert "by maria is open since 2026-01-01T03:00:00" in caught.value.cause
    assert "failover resume (or undo)" in caught.value.hint
    assert lease.current() == MARIA


def test_the_cooldown_says_who_ended_and_how_many_seconds_are_left(lease: HostLease) -> None:
    lease.take(MARIA, cooldown_seconds=300)
    ended = to_iso(utc_now() - timedelta(seconds=60))
    lease.release(Lease(MARIA.run, "failover", "maria", ended))
    with pytest.raises(Busy) as caught:
        lease.take(Lease("r2", "failover", "hugo", now_iso()), cooldown_seconds=300)
    assert "a failover by maria ended 6" in caught.value.cause
    wait = int(caught.value.hint.split()[1])
    assert 230 <= wait <= 240, caught.value.hint
    assert "failover_cooldown to 0" in caught.value.hint
    assert lease.current() is None


def test_a_run_that_ended_before_the_clock_was_set_back_a_year_keeps_nobody_waiting(lease: HostLease) -> None:
    lease.take(MARIA, cooldown_seconds=300)
    lease.release(Lease(MARIA.run, "failover", "maria", to_iso(utc_now() + timedelta(days=365))))
    lease.check_cooldown("failover", 300)
    assert lease.current() is None


@pytest.mark.parametrize(("operation", "cooldown"), [("failback", 300.0), ("failover", 0.0), ("failover", 30.0)])
def test_the_cooldown_stops_neither_another_operation_nor_one_after_its_time(
    lease: HostLease, operation: str, cooldown: float
) -> None:
    lease.take(MARIA, cooldown_seconds=0)
    lease.release(Lease(MARIA.run, "failover", "maria", to_iso(utc_now() - timedelta(seconds=60))))
    lease.take(Lease("r2", operation, "hugo", now_iso()), cooldown_seconds=cooldown)
    held = lease.current()
    assert held is not None
    assert held.run == "r2"


def test_an_undone_run_leaves_no_cooldown(lease: HostLease) -> None:
    lease.take(MARIA, cooldown_seconds=0)
    lease.release(None)
    lease.take(Lease("r2", "failover", "hugo", now_iso()), cooldown_seconds=300)


def test_of_several_processes_that_take_the_host_at_the_same_moment_exactly_one_wins(tmp_path: Path) -> None:
    names = ["maria", "hugo", "lena", "otto"]
    for turn in range(3):
        state = tmp_path / str(turn)
        racers = [program(TAKE, str(state), name) for name in names]
        assert [line_of(each) for each in racers] == ["ready"] * len(racers)
        for each in racers:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        said = [each.communicate(timeout=20)[0].strip() for each in racers]
        winners = [name for name, word in zip(names, said, strict=True) if word == "won"]
        assert len(winners) == 1, said
        assert json.loads((state / "active.json").read_text())["operator"] == winners[0]
        assert all(f"by {winners[0]} is open since" in word for word in said if word != "won"), said
        assert [path.name for path in state.iterdir()] == ["active.json"]


def test_a_step_is_executed_by_one_process_at_a_time_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    lease = HostLease(tmp_path)
    lease.take(MARIA, cooldown_seconds=0)
    holder = program(HOLD, str(tmp_path))
    try:
        assert line_of(holder) == "held"
        with pytest.raises(Busy) as caught, lease.executing("stop"):
            pass
        assert "by maria is open since" in caught.value.cause
    finally:
        holder.kill()
        holder.communicate(timeout=20)
    with lease.executing("stop"):
        pass


def test_a_lease_file_that_cannot_be_read_counts_as_taken(lease: HostLease, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "active.json").write_text("")
    with pytest.raises(Busy) as caught:
        lease.take(MARIA, cooldown_seconds=0)
    assert "unknown" in caught.value.cause


def test_a_lease_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "active.json").symlink_to(tmp_path / "active.json")
    with pytest.raises(StoreError) as caught:
        HostLease(tmp_path).current()
    assert (caught.value.operation, caught.value.subject) == ("read", str(tmp_path / "active.json"))
