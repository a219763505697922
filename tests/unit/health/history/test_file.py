# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file: its modes, who may have it, and every way in which it can be no history of ours."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

from baileys_resilience.errors import Busy, Misconfigured, StoreError, ToolMissing
from baileys_resilience.health.history import RANGES, Reader, Recorder
from baileys_resilience.health.history.model import CORRUPT
from tests.support.histories import OPERATION, SUBJECT, History


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / "state")
    for _ in range(50):
        history.record(0.01, 0.02)
        history.pass_minutes()
    return history


def put_aside(history: History) -> list[Path]:
    return sorted(path for path in history.path.parent.iterdir() if ".damaged-" in path.name)


def test_directory_and_files_are_private(history: History) -> None:
    folder = history.path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in folder.iterdir()}
    assert names == {f"history.sqlite{side}" for side in ("", "-wal", "-shm", ".lock")}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("how", ["nonsense", "middle", "truncated", "no table", "header"])
def test_a_damaged_file_is_put_aside_and_a_new_one_begun(history: History, how: str) -> None:
    history.recorder.close()
    content = bytearray(history.path.read_bytes())
    if how == "nonsense":
        content = bytearray(b"not a database at all " * 100)
    elif how == "middle":
        content[4096 * 3 : 4096 * 6] = b"\xa5" * 4096 * 3
    elif how == "truncated":
        del content[len(content) // 2 :]
    elif how == "header":
        content[:16] = b"SQLite format 9\0"
    history.path.write_bytes(content)
    if how == "no table":
        history.sql("DROP TABLE times")
    history.open()
    (warning,) = history.warnings
    assert warning.kind == CORRUPT
    assert "put aside" in warning.detail
    (aside,) = put_aside(history)
    assert str(aside) == warning.path
    assert aside.stat().st_size > 0
    history.record(0.03)
    history.pass_minutes()
    window = RANGES["1h"].until(history.clock.wall())
    assert history.reader.times(SUBJECT, OPERATION, window).total.samples == 1


def test_a_file_that_is_damaged_while_it_is_in_use_is_replaced_and_the_minute_is_kept(history: History) -> None:
    history.record(0.03)
    history.pass_minutes()
    history.sql("UPDATE times SET histogram = x'ff' WHERE tier = 60")
    history.record(0.03)
    history.pass_minutes(10)
    (warning,) = history.warnings
    assert (warning.kind, len(put_aside(history))) == (CORRUPT, 1)
    window = RANGES["1h"].until(history.clock.wall())
    assert history.reader.times(SUBJECT, OPERATION, window).total.samples == 1
    history.restart()
    assert len(history.warnings) == 1


def test_only_the_newest_two_damaged_files_are_kept(history: History) -> None:
    for number in range(4):
        history.recorder.close()
        history.path.write_bytes(b"damage %d" % number)
        history.open()
    kept = [path.read_bytes() for path in put_aside(history)]
    assert kept == [b"damage 2", b"damage 3"]


def test_a_newer_version_is_refused_and_left_as_it_is(history: History) -> None:
    history.recorder.close()
    history.sql("PRAGMA user_version = 2")
    for work in (history.open, lambda: history.reader.series()):
        with pytest.raises(Misconfigured) as refused:
            work()
        assert "it is of version 2, and this release reads version 1" in refused.value.cause
        assert "install the release that wrote it" in refused.value.hint
    assert history.sql("SELECT count(*) > 0 FROM times") == [(1,)]
    assert put_aside(history) == []


def test_a_database_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Misconfigured) as refused:
        Recorder.open(path)
    assert "give the history a path of its own" in refused.value.hint
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_history(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.touch()
    recorder, warnings = Recorder.open(path)
    assert warnings == []
    recorder.close()
    recorder.close()


def test_without_the_package_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(ToolMissing) as missing:
        Recorder.open(tmp_path / "state" / "history.sqlite")
    assert "pip install hdrhistogram" in missing.value.hint
    assert not (tmp_path / "state").exists()


def test_two_monitors_do_not_share_a_file(history: History) -> None:
    with pytest.raises(Busy) as refused:
        Recorder.open(history.path)
    assert "one monitor a host" in refused.value.hint
    history.restart()


def test_reading_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        Reader(tmp_path / "none.sqlite").series()
    assert "none.sqlite" in refused.value.subject


def test_reading_a_row_that_is_damaged_says_what_to_do(history: History) -> None:
    history.sql("UPDATE times SET histogram = x'ff'")
    with pytest.raises(StoreError) as refused:
        history.reader.times(SUBJECT, OPERATION, RANGES["1h"].until(history.clock.wall()))
    assert "restart it" in refused.value.hint


def test_a_place_where_no_file_can_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Recorder.open(tmp_path / "file" / "history.sqlite")
    (tmp_path / "directory.sqlite").mkdir()
    with pytest.raises(StoreError) as refused:
        Recorder.open(tmp_path / "directory.sqlite")
    assert "directory" in str(refused.value).lower()
