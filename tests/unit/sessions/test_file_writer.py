# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that makes a company's files: what it meets is told like what we meet ourselves, and it never stays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from baileys_resilience.errors import KeyUndecodable, NameCollision, NoSpace, NotWritable, ResilienceError, StoreError
from baileys_resilience.sessions import file_writer
from baileys_resilience.sessions.codec import short_id
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.file_writer import FILES_TOGETHER, FileWriter
from tests.support.sources import MemorySource, assert_holds
from tests.support.synthetic import SMALL_MIX, Company, make_company

BIG = make_company("962301", 1, {**SMALL_MIX, "pre-key": 4 * FILES_TOGETHER})
SMALL = make_company("962302", 2, SMALL_MIX)
PRE_KEYS = [name for name in BIG.keys if name[0] == "pre-key"]


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    return SessionsHome(tmp_path / "sessions")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were started, by id."""
    pids: list[int] = []
    fork = os.fork

    def noted() -> int:
        pid = fork()
        pids.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", noted)
    return pids


def in_the_process(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Let `act` happen in the process that makes the files, before each call of os.`name`."""
    us, real = os.getpid(), getattr(os, name)

    def call(*arguments: object, **options: object) -> object:
        if os.getpid() != us:
            act()
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, call)


def error_of_big(home: SessionsHome, started: list[int]) -> ResilienceError:
    """The error of the big company, while the small one is exported and nothing of the big one is left."""
    report = export_companies(MemorySource([BIG, SMALL]), home, [BIG.id, SMALL.id])
    assert [each.company for each in report.exported] == [SMALL.id]
    assert_holds(home.directory(SMALL.id), SMALL)
    assert not home.directory(BIG.id).exists()
    assert list((home.private / "staging").iterdir()) == []
    assert_gone(started)
    return report.failed[BIG.id]


def assert_gone(pids: list[int]) -> None:
    """None is there any more, not even for somebody to ask how it ended."""
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_many_files_are_made_by_a_process_that_ends_with_the_company(home: SessionsHome, started: list[int]) -> None:
    assert export_companies(MemorySource([BIG]), home, [BIG.id]).failed == {}
    assert_holds(home.directory(BIG.id), BIG)
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.directory(BIG.id).iterdir()} == {0o600}
    assert len(started) == 1
    assert_gone(started)


def test_a_few_files_need_no_process(home: SessionsHome, started: list[int]) -> None:
    assert export_companies(MemorySource([SMALL]), home, [SMALL.id]).failed == {}
    assert_holds(home.directory(SMALL.id), SMALL)
    assert started == []


def test_a_process_that_shares_an_export_with_others_makes_its_files_itself(
    home: SessionsHome, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "parent_process", object)
    assert export_companies(MemorySource([BIG]), home, [BIG.id]).failed == {}
    assert_holds(home.directory(BIG.id), BIG)
    assert started == []


