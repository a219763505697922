# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging, reading back and sharing with an earlier copy, from a source in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import files
from baileys_resilience.errors import CredsInvalid, KeyUndecodable, NoSpace, VerificationFailed
from baileys_resilience.sessions import export as export_module
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import ExportReport, activate, export_companies, stage_batch
from baileys_resilience.sessions.manifest import MANIFEST_FILE
from baileys_resilience.sessions.verify import compare, inspect_company, verify_directory
from tests.support.sources import MemorySource, assert_holds
from tests.support.synthetic import SMALL_MIX, Company, expected_file_name, make_company

COMPANY = make_company(mix=SMALL_MIX)
SESSION = next(name for name in COMPANY.keys if name[0] == "session")


@pytest.fixture
def home(tmp_path: Path) -> SessionsHome:
    home = SessionsHome(tmp_path / "sessions")
    home.prepare()
    return home


def changed(company: Company) -> Company:
    """One key different, one more, one less."""
    keys = {
        **company.keys,
        SESSION: {**company.keys[SESSION], "version": "v2"},
        ("sender-key-memory", "new"): {"a": True},
    }
    del keys[next(name for name in keys if name[0] == "device-list")]
    return Company(company.id, company.creds, keys)


def damage_staged(monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object]) -> None:
    """Let `damage` do to one staged file what a disk could do before it is read back."""
    real = export_module._stage_company

    def stage(*arguments: Any) -> export_module.StagedCompany:
        staged = real(*arguments)
        damage(staged.path / expected_file_name(*SESSION))
        return staged

    monkeypatch.setattr(export_module, "_stage_company", stage)


