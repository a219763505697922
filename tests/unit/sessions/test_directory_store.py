# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions' home: what is replaced and what is not, swaps that a crash cuts anywhere, the lock, the expiry."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baileys_resilience import files
from baileys_resilience.errors import Busy, ForeignFiles, NotWritable, ResilienceError, StoreError, UsageError
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.manifest import MANIFEST_FILE
from tests.support.sources import MemorySource, assert_holds, user_of
from tests.support.synthetic import SMALL_MIX, Company, make_company

OLD = make_company("962301", 1, SMALL_MIX).named("old")
NEW = make_company("962301", 2, SMALL_MIX)


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    return SessionsHome(tmp_path / "sessions")


def export(home: SessionsHome, company: Company) -> None:
    named = Company("962301", company.creds, company.keys)
    report = export_companies(MemorySource([named]), home, ["962301"])
    assert report.failed == {}


def previous(home: SessionsHome) -> list[Path]:
    return sorted((home.private / "previous").iterdir())


class Crash(BaseException):
    """Ends the process as SIGKILL would: no handler of the library may catch it."""


@contextmanager
def crash_at_call(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[str]]:
    """Let the process die before the `number`-th rename or removal of a swap, or not at all when there are fewer."""
    calls: list[str] = []
    with monkeypatch.context() as patch:
        for module, name in ((os, "rename"), (files, "exchange"), (files, "write_at"), (os, "unlink")):
            real = getattr(module, name)

            def step(*args: object, _real: object = real, _name: str = name, **kwargs: object) -> object:
                calls.append(_name)
                if len(calls) == number:
                    raise Crash
                return _real(*args, **kwargs)  # type: ignore[operator]

            patch.setattr(module, name, step)
        yield calls


# What is replaced


def test_the_replaced_directory_is_kept_whole_and_found(home: SessionsHome) -> None:
    export(home, OLD)
    export(home, NEW)
    assert_holds(home.directory("962301"), NEW)
    (kept,) = previous(home)
    assert user_of(kept) == OLD.creds["me"]["id"]
    assert (kept / MANIFEST_FILE).exists()


def test_left_over_files_of_baileys_crash_safe_writes_are_no_foreign_files(home: SessionsHome) -> None:
    export(home, OLD)
    for name in ("session-1.json.tmp", "creds.json.bak"):
        (home.directory("962301") / name).write_text("{}")
    export(home, NEW)
    assert_holds(home.directory("962301"), NEW)


@pytest.mark.parametrize("name", ["notes.txt", ".env", "photos/"])
def test_foreign_files_are_refused_by_name_and_nothing_is_touched(home: SessionsHome, name: str) -> None:
    export(home, OLD)
    foreign = home.directory("962301") / name
    foreign.mkdir() if name.endswith("/") else foreign.write_text("mine")
    report = export_companies(MemorySource([NEW]), home, ["962301"])
    error = report.failed["962301"]
    assert isinstance(error, ForeignFiles)
    assert name.rstrip("/") in error.cause
    assert "move those files away" in error.hint
    assert user_of(home.directory("962301")) == OLD.creds["me"]["id"]
    assert foreign.exists()


def test_json_files_of_something_else_are_refused(home: SessionsHome) -> None:
    home.directory("962301").mkdir(parents=True)
    (home.directory("962301") / "package.json").write_text("{}")
    with pytest.raises(ForeignFiles) as caught:
        home.check_replaceable("962301")
    assert "files without creds.json" in caught.value.cause


def test_an_empty_directory_is_replaceable(home: SessionsHome) -> None:
    home.directory("962301").mkdir(parents=True)
    export(home, NEW)
    assert_holds(home.directory("962301"), NEW)


def test_a_symbolic_link_in_the_companys_place_is_refused(home: SessionsHome, tmp_path: Path) -> None:
    home.path.mkdir()
    (tmp_path / "elsewhere").mkdir()
    home.directory("962301").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ForeignFiles) as caught:
        home.check_replaceable("962301")
    assert caught.value.hint == "move it away, or name another dest"


def test_a_symbolic_link_among_the_files_is_foreign(home: SessionsHome) -> None:
    export(home, OLD)
    (home.directory("962301") / "session-9.json").symlink_to("/etc/hostname")
    with pytest.raises(ForeignFiles):
        home.check_replaceable("962301")


def test_a_file_in_the_place_of_the_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("")
    with pytest.raises(StoreError):
        SessionsHome(tmp_path / "sessions").prepare()


def test_a_home_that_cannot_be_written_is_refused_before_anything_else(tmp_path: Path) -> None:
    # /proc takes no files from anybody, root included.
    with pytest.raises(ResilienceError) as caught:
        SessionsHome(Path("/proc/sessions")).prepare()
    assert isinstance(caught.value, (NotWritable, StoreError))
    assert "/proc/sessions" in caught.value.subject


@pytest.mark.parametrize("company", ["../x", "a/b", "..", ".", "", "a\0b", "x" * 300])
def test_an_id_that_is_no_directory_name_is_refused(home: SessionsHome, company: str) -> None:
    with pytest.raises(UsageError) as caught:
        SessionsHome(home.path, "{company_id}").directory(company)
    assert "are refused" in caught.value.hint


@pytest.mark.parametrize("template", ["sessions", "{company}", "{", "{0}", "a/{company_id}"])
def test_a_template_that_cannot_name_directories_is_refused(home: SessionsHome, template: str) -> None:
    with pytest.raises(UsageError):
        SessionsHome(home.path, template).directory("962301")


