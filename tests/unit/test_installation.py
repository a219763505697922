# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the library on a host: exactly the tree, whole or not at all, and nothing that is not ours."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

import baileys_resilience
from baileys_resilience import installation
from baileys_resilience.errors import Busy, ForeignFiles, StoreError
from baileys_resilience.installation import check_ours, compare, install, package_sources, remove

SOURCES = package_sources("baileys_resilience")


def test_every_source_of_the_library_is_found() -> None:
    root = Path(baileys_resilience.__file__).parent
    assert set(SOURCES) == {str(path.relative_to(root)) for path in root.rglob("*.py")}
    assert SOURCES["cli.py"] == (root / "cli.py").read_bytes()


def test_what_is_installed_is_what_was_given_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "baileys_resilience"
    assert sorted(compare(place, SOURCES).added) == sorted(SOURCES)
    install(place, SOURCES)
    assert not compare(place, SOURCES)
    assert {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*.py")} == SOURCES
    assert [p.name for p in place.parent.iterdir()] == ["baileys_resilience"]


@pytest.mark.parametrize("atomic", [True, False])
def test_an_older_version_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    if not atomic:
        monkeypatch.setattr(installation, "exchange", lambda _one, _two: False)
    place = tmp_path / "baileys_resilience"
    install(place, {**SOURCES, "of_old.py": b"", "cli.py": b"# old"})
    changes = compare(place, SOURCES)
    assert (changes.added, changes.updated, changes.removed) == ([], ["cli.py"], ["of_old.py"])
    assert changes.lines() == ["updated cli.py", "removed of_old.py"]
    install(place, SOURCES)
    assert not compare(place, SOURCES)
    assert [p.name for p in tmp_path.iterdir()] == ["baileys_resilience"]


def test_what_is_no_installation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "link"):
        with pytest.raises(ForeignFiles, match="move it away"):
            check_ours(tmp_path / name)
    check_ours(tmp_path / "nothing")
    install(tmp_path / "ours", SOURCES)
    check_ours(tmp_path / "ours")


def test_removing_takes_the_tree_and_says_when_it_cannot(tmp_path: Path) -> None:
    install(tmp_path / "ours", SOURCES)
    remove(tmp_path / "ours")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError):
        remove(tmp_path / "ours")


def test_a_place_that_cannot_be_written_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        install(tmp_path / "file" / "baileys_resilience", SOURCES)


def killed_while_it_staged(place: Path) -> Path:
    left = place.parent / f".{place.name}.abcd"
    left.mkdir(parents=True)
    (left / "cli.py").write_bytes(b"half")
    return left


def test_what_a_killed_installation_left_goes_with_the_next_and_with_the_library(tmp_path: Path) -> None:
    place = tmp_path / "lib" / "baileys_resilience"
    killed_while_it_staged(place)
    install(place, SOURCES)
    assert [path.name for path in place.parent.iterdir()] == ["baileys_resilience"]
    killed_while_it_staged(place)
    remove(place)
    assert list(place.parent.iterdir()) == []


def test_a_second_installation_waits_for_the_first(tmp_path: Path) -> None:
    place = tmp_path / "baileys_resilience"
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    at_work = killed_while_it_staged(place)
    second = threading.Thread(target=install, args=(place, SOURCES))
    second.start()
    second.join(timeout=0.5)
    assert at_work.exists(), "what the first has staged is not taken away under its hands"
    assert not place.exists()
    os.close(first)
    second.join(timeout=30)
    assert not compare(place, SOURCES)


def test_an_installation_that_waited_for_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_PATIENCE_SECONDS", 0)
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with pytest.raises(Busy, match="another installation runs"):
        install(tmp_path / "baileys_resilience", SOURCES)
    os.close(first)