def test_nothing_is_in_place_before_it_was_read_back(home: SessionsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_staged(monkeypatch, lambda path: path.write_bytes(b"{}"))
    error = export_companies(MemorySource([COMPANY]), home, [COMPANY.id]).failed[COMPANY.id]
    assert isinstance(error, VerificationFailed)
    assert "the file differs from the manifest" in error.cause
    assert not home.directory(COMPANY.id).exists()


def test_a_file_that_vanished_from_staging_is_found(home: SessionsHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "FEW_FILES", 0)
    damage_staged(monkeypatch, Path.unlink)
    error = export_companies(MemorySource([COMPANY]), home, [COMPANY.id]).failed[COMPANY.id]
    assert "the file is missing" in error.cause
    assert "export again" in error.hint


def test_nothing_is_in_place_when_the_disk_does_not_take_it(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise NoSpace("disk full")

    monkeypatch.setattr(export_module, "FEW_FILES", 0)
    monkeypatch.setattr(files, "sync_file_system", fail)
    with pytest.raises(NoSpace):
        export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    assert not home.directory(COMPANY.id).exists()


@pytest.mark.parametrize("bad", [0, 1, 2], ids=["at first", "on the way", "at last"])
def test_what_the_disk_says_while_we_still_write_counts_as_much_as_what_it_says_at_last(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """The kernel tells an error once, so the last sync may find nothing."""
    calls = []

    def sync(_path: Path) -> None:
        calls.append(1)
        if len(calls) == bad + 1:
            raise NoSpace("disk full")

    monkeypatch.setattr(export_module, "FEW_FILES", 0)
    monkeypatch.setattr(export_module, "FILES_AT_ONCE", len(COMPANY.keys) // 2)
    monkeypatch.setattr(export_module, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(files, "sync_file_system", sync)
    with pytest.raises(NoSpace):
        export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    assert len(calls) == 3
    assert not home.directory(COMPANY.id).exists()


class AtOnce:
    """A thread whose work is done before anybody looks: the same number of syncs on any machine."""

    def __init__(self, _threads: int) -> None: ...

    def submit(self, work: Callable[..., None], *arguments: object) -> Future[None]:
        future: Future[None] = Future()
        try:
            future.set_result(work(*arguments))  # type: ignore[func-returns-value]
        except NoSpace as exc:
            future.set_exception(exc)
        return future

    def shutdown(self) -> None: ...


@pytest.mark.parametrize("few", [0, 10**6])
def test_everything_is_made_durable_before_it_is_swapped_in(
    home: SessionsHome, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Many files by one sync of the file system, few by one each: in either case before the rename."""
    calls: list[str] = []
    for name in ("sync_file_system", "fsync_path", "fsync_directory"):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda path, _real=real, _name=name: (calls.append(_name), _real(path)))
    real_rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *paths, **at: (calls.append("rename"), real_rename(*paths, **at)))
    monkeypatch.setattr(export_module, "FEW_FILES", few)
    assert export_companies(MemorySource([COMPANY]), home, [COMPANY.id]).failed == {}
    before = calls[: calls.index("rename")]
    if few:
        assert before.count("fsync_path") == len(COMPANY.keys) + 2  # creds and manifest
        assert before[-1] == "fsync_directory"
    else:
        assert before == ["sync_file_system"]


def test_unchanged_files_are_shared_with_an_earlier_copy_and_changed_ones_are_not(home: SessionsHome) -> None:
    report = ExportReport(MemorySource([]).info)
    (first,) = stage_batch(MemorySource([COMPANY]), home, [COMPANY.id], report)
    later = changed(COMPANY)
    (second,) = stage_batch(MemorySource([later]), home, [later.id], report, lambda _company: first.path)
    assert report.failed == {}
    assert_holds(second.path, later)
    assert_holds(first.path, COMPANY)
    new = {expected_file_name(*SESSION), "sender-key-memory-new.json", MANIFEST_FILE}
    assert set(second.written) == new
    inodes = {path.name: path.stat().st_ino for path in first.path.iterdir()}
    shared = {path.name for path in second.path.iterdir() if inodes.get(path.name) == path.stat().st_ino}
    assert shared == {path.name for path in second.path.iterdir()} - new
    activate(home, second, report)
    assert_holds(home.directory(later.id), later)


def test_a_damaged_earlier_copy_is_found_when_the_new_one_is_read_back(home: SessionsHome) -> None:
    report = ExportReport(MemorySource([]).info)
    (first,) = stage_batch(MemorySource([COMPANY]), home, [COMPANY.id], report)
    (first.path / expected_file_name(*SESSION)).write_bytes(b"{}")
    assert stage_batch(MemorySource([COMPANY]), home, [COMPANY.id], report, lambda _company: first.path) == []
    assert isinstance(report.failed[COMPANY.id], VerificationFailed)


def test_a_bad_key_ends_its_company_and_the_rest_of_the_stream_is_passed_over(home: SessionsHome) -> None:
    other = make_company("962302", 2, SMALL_MIX)
    source = MemorySource([COMPANY, other], {(COMPANY.id, *SESSION): b"{}"})
    report = export_companies(source, home, [COMPANY.id, other.id])
    assert isinstance(report.failed[COMPANY.id], KeyUndecodable)
    assert_holds(home.directory(other.id), other)


def test_a_company_that_the_source_does_not_know_is_an_error_and_not_an_empty_session(home: SessionsHome) -> None:
    report = export_companies(MemorySource([COMPANY]), home, ["962399"])
    assert isinstance(report.failed["962399"], CredsInvalid)
    assert "use another source" in report.failed["962399"].hint
    assert not home.directory("962399").exists()


# Reading back


def test_a_home_is_a_source_like_any_other(home: SessionsHome, tmp_path: Path) -> None:
    export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    second = SessionsHome(tmp_path / "second")
    assert export_companies(DirectorySource(home), second, [COMPANY.id]).failed == {}
    assert_holds(second.directory(COMPANY.id), COMPANY)
    assert DirectorySource(home).info.kind == "directory"


def test_what_baileys_wrote_since_is_read_with_its_names(home: SessionsHome) -> None:
    export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    (home.directory(COMPANY.id) / "app-state-sync-key-AA__B=.json").write_bytes(b'{"keyData": "AAAA"}')
    keys = {(key.type, key.id): key for key in DirectorySource(home).canonical_keys(COMPANY.id)}
    assert keys["app-state-sync-key", "AA/B="].content == b'{"keyData":"AAAA"}'
    assert len(keys) == len(COMPANY.keys) + 1


def test_a_directory_under_another_companys_name_is_refused(home: SessionsHome) -> None:
    export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    home.directory(COMPANY.id).rename(home.directory("962399"))
    with pytest.raises(VerificationFailed) as caught:
        list(DirectorySource(home).canonical_keys("962399"))
    assert "put it back under its own" in caught.value.hint


def test_a_file_that_grew_or_shrank_since_the_manifest_is_read_whole(home: SessionsHome) -> None:
    export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    path = home.directory(COMPANY.id) / expected_file_name(*SESSION)
    long = b'{"_sessions":{},"version":"%s"}' % (b"v" * 200_000)
    for content in (b'{"_sessions":{}}', long):
        path.write_bytes(content)
        keys = {(key.type, key.id): key.content for key in DirectorySource(home).canonical_keys(COMPANY.id)}
        assert keys[SESSION] == content


def test_a_company_is_judged_without_an_exception_whatever_it_holds() -> None:
    broken = {(COMPANY.id, *SESSION): b"{}", (COMPANY.id, "creds", ""): b"{}"}
    state = inspect_company(MemorySource([COMPANY], broken), COMPANY.id)
    assert len(state.problems) == 2
    assert state.keys == len(COMPANY.keys)


def test_differences_are_counted_and_shown_without_ids(home: SessionsHome) -> None:
    one = inspect_company(MemorySource([COMPANY]), COMPANY.id)
    two = inspect_company(MemorySource([changed(COMPANY)]), COMPANY.id)
    difference = compare(one.digests, two.digests)
    assert (len(difference.missing), len(difference.extra), difference.different) == (1, 1, [SESSION])
    assert difference.summary().startswith("1 missing (device-list #")
    assert SESSION[1] not in difference.summary()
    assert compare(one.digests, one.digests).summary() == "equal"


def test_a_verified_directory_gives_its_manifest(home: SessionsHome) -> None:
    export_companies(MemorySource([COMPANY]), home, [COMPANY.id])
    manifest = verify_directory(home.directory(COMPANY.id))
    assert manifest.totals.keys == len(COMPANY.keys)
    (home.directory(COMPANY.id) / expected_file_name(*SESSION)).write_bytes(b"")
    with pytest.raises(VerificationFailed):
        verify_directory(home.directory(COMPANY.id))
