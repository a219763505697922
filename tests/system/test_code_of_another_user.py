# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application is its owner's, the folder that it stands in is root's, as in /opt: code is prepared there too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict

USER = "nobody"
ARCHIVE = "archive/files"


def git(place: Path, *words: str) -> None:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    entry = pwd.getpwnam(USER)
    subprocess.run(
        ["git", "-C", place, *words], check=True, timeout=30, capture_output=True,
        user=entry.pw_uid, group=entry.pw_gid, extra_groups=[],
        env={"PATH": os.defpath, "HOME": entry.pw_dir, **identity},
    )  # fmt: skip


def commit(place: Path, content: str) -> None:
    index = place / ARCHIVE / "index.js"
    index.write_text(content)
    shutil.chown(index, USER)
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", content)


@pytest.fixture
def opt() -> Iterator[Path]:
    """A folder in which only root may make anything, with a repository of somebody else's."""
    # Not pytest's tmp_path: its parents are closed to the owner.
    folder = Path(tempfile.mkdtemp(prefix="baileys-code-"))
    folder.chmod(0o755)
    place = folder / "app"
    (place / ARCHIVE).mkdir(parents=True)
    for path in (place, place / "archive", place / ARCHIVE):
        shutil.chown(path, USER)
    git(place, "init", "-q", "-b", "main")
    commit(place, "first")
    yield folder
    shutil.rmtree(folder)


def settings(opt: Path) -> FailoverSettings:
    return settings_from_dict({
        "host": "app", "companies": ["962301"], "database": {}, "sessions_dir": str(opt / "app" / "baileys_sessions"),
        "state_dir": str(opt / "state"), "application": {"dir": str(opt / "app"), "user": USER},
        "code": {"source": "archive", "archive_path": ARCHIVE, "install": ["touch", "installed"]},
    })  # fmt: skip


def test_code_is_prepared_as_the_owner_where_only_root_may_make_a_directory(opt: Path) -> None:
    worktree = opt / "app-files"
    assert prepare(settings(opt))["changed"]
    assert (worktree / "src" / "index.js").read_text() == "first"
    assert {path.lstat().st_uid for path in [worktree, *worktree.rglob("*")]} == {pwd.getpwnam(USER).pw_uid}
    assert not prepare(settings(opt))["changed"]


def test_code_that_went_on_is_prepared_anew_in_the_same_place(opt: Path) -> None:
    prepare(settings(opt))
    commit(opt / "app", "second")
    assert prepare(settings(opt))["changed"]
    assert (opt / "app-files" / "src" / "index.js").read_text() == "second"