def test_a_process_that_is_killed_fails_its_company_only(
    home: SessionsHome, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_process(monkeypatch, "write", lambda: os.kill(os.getpid(), signal.SIGKILL))
    error = error_of_big(home, started)
    assert type(error) is StoreError
    assert "was killed" in error.cause
    assert "out-of-memory killer" in error.hint
    assert error.subject == BIG.id
    assert error.retryable


@pytest.mark.parametrize("room", [0, len(BIG.keys) - 2], ids=["at the first file", "at one of the last"])
def test_a_full_disk_is_told_as_such(
    home: SessionsHome, started: list[int], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    us, real, left = os.getpid(), os.write, [room]

    def write(descriptor: int, content: bytes) -> int:
        left[0] -= os.getpid() != us
        return real(descriptor, content) if left[0] >= 0 else 0

    monkeypatch.setattr(os, "write", write)
    error = error_of_big(home, started)
    assert type(error) is NoSpace
    assert "free space" in error.hint
    assert error.subject == BIG.id


def test_a_file_that_may_not_be_given_away_is_told_as_such(
    home: SessionsHome, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    in_the_process(monkeypatch, "fchown", refuse)
    error = error_of_big(SessionsHome(home.path, owner=(os.getuid(), os.getgid())), started)
    assert type(error) is NotWritable
    assert "run as root" in error.hint
    assert error.subject == BIG.id


def test_every_file_is_given_to_the_owner(home: SessionsHome, started: list[int]) -> None:
    wanted = (54321, 54322) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    owned = SessionsHome(home.path, owner=wanted)
    assert export_companies(MemorySource([BIG]), owned, [BIG.id]).failed == {}
    found = {(path.stat().st_uid, path.stat().st_gid) for path in owned.directory(BIG.id).iterdir()}
    assert found == {wanted}
    assert_gone(started)


@pytest.mark.parametrize("first", [0, len(PRE_KEYS) - 2], ids=["early", "at the end"])
def test_a_collision_names_both_keys_without_their_ids(home: SessionsHome, started: list[int], first: int) -> None:
    keys = list(BIG.keys.items())
    for place, key_id in ((first, "4917600001:2"), (len(keys), "4917600001-2")):
        keys.insert(place, (("device-list", key_id), []))
    twins = Company(BIG.id, BIG.creds, dict(keys))
    report = export_companies(MemorySource([twins]), home, [BIG.id])
    error = report.failed[BIG.id]
    assert type(error) is NameCollision
    one, two = short_id("4917600001:2"), short_id("4917600001-2")
    assert error.cause == f"device-list {one} and device-list {two} have the same file name"
    assert "delete it" in error.hint
    assert_gone(started)


def test_bad_data_ends_the_process_too(home: SessionsHome, started: list[int]) -> None:
    report = export_companies(MemorySource([BIG], {(BIG.id, *PRE_KEYS[-1]): b"{}"}), home, [BIG.id])
    assert type(report.failed[BIG.id]) is KeyUndecodable
    assert_gone(started)


def test_what_no_file_can_be_called_is_raised_here_as_it_is(home: SessionsHome, started: list[int]) -> None:
    odd = Company(BIG.id, BIG.creds, {**BIG.keys, ("device-list", "\ud800"): []})
    with pytest.raises(UnicodeEncodeError):
        export_companies(MemorySource([odd]), home, [BIG.id])
    assert_gone(started)


def test_a_process_is_ended_once_since_its_id_may_be_given_to_another(
    tmp_path: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    kill = os.kill
    monkeypatch.setattr(os, "kill", lambda pid, number: (killed.append(pid), kill(pid, number)))
    writer = FileWriter("962301", os.open(tmp_path, os.O_RDONLY), None)
    for number in range(FILES_TOGETHER):
        writer.add(str(number), b"x")
    writer.finish()
    writer.close()
    writer.close()
    assert killed == started
    assert len(os.listdir(tmp_path)) == FILES_TOGETHER


PROGRAM = """
import os, sys, time
from baileys_resilience.sessions.file_writer import FILES_TOGETHER, FileWriter
writer = FileWriter("962301", os.open(sys.argv[1], os.O_RDONLY), None)
for number in range(FILES_TOGETHER):
    writer.add(str(number), b"x")
print(writer._process._pid, flush=True)
time.sleep(60)
"""


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    """Also one that hangs on its disk, and would not see that nobody sends it any more."""
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    try:
        until(lambda: len(os.listdir(tmp_path)) == FILES_TOGETHER)
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        until(lambda: not lives(pid))
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def lives(pid: int) -> bool:
    """A zombie does not: where nobody takes its end, it stays as one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_process_says_nothing_in_the_name_of_who_started_it(
    home: SessionsHome, started: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the parent registered for its own end (closing connections, removing files) must not happen twice."""

    class Connection:
        def __del__(self) -> None:
            (tmp_path / f"closed by {os.getpid()}").touch()

    cycle: list[object] = [Connection()]
    cycle.append(cycle)
    del cycle
    export_companies(MemorySource([BIG]), home, [BIG.id])
    assert_gone(started)
    assert not (tmp_path / f"closed by {started[0]}").exists()
    assert file_writer.gc.isenabled()
