# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durable files: the old one or the new one, never half; modes, owners, links, full disks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from baileys_resilience import files
from baileys_resilience.errors import Busy, NoSpace, NotWritable, ResilienceError, StoreError, UsageError
from baileys_resilience.locks import held


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_with_its_mode_and_nothing_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write_durably(path, b"old")
    files.write_durably(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["state.json"]


def test_files_are_private_unless_said_otherwise(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write_durably(tmp_path / "secret", b"x")
        files.make_private_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert {(tmp_path / each).stat().st_mode & 0o777 for each in ("a", "a/b")} == {0o700}


def test_a_symbolic_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    target = tmp_path / "shared" / "env"
    target.write_text("old")
    link = tmp_path / ".env"
    link.symlink_to(target)
    files.write_durably(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path / "shared") == ["env"]


def test_the_new_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real: Callable[..., object] = getattr(os, name)

        def record(*args: object, _real: Callable[..., object] = real, _name: str = name, **at: object) -> object:
            calls.append(_name)
            return _real(*args, **at)

        monkeypatch.setattr(os, name, record)
    files.write_durably(tmp_path / "x", b"new")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_write_that_does_not_fit_keeps_the_old_file(tmp_path: Path) -> None:
    """In a process of its own whose files cannot pass 4 KiB: the kernel itself refuses, in the middle of the write."""
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    program = (
        "import resource, sys\n"
        "from baileys_resilience import files\n"
        "from baileys_resilience.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    files.write_durably(sys.argv[1], b'n' * 10000)\n"
        "except StoreError as error:\n"
        "    print(type(error).__name__, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith(("NoSpace", "StoreError"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_failure_at_any_step_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    def full(*_arguments: object, **_descriptors: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(NoSpace) as caught:
        files.write_durably(path, b"new")
    assert "free space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.ENOSPC, NoSpace, "free space"),
        (errno.EDQUOT, NoSpace, "free space"),
        (errno.EFBIG, NoSpace, "free space"),
        (errno.EACCES, NotWritable, "owner, mode and mount"),
        (errno.EROFS, NotWritable, "owner, mode and mount"),
        (errno.ENOTDIR, StoreError, "path is what was meant"),
        (errno.EIO, StoreError, "path is what was meant"),
    ],
)
def test_what_the_system_says_becomes_a_typed_error(number: int, kind: type[ResilienceError], hint: str) -> None:
    error = files.translate_os_error(OSError(number, os.strerror(number)), "write", "/srv/x")
    assert type(error) is kind
    assert hint in error.hint
    assert str(error).startswith("write /srv/x: ")


def test_a_directory_that_is_missing_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        files.write_durably(tmp_path / "none" / "x", b"")


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    files.make_private_directory(tmp_path / "there")
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StoreError) as caught:
        files.make_private_directory(tmp_path / "x")
    assert caught.value.hint == "move the file out of the way"
    with pytest.raises(StoreError):
        files.make_private_directory(tmp_path / "x" / "y")


def test_two_directories_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "was").write_text(name)
    assert files.exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "was").read_text() == "b"
    assert (tmp_path / "b" / "was").read_text() == "a"


def test_an_exchange_with_nothing_is_an_error_not_a_no(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreError):
        files.exchange(tmp_path / "a", tmp_path / "none")


def test_json_is_written_for_humans_and_any_language(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x", {"b": "ü", "a": 1})
    text = (tmp_path / "x").read_text("utf-8")
    assert text == '{\n  "a": 1,\n  "b": "ü"\n}\n'
    assert json.loads(text) == {"a": 1, "b": "ü"}


def test_owners_are_looked_up_by_name_or_number() -> None:
    assert files.resolve_owner("root", None) == (0, -1)
    assert files.resolve_owner("1000", "root") == (1000, 0)
    assert files.resolve_owner(None, "7") == (-1, 7)
    assert files.resolve_owner(None, None) is None
    assert files.resolve_owner("", "") is None


@pytest.mark.parametrize(("owner", "group", "kind"), [("no-such-user", None, "user"), (None, "no-such-group", "group")])
def test_an_owner_that_does_not_exist_is_a_clear_sentence(owner: str | None, group: str | None, kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        files.resolve_owner(owner, group)
    assert caught.value.hint == f"create the {kind}, or name another"


def test_a_place_is_tried_without_a_trace(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mtime_ns
    files.check_can_write(tmp_path, "look")
    files.check_can_write(tmp_path / "made" / "later", "look")
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


def test_a_place_that_takes_no_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        files.check_can_write(tmp_path / "file" / "below", "look")
    assert (caught.value.cause, caught.value.subject) == ("is not a directory", str(tmp_path / "file"))
    assert "move the file" in caught.value.hint
    with pytest.raises(NotWritable) as denied:
        files.check_can_write("/sys/kernel/below", "look")
    assert denied.value.subject == "/sys/kernel"
    assert "check owner, mode and mount" in denied.value.hint


def test_a_lock_that_may_not_be_opened_is_named() -> None:
    with pytest.raises(NotWritable) as denied, held(Path("/sys/kernel/below"), 0.0, Busy("taken")):
        pytest.fail("nobody may write there")
    assert (denied.value.operation, denied.value.subject) == ("lock", "/sys/kernel/below")
