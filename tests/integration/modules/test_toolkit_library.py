# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library travels whole with the module toolkit_library, and is installed exactly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.modules import travelling
from tests.support.playbooks import Ansible, task, tree


def installed(path: Path) -> dict[str, bytes]:
    package = path / "baileys_resilience"
    return {
        str(each.relative_to(package)): each.read_bytes()
        for each in package.rglob("*")
        if each.is_file() and "__pycache__" not in each.parts
    }


def shipped(collections: Path) -> dict[str, bytes]:
    """The sources as the collection ships them, which is what a playbook runs."""
    library = (
        collections / "ansible_collections" / "baileys" / "resilience" / travelling.LIBRARY.relative_to(travelling.ROOT)
    )
    return {str(each.relative_to(library)): each.read_bytes() for each in library.rglob("*.py")}


def test_the_installed_tree_is_the_tree_of_sources(ansible: Ansible, collections_path: Path, tmp_path: Path) -> None:
    lib = tmp_path / "opt" / "lib"
    options = {"path": str(lib)}
    looked = {"name": "look", "ansible.builtin.stat": {"path": str(lib)}}
    foretold, look, applied, checked, again = ansible.play(
        [
            task("toolkit_library", check=True, diff=True, **options),
            looked,
            task("toolkit_library", diff=True, **options),
            task("toolkit_library", check=True, **options),
            task("toolkit_library", **options),
        ]
    ).results
    assert look["stat"]["exists"] is False, "check mode wrote"
    assert [each["changed"] for each in (foretold, applied, checked, again)] == [True, True, False, False]
    missing = shipped(collections_path).keys() - installed(lib).keys()
    assert not missing, "these do not travel; renew the list: python -m tests.integration.modules.travelling"
    assert installed(lib) == shipped(collections_path)
    assert applied["changes"] == foretold["changes"]
    assert applied["changes"]["added"] == sorted(installed(lib))
    assert "added sessions/codec.py\n" in applied["diff"]["prepared"]
    assert "def " not in applied["diff"]["prepared"], "names only"
    program = f"import sys; sys.path.insert(0, {str(lib)!r}); import baileys_resilience.cli"
    command = [sys.executable, "-I", "-c", program]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_an_older_version_is_replaced_and_absent_removes_it(
    ansible: Ansible, collections_path: Path, tmp_path: Path
) -> None:
    lib = tmp_path / "lib"
    options = {"path": str(lib)}
    ansible.play([task("toolkit_library", **options)])
    package = lib / "baileys_resilience"
    (package / "old.py").write_text("gone = True\n")
    (package / "errors.py").write_text("")
    (package / "clock.py").unlink()
    (lib / "mine.txt").write_text("not the library's")
    before = tree(lib)
    [foretold] = ansible.play([task("toolkit_library", check=True, **options)]).results
    assert tree(lib) == before
    updated, again = ansible.play([task("toolkit_library", **options)] * 2).results
    wanted = {"added": ["clock.py"], "updated": ["errors.py"], "removed": ["old.py"]}
    assert foretold["changes"] == updated["changes"] == wanted
    assert again["changed"] is False
    assert installed(lib) == shipped(collections_path)
    assert sorted(each.name for each in lib.iterdir()) == ["baileys_resilience", "mine.txt"], "nothing staged is left"

    tasks = [task("toolkit_library", check=number % 2 == 0, state="absent", **options) for number in range(4)]
    results = ansible.play(tasks).results
    assert [each["changed"] for each in results] == [True, True, False, False]
    assert [each.name for each in lib.iterdir()] == ["mine.txt"]


def test_a_directory_that_is_not_the_library_is_left_alone(ansible: Ansible, tmp_path: Path) -> None:
    package = tmp_path / "baileys_resilience"
    package.mkdir()
    (package / "thesis.txt").write_text("years of work")
    results = ansible.play([task("toolkit_library", path=str(tmp_path), state=each) for each in ("present", "absent")])
    for each in results.results:
        assert each["failed"]
        assert each["error"]["error"] == "foreign_files"
        assert "HINT: move it away, or name another path" in each["msg"]
    assert (package / "thesis.txt").read_text() == "years of work"
