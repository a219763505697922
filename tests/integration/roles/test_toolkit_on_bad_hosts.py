# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role toolkit where it cannot work: each host gets a sentence with what to do, and nothing is changed on it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.roles.test_toolkit import changed, play
from tests.support.playbooks import Ansible

#: stands in for an old Python where this machine has none; it answers what the preflight asks as 3.8 would
STAND_IN = """#!{python}
import runpy, sys
sys.version_info = (3, 8, 18, "final", 0)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    """A host that has nothing yet; everything would go below one folder."""
    return {
        "toolkit_prefix": str(tmp_path / "opt"),
        "toolkit_bin_dir": str(tmp_path / "bin"),
        "toolkit_config_dir": str(tmp_path / "etc"),
        "toolkit_state_dir": str(tmp_path / "var"),
        "toolkit_manage_packages": False,
        "toolkit_python": sys.executable,
    }


@pytest.fixture
def old_python(tmp_path: Path) -> str:
    """A real one where there is one."""
    found = [shutil.which(f"python3.{minor}") for minor in (8, 7, 6)]
    real = [Path(each) for each in found if each and "shims" not in each]
    real += Path.home().glob(".pyenv/versions/3.[678].*/bin/python3")
    if real:
        return str(real[0])
    (tmp_path / "python3.8").write_text(STAND_IN.format(python=sys.executable))
    (tmp_path / "python3.8").chmod(0o755)
    return str(tmp_path / "python3.8")


def refused(ansible: Ansible, variables: dict[str, Any], *sentences: str) -> None:
    for arguments in (["--check"], []):
        done = play(ansible, variables, *arguments)
        said = " ".join(done.output.split())
        assert done.returncode != 0, said
        for sentence in (*sentences, "Nothing was changed. HINT: "):
            assert sentence in said
    assert [name for name in ("opt", "bin", "etc", "var") if (ansible.directory / name).exists()] == []


def test_an_old_python_is_named_with_its_version(ansible: Ansible, variables: dict[str, Any], old_python: str) -> None:
    refused(ansible, {**variables, "toolkit_python": old_python}, "is Python 3.", "needs 3.9 or newer")


def test_an_old_python_in_an_environment_of_ones_own_is_named(
    ansible: Ansible, variables: dict[str, Any], old_python: str, tmp_path: Path
) -> None:
    (tmp_path / "own" / "bin").mkdir(parents=True)
    (tmp_path / "own" / "bin" / "python").symlink_to(old_python)
    own = {**variables, "toolkit_manage_venv": False, "toolkit_venv": str(tmp_path / "own")}
    refused(ansible, own, "is Python 3.", "needs 3.9 or newer")


def test_a_host_without_python_is_told_which_to_install(ansible: Ansible, variables: dict[str, Any]) -> None:
    missing = {**variables, "toolkit_python": "/no/python3"}
    refused(ansible, missing, "/no/python3 does not run on this host", "apt-get install python3")


def test_a_host_without_sudo_is_told_how_to_become_root(ansible: Ansible, variables: dict[str, Any]) -> None:
    no_sudo = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/no/sudo"}
    refused(ansible, {**variables, **no_sudo}, "Becoming nobody did not work on this host", "/no/sudo", "-K asks")


def test_a_host_without_room_is_told_how_much_is_needed(ansible: Ansible, variables: dict[str, Any]) -> None:
    full = {**variables, "__toolkit_needed_mib": 999_999_999}
    arguments = ("MiB are free in", "the packages need 999999999")
    for each in (["--check"], []):
        done = play(ansible, full, *each, "-e", "__toolkit_needed_mib=999999999")
        said = " ".join(done.output.split())
        assert done.returncode != 0
        assert all(sentence in said for sentence in (*arguments, "Nothing was changed. HINT: make room")), said
    assert not Path(variables["toolkit_prefix"]).exists()


def test_a_host_that_does_not_answer_is_told_how_to_go_on(ansible: Ansible, variables: dict[str, Any]) -> None:
    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_user": "nobody"}
    done = ansible.playbook(
        [{"connection": "ssh", "roles": ["baileys.resilience.toolkit"]}], variables={**variables, **dead}
    )
    said = " ".join(done.output.split())
    assert "localhost does not answer: " in said
    assert "run this again with --limit localhost" in said


def test_an_environment_whose_installation_was_cut_off_is_made_anew(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    """What is left by a kill while the environment is made, and by one while pip installs into it."""
    (tmp_path / "none.txt").write_text("# no packages, so that no index is asked\n")
    quick = {**variables, "toolkit_requirements": str(tmp_path / "none.txt")}
    venv = tmp_path / "opt" / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("half of a program")
    play(ansible, quick)  # without its packages the command cannot run, which this is not about
    mark = venv / ".baileys-resilience-installed"
    assert mark.read_text() == (tmp_path / "none.txt").read_text()

    mark.unlink()
    shutil.rmtree(venv / "lib")
    play(ansible, quick)
    assert mark.exists()
    assert list((venv / "lib").rglob("pip/__init__.py"))
    assert changed(play(ansible, {**quick, "toolkit_state": "absent"})) > 0
    assert not (tmp_path / "opt").exists()
