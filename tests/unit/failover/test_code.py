# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switching the code: a directory or a link, killed between any two renames, repeated, and taken back exactly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import Misconfigured, NotWritable, UsageError
from baileys_resilience.failover import code
from baileys_resilience.failover.code import CodeSwitch, check_prepared, read_prepared
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.shared_paths import check_shared


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


@pytest.mark.parametrize(
    ("sessions", "env_file", "named", "inside"),
    [
        ("app/data/sessions", "", "sessions_dir", "data/sessions"),
        ("app/baileys_sessions2", "", "sessions_dir", "baileys_sessions2"),
        ("alias/sessions", "", "sessions_dir", "sessions"),
        ("app/baileys_sessions", "app/config/.env", "application.env_file", "config/.env"),
    ],
)
def test_what_the_switch_would_leave_behind_is_refused_with_the_name_to_share(
    tmp_path: Path, sessions: str, env_file: str, named: str, inside: str
) -> None:
    fill(tmp_path / "app", "postgres")
    (tmp_path / "alias").symlink_to("app")
    env_path = str(tmp_path / env_file) if env_file else ""
    given = settings(tmp_path)
    given = replace(
        given,
        sessions_dir=str(tmp_path / sessions),
        application=replace(given.application, env_file=env_path),
    )
    with pytest.raises(Misconfigured) as caught:
        check_prepared(given)
    assert caught.value.subject == named
    assert f"{inside} lies in the application's directory" in caught.value.cause
    assert f"add {inside} to code.shared (failover_code_shared)" in caught.value.hint


@pytest.mark.parametrize(
    ("sessions", "shared"),
    [("app/data/sessions", ["data", ".env"]), ("app/data/sessions", ["./data/", ".env"]), ("elsewhere", [".env"])],
)
def test_what_is_shared_or_lies_elsewhere_is_not_refused(tmp_path: Path, sessions: str, shared: list[str]) -> None:
    fill(tmp_path / "app", "postgres")
    given = replace(settings(tmp_path, shared=shared), sessions_dir=str(tmp_path / sessions))
    check_shared(given, tmp_path / "app-files")


def test_a_shared_path_whose_directory_the_prepared_code_lacks_is_refused_before_the_switch(tmp_path: Path) -> None:
    fill(tmp_path / "app", "postgres")
    fill(tmp_path / "app-files", "files")
    given = settings(tmp_path, shared=[".env", "data/sessions", "not/there"])
    with pytest.raises(Misconfigured) as caught:
        check_shared(replace(given, sessions_dir=str(tmp_path / "app" / "data" / "sessions")), tmp_path / "app-files")
    assert caught.value.hint == "share data itself (failover_code_shared)"
    with pytest.raises(Misconfigured, match="no code is prepared"):
        check_prepared(settings(tmp_path / "unprepared"))


def git_repository(place: Path) -> str:
    place.mkdir()
    (place / "index.js").write_text("")
    (place / ".gitignore").write_text(".env\nbaileys_sessions\n")
    name = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-C", str(place)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "emergency-file-fallback-v1"]):
        subprocess.run([*name, *words], check=True, capture_output=True, timeout=20)
    return str(place)


def test_another_worktree_in_the_settings_than_was_prepared_is_refused_until_it_is_prepared(tmp_path: Path) -> None:
    """Checked green, the failover would have failed at the switch with the application stopped."""
    git_repository(tmp_path / "app")
    given = settings(tmp_path, source="tag", install=["true"])
    assert code.prepare(given)["changed"]
    check_prepared(given)
    moved = replace(given, code=replace(given.code, worktree=str(tmp_path / "other")))
    with pytest.raises(Misconfigured) as caught:
        check_prepared(moved)
    assert f"the settings name {tmp_path / 'other'}" in caught.value.cause
    assert "run failover_prepare.yml again" in caught.value.hint
    assert code.prepare(moved)["changed"]
    assert check_prepared(moved).worktree == str(tmp_path / "other")
    assert not code.prepare(moved)["changed"]


def test_of_two_preparations_at_once_one_works_and_the_other_finds_it_done(tmp_path: Path) -> None:
    git_repository(tmp_path / "app")
    installs = tmp_path / "installs"
    slow = ["sh", "-c", f"test ! -e busy && touch busy && echo x >>{installs} && sleep 0.5 && rm busy"]
    given = settings(tmp_path, source="tag", install=slow)
    with ThreadPoolExecutor(2) as two:
        both = [two.submit(code.prepare, given) for _ in range(2)]
    assert sorted(each.result()["changed"] for each in both) == [False, True]
    assert installs.read_text() == "x\n"
