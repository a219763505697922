# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs whose archives are encrypted: taken back with their key, beside others, and left alone without it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup import archive
from baileys_resilience.cleanup.commands import _archives
from baileys_resilience.cleanup.keyfile import add_key
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up, dry_run
from baileys_resilience.errors import Misconfigured
from baileys_resilience.sessions.published import create_schema
from tests.integration.cleanup.conftest import OLD, Settings
from tests.support.databases import Database


@pytest.fixture
def fenced(aged: Database) -> Database:
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    return aged


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    add_key(tmp_path / "archive.key")
    return tmp_path / "archive.key"


def test_runs_in_the_clear_and_of_two_keys_stand_side_by_side(
    fenced: Database, settings: Settings, key_file: Path
) -> None:
    before = [row[1:] for row in fenced.everything()]
    encrypted = partial(settings, archive_key_file=key_file)
    plain = clean_up(settings(cap=5))
    first = clean_up(encrypted(cap=5))
    add_key(key_file)
    second = clean_up(encrypted(cap=5))
    runs = [plain.run, first.run, second.run]
    assert [Path(each.archive).suffix for each in (plain, first, second)] == [".gz", ".enc", ".enc"]
    listed = _archives(encrypted())
    keys = listed.content["key_file"]["keys"]
    found = {each["run"]: (each["keys"], each["ended"], each["encrypted_with"]) for each in listed.content["archives"]}
    assert found == dict(zip(runs, [(5, "done", ""), (5, "done", keys[1]), (5, "done", keys[0])], strict=True))

    key_file.rename(key_file.with_name("elsewhere"))
    listed = _archives(settings())
    assert listed.exit_code == 0
    found = {each["run"]: (each["keys"], each["policy"]) for each in listed.content["archives"]}
    assert found == dict(zip(runs, [(5, "safe"), (None, "safe"), (None, "safe")], strict=True))
    assert sum("ended; no key file was named" in line for line in listed.lines) == 2
    missing = _archives(encrypted())
    assert (missing.exit_code, len(missing.lines)) == (3, 4)
    assert f"{key_file}: there is no such file" in missing.lines[-1]

    with pytest.raises(Misconfigured, match="no key file was named"):
        restore(settings(), second.run)
    with pytest.raises(Misconfigured, match="no such file") as later:
        restore(encrypted(), plain.run)
    assert later.value.subject in (first.archive, second.archive), "it may have taken the sender keys of a memory"
    for each in (first, second):
        Path(each.archive).rename(key_file.with_name(each.run))
    assert restore(encrypted(), plain.run).number == 5, "which needs no key"
    for each in (first, second):
        key_file.with_name(each.run).rename(each.archive)
    key_file.with_name("elsewhere").rename(key_file)
    assert [restore(encrypted(), each).number for each in runs] == [0, 5, 5]
    assert [row[1:] for row in fenced.everything()] == before


def test_without_a_key_file_that_is_right_nothing_is_deleted(
    aged: Database, settings: Settings, key_file: Path, tmp_path: Path
) -> None:
    before = aged.everything(versions=True)
    key_file.chmod(0o644)
    for file, hint in ((tmp_path / "none", "cleanup new-key"), (key_file, "chmod 0600")):
        for act in (dry_run, clean_up):
            with pytest.raises(Misconfigured) as refused:
                act(settings(archive_key_file=file))  # type: ignore[operator]
            assert hint in refused.value.hint
    assert aged.everything(versions=True) == before
    assert not (tmp_path / "state").exists()


def test_a_run_that_was_cut_off_waits_for_its_key(
    fenced: Database, settings: Settings, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    encrypted = partial(settings, archive_key_file=key_file)
    with monkeypatch.context() as patched:
        patched.setattr(archive.Writer, "outcome", die)
        with pytest.raises(KeyboardInterrupt):
            clean_up(encrypted())
    (cut,) = archive.runs(encrypted().archives)
    path = archive.path_of(encrypted().archives, cut)
    content, table = path.read_bytes(), fenced.everything(versions=True)
    add_key(tmp_path / "other.key")
    for keys, says in ((None, "no key file was named"), (tmp_path / "other.key", "other.key has ")):
        for act in (clean_up, partial(restore, run=cut)):
            with pytest.raises(Misconfigured, match=says) as refused:
                act(settings(archive_key_file=keys))
            assert str(path) == refused.value.subject
            assert "move the file away" in refused.value.hint
        assert "not brought to its end" in _archives(settings(archive_key_file=keys)).lines[0]
    assert (path.read_bytes(), fenced.everything(versions=True)) == (content, table)
    done = clean_up(encrypted())
    assert (done.reconciled, done.number) == ([cut], OLD)
    assert restore(encrypted(), cut).number == OLD
