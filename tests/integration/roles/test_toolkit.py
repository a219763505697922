# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role toolkit under one folder and without root: check, apply, check, apply, and away again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbooks import Ansible, Played, tree

VENV = Path(sys.executable).parent.parent


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, Any]:
    """Everything below one folder, in the checkout's own environment of packages."""
    return {
        "toolkit_prefix": str(tmp_path / "opt"),
        "toolkit_bin_dir": str(tmp_path / "bin"),
        "toolkit_config_dir": str(tmp_path / "etc"),
        "toolkit_state_dir": str(tmp_path / "var"),
        "toolkit_manage_venv": False,
        "toolkit_venv": str(VENV),
    }


def play(ansible: Ansible, variables: dict[str, Any], *arguments: str) -> Played:
    return ansible.playbook([{"roles": ["baileys.resilience.toolkit"]}], *arguments, variables=variables)


def changed(played: Played) -> int:
    assert played.returncode == 0, played.output
    found = re.search(r"changed=(\d+)", played.output)
    assert found, played.output
    return int(found[1])


def command(variables: dict[str, Any], *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    program = Path(variables["toolkit_bin_dir"]) / "baileys-resilience"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60, **settings)


def test_check_apply_check_apply_and_the_command_runs(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    prefix = Path(variables["toolkit_prefix"])
    assert changed(play(ansible, variables, "--check")) > 0
    assert not prefix.exists()
    assert changed(play(ansible, variables)) > 0
    assert changed(play(ansible, variables, "--check", "--diff")) == 0
    assert changed(play(ansible, variables)) == 0

    assert (prefix / "lib" / "baileys_resilience" / "cli.py").is_file()
    assert (prefix / "share" / "load_check.mjs").stat().st_mode & 0o777 == 0o644
    for name in ("toolkit_config_dir", "toolkit_state_dir"):
        assert Path(variables[name]).stat().st_mode & 0o777 == 0o700, name
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", command(variables, "--version").stdout)

    shadow = tmp_path / "shadow"
    (shadow / "baileys_resilience").mkdir(parents=True)
    for name in ("json.py", "baileys_resilience/__init__.py", "baileys_resilience/cli.py"):
        (shadow / name).write_text("raise SystemExit('code of the current directory ran')\n")
    found = command(variables, "--version", cwd=shadow, env={**os.environ, "PYTHONPATH": str(shadow)})
    assert (found.returncode, found.stderr) == (0, ""), "nothing in the current directory runs in its place"


def test_absent_removes_what_present_made_and_nothing_else(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path
) -> None:
    away = {**variables, "toolkit_state": "absent"}
    play(ansible, variables)
    config, state = Path(variables["toolkit_config_dir"]), Path(variables["toolkit_state_dir"])
    mine = Path(variables["toolkit_bin_dir"]) / "mine"
    mine.write_text("not the toolkit's")
    foreign = Path(variables["toolkit_prefix"]) / "share" / "foreign.txt"
    foreign.write_text("not the toolkit's")
    (config / "failover.json").write_text("{}")
    before = tree(tmp_path / "opt")
    assert changed(play(ansible, away, "--check")) > 0
    assert tree(tmp_path / "opt") == before
    assert changed(play(ansible, away)) > 0
    assert changed(play(ansible, away, "--check")) == 0
    assert changed(play(ansible, away)) == 0
    assert list(Path(variables["toolkit_bin_dir"]).iterdir()) == [mine]
    assert [path for path in Path(variables["toolkit_prefix"]).rglob("*") if path.is_file()] == [foreign]
    assert (config / "failover.json").exists()
    assert state.is_dir()
    assert VENV.is_dir(), "an environment that the role did not make is not the role's to remove"


def test_purge_forgets_configuration_and_state_but_not_where_live_sessions_are(
    ansible: Ansible, variables: dict[str, Any]
) -> None:
    purge = {**variables, "toolkit_state": "absent", "toolkit_purge": True}
    play(ansible, variables)
    stores = Path(variables["toolkit_state_dir"]) / "stores.json"
    stores.write_text(json.dumps({"companies": {"962301": {"store": "files"}, "962302": {"store": "postgres"}}}))
    refused = play(ansible, purge)
    assert refused.returncode != 0
    assert "live on files" in refused.output
    assert "962301" in refused.output
    assert "962302" not in refused.output
    assert "HINT: fail back first" in refused.output
    assert command(variables, "--version").returncode == 0, "refused before anything was removed"

    stores.write_text(json.dumps({"companies": {"962301": {"store": "postgres"}}}))
    assert changed(play(ansible, purge)) > 0
    for name in ("toolkit_prefix", "toolkit_config_dir", "toolkit_state_dir"):
        assert not Path(variables[name]).exists(), name


def test_the_role_makes_its_own_environment_with_the_pinned_packages(
    ansible: Ansible, variables: dict[str, Any], tmp_path: Path, project_root: Path
) -> None:
    venv = tmp_path / "opt" / "venv"
    own = {
        **variables,
        "toolkit_manage_venv": True,
        "toolkit_manage_packages": False,
        "toolkit_venv": str(venv),
        "toolkit_python": sys.executable,
    }
    assert changed(play(ansible, own)) > 0
    assert changed(play(ansible, own)) == 0
    frozen = subprocess.run([venv / "bin" / "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    pins = [
        line.partition(";")[0].strip()
        for line in (project_root / "requirements" / "runtime.txt").read_text().splitlines()
        if line and not line.startswith("#") and 'python_version < "3.10"' not in line
    ]
    missing = {pin.lower().replace("_", "-") for pin in pins} - set(frozen.lower().replace("_", "-").split())
    assert not missing
    answer = command(own, "--config", str(tmp_path / "none.json"), "--json", "check")
    assert answer.returncode == 3
    assert json.loads(answer.stderr)["error"] == "misconfigured"
    assert changed(play(ansible, {**own, "toolkit_state": "absent"})) > 0
    assert not Path(own["toolkit_prefix"]).exists()
