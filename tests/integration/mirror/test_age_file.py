# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mirror's service tells those who may not read the mirror: its age, and that it stands aside."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import StoreError, Unavailable
from baileys_resilience.failover.mirror import Mirror, commands
from baileys_resilience.failover.settings import FailoverSettings
from baileys_resilience.progress import Silent
from baileys_resilience.sessions.mirror_age import MirrorAge, read_mirror_age
from baileys_resilience.sessions.record import FILES, StoreRecord
from tests.support.databases import Database
from tests.support.synthetic import make_companies

MakeMirror = Callable[..., Mirror]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "mirror.json"


def of(file: Path) -> MirrorAge:
    found = read_mirror_age(file)
    assert found is not None
    return found


def test_the_command_publishes_its_age_for_everybody_and_nothing_of_a_session(
    database: Database, directory: Path, make_settings: Callable[..., FailoverSettings], file: Path
) -> None:
    database.fill(*make_companies(2))
    settings = make_settings(mirror_dir=str(directory))
    commands.dispatch("once", settings, Silent(), age_file=str(file))
    age = of(file)
    assert (age.error, age.unusable, age.aside) == ("", "", False)
    assert age.age_seconds is not None
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
    assert "962301" not in file.read_text("utf-8")


def test_a_scan_that_fails_leaves_the_age_of_the_one_before(
    database: Database, make_mirror: MakeMirror, file: Path
) -> None:
    database.fill(*make_companies(1))
    mirror = make_mirror()
    mirror.age_file = file
    mirror.scan_once()
    before = of(file)
    unreachable = make_mirror(params=replace(database.params, port=1))
    unreachable.age_file = file
    with pytest.raises(Unavailable):
        unreachable.scan_once()
    after = of(file)
    assert after.scanned_at == before.scanned_at
    assert after.tried_at > before.tried_at
    assert "refused" in after.error


def test_without_a_complete_scan_there_is_no_age(database: Database, make_mirror: MakeMirror, file: Path) -> None:
    mirror = make_mirror(params=replace(database.params, port=1))
    mirror.age_file = file
    with pytest.raises(Unavailable):
        mirror.scan_once()
    assert of(file).age_seconds is None


def test_it_stands_aside_while_every_company_lives_on_files(
    database: Database, directory: Path, make_settings: Callable[..., FailoverSettings], file: Path
) -> None:
    database.fill(*make_companies(2))
    settings = make_settings(mirror_dir=str(directory))
    record = StoreRecord(settings.state)

    def aside_after_moving(*companies: str) -> bool:
        record.move(companies, FILES, by="test", places={})
        commands.dispatch("once", settings, Silent(), age_file=str(file))
        return of(file).aside

    commands.dispatch("once", settings, Silent(), age_file=str(file))
    assert not aside_after_moving("962301")
    assert aside_after_moving("962302")


def test_a_file_that_cannot_be_written_ends_no_scan(database: Database, make_mirror: MakeMirror, file: Path) -> None:
    class Notes:
        said: list[str] = []  # noqa: RUF012

        def note(self, message: str, **details: Any) -> None:
            self.said.append(message)

    database.fill(*make_companies(1))
    file.parent.write_text("in the way")
    mirror = make_mirror(progress=Notes())
    mirror.age_file = file
    assert mirror.scan_once().companies == 1
    assert "age of the mirror not published" in Notes.said


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "x"}', '{"format": "baileys-resilience/mirror-age", "version": 1, "a": 1}']
)
def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "mirror.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        read_mirror_age(tmp_path / "mirror.json")
    assert "written anew" in caught.value.hint


def test_no_file_is_no_error(tmp_path: Path) -> None:
    assert read_mirror_age(tmp_path / "none.json") is None
