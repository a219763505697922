# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""failover_tag.yml makes the annotated tag once, pushes it, and refuses to move it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TAG = "emergency-file-fallback-v1"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def git(repository: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.net"]
    done = subprocess.run(["git", "-C", repository, *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clones(tmp_path: Path) -> list[Path]:
    """Two hosts' clones of one remote, with two commits."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", remote], check=True)
    first = tmp_path / "wa1"
    subprocess.run(["git", "init", "--quiet", "-b", "main", first], check=True)
    git(first, "remote", "add", "origin", str(remote))
    for name in ("files", "postgres"):
        (first / "code.js").write_text(name)
        git(first, "add", "code.js")
        git(first, "commit", "--quiet", "-m", name)
    git(first, "push", "--quiet", "origin", "main")
    subprocess.run(["git", "clone", "--quiet", remote, tmp_path / "wa2"], check=True)
    return [first, tmp_path / "wa2"]


@pytest.fixture
def tag(tmp_path: Path, clones: list[Path], ansible_env: dict[str, str]) -> Run:
    hosts = ", ".join(
        f"wa{number}: {{session_companies: ['{number}'], baileys_resilience_app_dir: {clone}}}"
        for number, clone in enumerate(clones, 1)
    )
    shared = f"ansible_connection: local, ansible_become: false, ansible_python_interpreter: {sys.executable}"
    (tmp_path / "inventory.yml").write_text(f"all: {{hosts: {{{hosts}}}, vars: {{{shared}}}}}\n")
    # Hosts have no identity for git, and the machine's own configuration must not help.
    env = {**ansible_env, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def run(commit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "-i", "inventory.yml", "baileys.resilience.failover_tag",
                   "-e", f"failover_code_commit={commit}", *arguments]  # fmt: skip
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)

    return run


def test_the_tag_is_made_once_pushed_and_fetched_and_a_second_run_changes_nothing(
    tmp_path: Path, clones: list[Path], tag: Run
) -> None:
    commit = git(clones[0], "rev-parse", "HEAD~1")
    shown = tag(commit[:10], "--check")
    assert shown.returncode == 0, shown.stdout
    assert git(tmp_path / "remote.git", "tag") == ""
    made = tag(commit[:10])
    assert made.returncode == 0, made.stdout
    for repository in (*clones, tmp_path / "remote.git"):
        assert git(repository, "rev-parse", f"{TAG}^{{commit}}") == commit
        assert git(repository, "cat-file", "-t", TAG) == "tag"
    message = git(tmp_path / "remote.git", "for-each-ref", "--format=%(contents)", f"refs/tags/{TAG}")
    assert "USE_DATABASE_AUTH_STATE=false" in message
    assert "baileys.resilience.failback" in message
    again = tag(commit)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("changed=0") == 3  # and localhost, which says what is left, again.stdout


def test_a_tag_that_stands_elsewhere_is_not_moved(tmp_path: Path, clones: list[Path], tag: Run) -> None:
    old, new = git(clones[0], "rev-parse", "HEAD~1"), git(clones[0], "rev-parse", "HEAD")
    assert tag(old).returncode == 0
    refused = tag(new)
    assert refused.returncode != 0
    assert "a tag is never moved" in " ".join(refused.stdout.split())
    assert git(tmp_path / "remote.git", "rev-parse", f"{TAG}^{{commit}}") == old


def test_an_unknown_commit_is_named(clones: list[Path], tag: Run) -> None:
    refused = tag("0123456789abcdef")
    assert refused.returncode != 0
    assert 'has no commit "0123456789abcdef"' in " ".join(refused.stdout.split())
    assert git(clones[0], "tag") == ""
