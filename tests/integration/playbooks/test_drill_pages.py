# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of the drill name is there, and the role's defaults, types and descriptions say the same.

That the commands of docs/game_day.md do what it says is in test_drill.py, which runs them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from baileys_resilience.drill.faults import KINDS

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "failover_drill"
PAGES = [ROOT / "docs" / "game_day.md", ROLE / "README.md"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_default_has_a_typed_and_described_option_with_the_same_default() -> None:
    defaults = load(ROLE / "defaults" / "main.yml")
    options = load(ROLE / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert list(options) == list(defaults)
    for name, option in options.items():
        assert {"type", "description"} <= set(option), name
        assert option.get("default", defaults[name]) == defaults[name], name
        assert name.startswith("failover_drill_")
    assert all(name.startswith("__failover_drill_") for name in load(ROLE / "vars" / "main.yml"))
    assert options["failover_drill_fault"]["choices"] == list(KINDS)


def test_every_playbook_and_variable_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"baileys\.resilience\.([a-z_]+)", page))
    assert [name for name in named if not (ROOT / "playbooks" / f"{name}.yml").is_file()] == []
    known = set(load(ROLE / "defaults" / "main.yml")) | set(load(ROOT / "roles" / "failover" / "defaults" / "main.yml"))
    known |= set(re.findall(r"\bbaileys_resilience_[a-z_]+", (ROOT / "docs" / "variables.md").read_text("utf-8")))
    known |= {"failover_drill", "failover_prepare", "baileys_resilience_drill"}
    assert set(re.findall(r"\b(?:failover|baileys_resilience)_[a-z_]+", page)) - known == set()


def test_every_way_to_break_is_on_both_pages(page: str) -> None:
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == set(KINDS)


def test_every_command_of_a_page_is_one_that_the_program_knows(page: str, tmp_path: Path) -> None:
    lines = set(re.findall(r"^baileys-resilience (.+)$", page, re.MULTILINE)) | set(
        re.findall(r"`baileys-resilience ([^`]+)`", page)
    )
    assert lines
    for line in lines:
        command = [sys.executable, "-m", "baileys_resilience.cli", "--config", tmp_path / "none.json", *line.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        # 3: there is no configuration; 2 would be: no such command.
        assert done.returncode == 3, (line, done.stderr)