def test_companies_are_found_by_the_template(tmp_path: Path) -> None:
    home = SessionsHome(tmp_path, "wa-{company_id}-session")
    for name in ("wa-2-session", "wa-1-session", "wa-session", "other", ".wa-3-session"):
        (tmp_path / name).mkdir()
    (tmp_path / "wa-4-session").write_text("a file")
    assert home.companies() == ["1", "2"]
    assert SessionsHome(tmp_path / "none").companies() == []


# Swaps that a crash cuts


def swap(home: SessionsHome, monkeypatch: pytest.MonkeyPatch, crash_number: int) -> bool:
    """Replace OLD by NEW, dying before call `crash_number`; True when the swap was cut."""
    export(home, OLD)
    with crash_at_call(monkeypatch, crash_number) as calls:
        try:
            export(home, NEW)
        except Crash:
            return True
    assert len(calls) < crash_number
    return False


def assert_old_or_new_whole(home: SessionsHome) -> None:
    place = home.directory("962301")
    assert_holds(place, Company("962301", **_material(OLD if user_of(place) == OLD.creds["me"]["id"] else NEW)))


def _material(company: Company) -> dict[str, dict]:  # type: ignore[type-arg]
    return {"creds": company.creds, "keys": company.keys}


@pytest.mark.parametrize("number", range(1, 11))
def test_a_crash_anywhere_in_a_swap_leaves_the_old_or_the_new_whole(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cut = swap(home, monkeypatch, number)
    assert cut or number > 4
    assert_old_or_new_whole(home)
    export(home, NEW)
    assert_holds(home.directory("962301"), NEW)
    assert any(user_of(each) == OLD.creds["me"]["id"] for each in previous(home))


@pytest.mark.parametrize("number", range(1, 14))
def test_without_an_atomic_exchange_the_next_run_completes_what_a_crash_cut(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(files, "exchange", lambda *_paths, **_descriptors: False)
    cut = swap(home, monkeypatch, number)
    assert cut or number > 9
    with home.locked():
        assert_old_or_new_whole(home)
    assert not (home.private / "swap.json").exists()
    export(home, NEW)
    assert_holds(home.directory("962301"), NEW)
    assert any(user_of(each) == OLD.creds["me"]["id"] for each in previous(home))


def test_the_two_step_swap_is_really_used_where_exchange_cannot(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(home, OLD)
    monkeypatch.setattr(files, "exchange", lambda *_paths, **_descriptors: False)
    with crash_at_call(monkeypatch, 99) as calls:
        export(home, NEW)
    assert calls.count("rename") == 4
    assert calls.count("write_at") == 2  # the probe, and the intent


def test_a_swap_that_fails_is_the_companys_own_failure(home: SessionsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    export(home, OLD)
    other = make_company("962302", 3, SMALL_MIX)
    real = os.rename

    def refuse(source: str, target: str, **descriptors: int) -> None:
        if "962301" in str(target):
            raise PermissionError(1, "Operation not permitted")
        real(source, target, **descriptors)

    monkeypatch.setattr(os, "rename", refuse)
    report = export_companies(MemorySource([NEW, other]), home, ["962301", "962302"])
    assert isinstance(report.failed["962301"], NotWritable)
    assert [each.company for each in report.exported] == ["962302"]
    assert user_of(home.directory("962301")) == OLD.creds["me"]["id"]


# Lock, staging, expiry


def test_a_second_process_is_told_that_somebody_writes_here(home: SessionsHome, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from baileys_resilience.sessions.directory_store import SessionsHome\n"
        "with SessionsHome(Path(sys.argv[1])).locked():\n print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, home.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdin
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(Busy) as caught, home.locked():
        pass
    assert caught.value.retryable
    assert "wait for it to end" in caught.value.hint
    holder.kill()
    holder.communicate(timeout=10)
    with home.locked():
        pass


def test_what_an_interrupted_export_left_in_staging_is_removed_by_the_next(home: SessionsHome) -> None:
    home.prepare()
    left = home.private / "staging" / "company_962301.1.1"
    left.mkdir()
    (left / "creds.json").write_text("{}")
    export(home, NEW)
    assert list((home.private / "staging").iterdir()) == []


def test_a_failed_company_leaves_nothing_in_staging(home: SessionsHome) -> None:
    source = MemorySource([NEW], {("962301", "pre-key", next(i for t, i in NEW.keys if t == "pre-key")): b"{}"})
    assert export_companies(source, home, ["962301"]).failed
    assert list((home.private / "staging").iterdir()) == []
    assert not home.directory("962301").exists()


def test_replaced_directories_are_removed_after_their_expiry_only(home: SessionsHome) -> None:
    home.prepare()
    now = time.time_ns()
    young = home.private / "previous" / f"company_1.{now - 6 * 24 * 3600 * 10**9}"
    aged = home.private / "previous" / f"company_1.{now - 8 * 24 * 3600 * 10**9}"
    strange = home.private / "previous" / "company_1.kept-by-hand"
    for each in (young, aged, strange):
        each.mkdir()
        (each / "creds.json").write_text("{}")
    assert home.expire_previous() == [aged]
    assert previous(home) == sorted([young, strange])


def test_owner_and_group_are_given_to_everything_that_is_written(tmp_path: Path) -> None:
    # Only root can give files away; anybody else can at least name themselves.
    wanted = (65534, 65534) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    home = SessionsHome(tmp_path / "sessions", owner=wanted)
    export(home, NEW)
    place = home.directory("962301")
    written = [home.path, place, *place.iterdir()]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in written} == {wanted}
