# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command as a human uses it on a host whose controller is out of reach: check, plan, run, look, and go back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.support.lab_settings import write_settings

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab.up(tmp_path_factory.mktemp("cli") / "lab", 1)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="module")
def command(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Command:
    config = write_settings(lab, tmp_path_factory.mktemp("config") / "failover.json")
    password = lab.need_postgres().password

    def run(*words: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == exits, done.stdout + done.stderr
        assert password not in done.stdout + done.stderr
        return done

    return run


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """With --json the answer is one object, alone on stdout."""
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_a_host_is_made_ready_until_the_check_finds_nothing(lab: Lab, command: Command) -> None:
    assert "no code is prepared" in command("check", exits=3).stdout
    assert "archive: prepared " in command("prepare").stdout
    assert "archive: was prepared already " in command("prepare").stdout
    assert "mirror" in command("check", exits=3).stdout
    command("init-db")
    assert answer(command("--json", "mirror", "once"))
    assert answer(command("--json", "mirror", "status"))
    assert command("check").stdout == "a failover would work now\n"


def test_failover_and_failback_are_run_and_shown(lab: Lab, command: Command) -> None:
    company = lab.companies[0].id
    plan = answer(command("--json", "failover", "plan"))
    assert plan["companies"][0]["sources"][0] == "primary"
    assert "1. check what the failover needs" in command("failover", "plan").stdout

    run = command("failover", "run", "--confirm", "lab-app", "--operator", "maria")
    assert "done: 1 of 1 companies connected" in run.stdout
    assert "stop the application" in run.stderr, "progress goes to stderr"
    lab.wait_open(20)
    assert lab.health()["store"] == "files"
    assert lab.message(company, "by hand") == "delivered"

    assert f"company {company}: files, epoch 1" in command("failover", "status").stdout
    assert f"company {company} on files since" in command("failover", "run", "--confirm", "all").stdout
    copies = answer(command("--json", "copies"))["copies"]
    assert {"live", "mirror"} <= {each["kind"] for each in copies}
    assert all(each["mode"] == "0700" for each in copies), copies

    back = answer(command("--json", "failback", "run", "--confirm", "all"))
    assert (back["report"]["outcome"], back["report"]["operator"]) == ("done", "test")
    lab.wait_open(20)
    assert lab.health()["store"] == "postgres"
    assert lab.message(company, "back again") == "delivered"
    assert f"company {company}: postgres, epoch 2" in command("store", "show").stdout
    assert "previous" in command("copies").stdout


def test_the_reports_are_kept_beside_the_journal_for_their_owner_only(lab: Lab, command: Command) -> None:
    runs = sorted((Path(lab.state_dir) / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert sorted(each.name for each in run.iterdir() if not each.name.startswith("detached")) == [
            "journal.jsonl",
            "plan.json",
            "report.json",
            "report.md",
        ]
        assert all(each.stat().st_mode & 0o077 == 0 for each in [run, *run.iterdir()])
        text = "".join(each.read_text() for each in run.iterdir())
        assert lab.need_postgres().password not in text
        assert json.dumps(lab.need_postgres().password)[1:-1] not in text
