# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switching the code: a directory or a link, killed between any two renames, repeated, and taken back exactly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import Misconfigured, NotWritable, UsageError
from baileys_resilience.failover import code
from baileys_resilience.failover.code import CodeSwitch, check_prepared, read_prepared
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict


class Died(BaseException):
    """The process ends here."""


def settings(tmp_path: Path, **given: Any) -> FailoverSettings:
    return settings_from_dict(
        {
            "host": "app1",
            "companies": ["962301"],
            "database": {},
            "sessions_dir": str(tmp_path / "app" / "baileys_sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": str(tmp_path / "app")},
            "code": {"source": "archive", **given},
        }
    )


def fill(directory: Path, name: str) -> Path:
    (directory / "src").mkdir(parents=True)
    (directory / "src" / "index.js").write_text(name)
    return directory


@pytest.fixture(params=["directory", "link", "relative link"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The application's code before the switch, reached by `app` in one of three ways."""
    fill(tmp_path / "app-files", "files")
    if request.param == "directory":
        place = origin = fill(tmp_path / "app", "postgres")
    else:
        origin, place = fill(tmp_path / "releases" / "7", "postgres"), tmp_path / "app"
        place.symlink_to(origin if request.param == "link" else "releases/7")
    (origin / ".env").write_text("PORT=1")
    (origin / "baileys_sessions").mkdir()
    return place


def tree(place: Path) -> dict[str, str]:
    """Everything beside `place`, links by where they lead; without the worktree's links to what is shared."""
    found = {}
    for path in sorted(place.parent.rglob("*")):
        if not (path.is_symlink() and path.parent.name == "app-files"):
            found[str(path.relative_to(place.parent))] = str(path.readlink()) if path.is_symlink() else ""
    return found


def live(place: Path) -> str:
    return (place / "src" / "index.js").read_text()


def test_to_files_and_back_restores_the_place_exactly(origin: Path, tmp_path: Path) -> None:
    before, switch = tree(origin), CodeSwitch(settings(tmp_path))
    led_to = switch.origin()
    switch.to_files(led_to)
    assert (live(origin), switch.on_files()) == ("files", True)
    assert (origin / ".env").read_text() == "PORT=1"
    (origin / "baileys_sessions" / "company_962301").mkdir()
    later = CodeSwitch(settings(tmp_path))
    assert (later.origin() / "baileys_sessions" / "company_962301").is_dir()
    later.to_origin(later.origin())
    assert (live(origin), later.on_files()) == ("postgres", False)
    (origin / "baileys_sessions" / "company_962301").rmdir()
    assert tree(origin) == before


def test_each_direction_may_be_repeated(origin: Path, tmp_path: Path) -> None:
    before, switch = tree(origin), CodeSwitch(settings(tmp_path))
    led_to = switch.origin()
    switch.to_files(led_to)
    once = tree(origin)
    switch.to_files(led_to)
    assert tree(origin) == once
    switch.to_origin(led_to)
    switch.to_origin(led_to)
    assert tree(origin) == before


def test_a_second_switch_after_the_way_back_links_what_is_shared_anew(origin: Path, tmp_path: Path) -> None:
    switch = CodeSwitch(settings(tmp_path))
    for _turn in range(2):
        switch.to_files(switch.origin())
        assert (origin / ".env").read_text() == "PORT=1"
        switch.to_origin(switch.origin())


def dying_after(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every rename and link succeed, and the process end after the given number of them."""
    done = 0

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done == calls:
                raise Died
            done += 1
            return real(*arguments, **options)

        return call

    for name in ("rename", "replace", "symlink", "unlink"):
        monkeypatch.setattr(code.os, name, patched(getattr(os, name)))


MOMENTS = range(9)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("then", ["to_files", "to_origin"])
def test_a_switch_killed_between_any_two_renames_is_completed_or_taken_back(
    origin: Path, tmp_path: Path, moment: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, switch = tree(origin), CodeSwitch(settings(tmp_path))
    led_to = switch.origin()
    with monkeypatch.context() as patch:
        dying_after(moment, patch)
        try:
            switch.to_files(led_to)
        except Died:
            pass
    getattr(CodeSwitch(settings(tmp_path)), then)(led_to)
    assert live(origin) == ("files" if then == "to_files" else "postgres")
    CodeSwitch(settings(tmp_path)).to_origin(led_to)
    assert {name: to for name, to in tree(origin).items() if not name.endswith(".switch")} == before


@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("then", ["to_files", "to_origin"])
def test_a_way_back_killed_between_any_two_renames_is_completed_or_taken_back(
    origin: Path, tmp_path: Path, moment: int, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = CodeSwitch(settings(tmp_path))
    switch.to_files(switch.origin())
    led_to = switch.origin()
    with monkeypatch.context() as patch:
        dying_after(moment, patch)
        try:
            switch.to_origin(led_to)
        except Died:
            pass
    getattr(CodeSwitch(settings(tmp_path)), then)(led_to)
    assert live(origin) == ("files" if then == "to_files" else "postgres")
    if then == "to_files":
        assert (origin / ".env").read_text() == "PORT=1"


def test_a_place_whose_origin_nobody_remembers_has_none(tmp_path: Path) -> None:
    fill(tmp_path / "app-files", "files")
    (tmp_path / "app").symlink_to("app-files")
    assert not CodeSwitch(settings(tmp_path)).origin().is_dir()


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_something_under_the_parked_name_is_refused_and_nothing_is_moved(tmp_path: Path, kind: str) -> None:
    fill(tmp_path / "app", "postgres")
    parked = tmp_path / "app.on-postgres"
    {"directory": parked.mkdir, "file": parked.touch, "link": lambda: parked.symlink_to("nowhere")}[kind]()
    before, switch = tree(tmp_path / "app"), CodeSwitch(settings(tmp_path))
    with pytest.raises(UsageError) as caught:
        switch.to_files(switch.origin())
    assert caught.value.subject == str(parked)
    assert "move it away" in caught.value.hint
    assert tree(tmp_path / "app") == before


def test_shared_paths_that_do_not_exist_are_passed_over_and_those_of_the_worktree_stay(tmp_path: Path) -> None:
    fill(tmp_path / "app", "postgres")
    worktree = fill(tmp_path / "app-files", "files")
    (worktree / "uploads").mkdir()
    (tmp_path / "app" / "uploads").mkdir()
    switch = CodeSwitch(settings(tmp_path, shared=[".env", "uploads"]))
    switch.to_files(switch.origin())
    assert not (worktree / ".env").is_symlink()
    assert not (worktree / "uploads").is_symlink()


def test_what_the_operating_system_refuses_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "app", "postgres")

    def refuse(*_paths: object, **_descriptors: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(code.os, "rename", refuse)
    switch = CodeSwitch(settings(tmp_path))
    with pytest.raises(NotWritable) as caught:
        switch.to_files(switch.origin())
    assert (caught.value.operation, caught.value.subject) == ("switch code", str(tmp_path / "app"))


def test_a_preparation_is_missing_unreadable_or_of_other_code(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert read_prepared(given) is None
    record = tmp_path / "state" / "prepared.json"
    record.parent.mkdir()
    for content, cause in (("", "cannot be read"), ('{"source": "x"}', "cannot be read")):
        record.write_text(content)
        with pytest.raises(Misconfigured) as caught:
            read_prepared(given)
        assert cause in caught.value.cause
        assert "failover_prepare.yml again" in caught.value.hint
    record.write_text('{"source": "tag", "commit": "c", "worktree": "/w", "prepared_at": "2026"}')
    with pytest.raises(Misconfigured) as caught:
        check_prepared(given)
    assert caught.value.cause == "no code is prepared"
