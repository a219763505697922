# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages for operators name is there: playbooks, variables, steps, commands and messages."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import yaml

from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.failback_steps import failback_steps
from baileys_resilience.failover.failover_steps import failover_steps
from baileys_resilience.failover.settings import settings_from_dict
from baileys_resilience.steps.engine import Step

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs" / name for name in ("failover.md", "awx.md", "runbook.md", "adoption.md")]
PAGES.append(ROOT / "roles" / "failover" / "README.md")
ROLE = ROOT / "roles" / "failover"
SETTINGS = settings_from_dict({"host": "h", "companies": ["1"], "sessions_dir": "/s", "state_dir": "/v"})


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text("utf-8"))


def test_every_playbook_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"baileys\.resilience\.([a-z_]+)", page)) - {path.name for path in ROLE.parent.iterdir()}
    assert named
    assert [name for name in named if not (ROOT / "playbooks" / f"{name}.yml").is_file()] == []


def test_every_variable_that_a_page_names_is_one_of_the_role(page: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in ROLE.parent.glob("*/defaults/main.yml"))
    known = set(re.findall(r"^([a-z_]+):|\b(baileys_resilience_[a-z_]+)", text, re.MULTILINE))
    known = {name for found in known for name in found}
    known |= {"failover_prepare", "failover_tag", "baileys_resilience_reports"}
    named = set(re.findall(r"\b(?:failover|baileys_resilience)_[a-z_]+", page))
    assert named - known == set()


def test_the_steps_on_the_page_are_the_steps_that_run() -> None:
    text = PAGES[0].read_text("utf-8")
    states = "runs|is down, or waits|starts, or goes on"
    rows = re.findall(rf"^\| ([a-z][^|]*?)(?: \(.*\))? \| (?:{states}) \|$", text, re.MULTILINE)
    assert rows == [*(step.title for step in failover_steps(SETTINGS)), "report and notify"]


@pytest.mark.parametrize(
    ("file", "steps"),
    [("failover_steps.yml", failover_steps(SETTINGS)), ("failback_steps.yml", failback_steps(SETTINGS))],
    ids=["failover", "failback"],
)
def test_the_tasks_of_the_role_are_the_steps_of_the_library_in_order(
    file: str, steps: list[Step[FailoverContext]]
) -> None:
    tasks = yaml.safe_load((ROLE / "tasks" / file).read_text("utf-8"))
    shown = [(task["baileys.resilience.session_failover"]["step"], task["name"]) for task in tasks]
    assert shown == [(step.name, f"Failover | {step.title}") for step in steps]


def test_every_command_on_the_page_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    lines = re.findall(
        r"^baileys-resilience ([a-z -]+?)(?: --.*)?(?:\s+#.*)?$", PAGES[0].read_text("utf-8"), re.MULTILINE
    )
    assert lines
    for line in lines:
        command = [sys.executable, "-m", "baileys_resilience.cli", "--config", tmp_path / "none.json", *line.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        # 3: there is no configuration; 2 would be: no such command.
        assert done.returncode == 3, (line, done.stderr)


def test_every_message_on_the_page_is_one_that_can_be_met() -> None:
    table = PAGES[0].read_text("utf-8").split("## What is refused")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    quoted = chain.from_iterable(re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows)
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "plugins" / "module_utils").rglob("*.py"))
    parts = [part.strip() for text in quoted for part in text.split("...") if part.strip()]
    assert parts
    assert [part for part in parts if part not in sources] == []


def test_every_message_of_a_host_that_cannot_be_worked_on_is_one_that_can_be_met() -> None:
    table = PAGES[0].read_text("utf-8").split("## A host that cannot")[1].split("\n## ")[0]
    quoted = chain.from_iterable(
        re.findall(r"`([^`]+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")
    )
    places = [*(ROOT / "roles").rglob("tasks/*.yml"), *(ROOT / "roles").rglob("vars/*.yml")]
    sources = "\n".join(path.read_text("utf-8") for path in [*places, *(ROOT / "plugins" / "action").glob("*.py")])
    parts = [part.strip(" ,") for text in quoted for part in text.split("...") if part.strip(" ,")]
    assert len(parts) > 10
    ansible = {"Validation of arguments failed"}
    assert [part for part in parts if part not in " ".join(sources.split()) and part not in ansible] == []


def test_the_generated_pages_are_what_would_be_generated_now(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "make-docs", tmp_path], check=True, capture_output=True, timeout=120)
    made = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.*") if path.is_file()}
    names = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs" / "modules").glob("*.rst")}
    assert set(made) == {*names, Path("errors.md")}
    stale = [str(name) for name, text in made.items() if (ROOT / "docs" / name).read_text("utf-8") != text]
    assert stale == [], "HINT: make docs"


def test_every_line_that_the_page_shows_as_blocked_is_one_that_can_be_met() -> None:
    lines = re.findall(r"^  BLOCKED: (.+)\. HINT: (.+)$", PAGES[0].read_text("utf-8"), re.MULTILINE)
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "plugins" / "module_utils").rglob("*.py"))
    assert len(lines) > 2
    for said, hint in lines:
        # "what was done to what: why", the why with what differs from host to host behind a colon or in brackets
        cause = re.split(r": |\(", said.split(": ", 1)[1])[0].strip()
        assert cause in sources, cause
        assert hint in sources, hint
