# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that cannot be worked on: the others finish, each says what is wrong with it, and the end says what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.support import small_app
from tests.support.databases import new_database
from tests.support.small_host import SmallHost

ROOT = Path(__file__).resolve().parents[3]
EMERGENCY = "baileys.resilience.emergency_failover"


class Operator:
    """An inventory of small hosts, and the playbooks run against it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.hosts: dict[str, dict[str, Any]] = {}

    def add(self, name: str, **variables: Any) -> None:
        known = {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "baileys_resilience_python": sys.executable,
            "baileys_resilience_state_dir": str(self.folder / name / "state"),
            "baileys_resilience_config_file": str(self.folder / name / "failover.json"),
            "session_companies": [name],
        }
        self.hosts[name] = {**known, **variables}

    def play(self, playbook: str, *arguments: str) -> tuple[int, str]:
        (self.folder / "inventory.json").write_text(json.dumps({"all": {"hosts": self.hosts}}))
        done = subprocess.run(
            ["ansible-playbook", "-i", "inventory.json", playbook, *arguments], cwd=self.folder,
            env={**self.env, "PWD": str(self.folder)}, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def operator(tmp_path: Path, ansible_env: dict[str, str]) -> Operator:
    return Operator(tmp_path, ansible_env)


def small_host_variables(host: SmallHost, number: int, stop: list[str] | None = None) -> dict[str, Any]:
    params = host.database.params
    words = host.content()["application"]["service"]
    return {
        "session_companies": [host.ids[number]],
        "baileys_resilience_login_host": params.host,
        "baileys_resilience_login_port": params.port,
        "baileys_resilience_login_db": params.dbname,
        "baileys_resilience_login_user": params.user,
        "baileys_resilience_login_password": {"__ansible_unsafe": params.password},
        "baileys_resilience_ssl_mode": "disable",
        "baileys_resilience_mirror_dir": "",
        "baileys_resilience_load_check_script": "",
        "baileys_resilience_app_dir": str(host.folder / "app"),
        "baileys_resilience_app_manager": "argv",
        "failover_service_start": words["start"],
        "failover_service_stop": stop or words["stop"],
        "failover_service_status": words["status"],
        "failover_health_kind": "command",
        "failover_health_command": [*words["status"][:-1], "health"],
        "failover_cooldown": 0,
    }


@pytest.fixture
def two_hosts(lab: Lab, tmp_path: Path) -> Iterator[list[SmallHost]]:
    with new_database(lab) as first, new_database(lab) as second:
        made = [SmallHost(tmp_path / name, database) for name, database in (("wa1", first), ("wa2", second))]
        try:
            yield made
        finally:
            for each in made:
                each.end()


def test_a_host_that_is_gone_while_its_application_is_down_keeps_nobody_and_is_finished_by_what_the_play_says(
    operator: Operator, two_hosts: list[SmallHost], tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    stop = " ".join(two_hosts[1].content()["application"]["service"]["stop"])
    cut = ["sh", "-c", f"touch {dead}; {stop}"]
    operator.add("wa1", **small_host_variables(two_hosts[0], 0))
    operator.add(
        "wa2", **small_host_variables(two_hosts[1], 1, cut), ansible_connection="mortal", mortal_dead=str(dead)
    )
    code, output = operator.play(EMERGENCY, "-e", "failover_confirm=all")
    said = " ".join(output.split())
    assert code != 0
    assert two_hosts[0].store == "files", output
    assert "failover on wa1 done" in said
    assert "wa2 does not answer: " in said
    assert "It was not taken back" in said
    assert "Not done on 1 of 2 hosts" in said
    assert f"ansible-playbook {EMERGENCY} --limit wa2 -e failover_confirm=wa2" in said
    assert "add -e failover_open_run=resume" in said

    dead.unlink()
    operator.hosts["wa2"]["failover_service_stop"] = small_host_variables(two_hosts[1], 1)["failover_service_stop"]
    code, output = operator.play(EMERGENCY, "--limit", "wa2", "-e", "failover_confirm=wa2")
    assert code != 0, "its run is open"
    code, output = operator.play(
        EMERGENCY, "--limit", "wa2", "-e", "failover_confirm=wa2", "-e", "failover_open_run=resume"
    )
    assert code == 0, output
    assert two_hosts[1].store == "files"
    assert small_app.pid_of(two_hosts[1].folder)


def test_each_host_that_cannot_be_asked_says_why_and_the_last_lines_name_all_of_them(operator: Operator) -> None:
    operator.add("good")
    operator.add("without_toolkit", baileys_resilience_python="/no/toolkit/bin/python")
    operator.add("away", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    sudo = {"ansible_become": True, "ansible_become_user": "nobody", "ansible_become_exe": "/no/sudo"}
    operator.add("without_sudo", **sudo)
    code, output = operator.play(EMERGENCY, "--check")
    said = " ".join(output.split())
    assert code != 0
    assert "good: failover of 1 companies to files" in said
    assert "without_toolkit has no toolkit that runs: " in said
    assert "HINT: ansible-playbook baileys.resilience.toolkit --limit without_toolkit" in said
    assert "away does not answer: " in said
    assert "without_sudo does not let this connection become root: " in said
    assert "Not done on 3 of 4 hosts" in said
    for name in ("away", "without_sudo", "without_toolkit"):
        assert f"ansible-playbook {EMERGENCY} --limit {name} --check" in said


def test_a_host_that_is_the_only_one_and_away_is_told_the_same(operator: Operator) -> None:
    operator.add("away", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    code, output = operator.play(EMERGENCY, "-e", "failover_confirm=away")
    said = " ".join(output.split())
    assert code != 0
    assert "away does not answer: " in said
    assert "run this playbook again with --limit away" in said


def test_a_group_that_is_not_there_is_no_success(operator: Operator) -> None:
    operator.add("wa1")
    for playbook in sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")):
        code, output = operator.play(f"baileys.resilience.{playbook}", "-e", "baileys_resilience_hosts=whatsapp")
        said = " ".join(output.split())
        assert code != 0, playbook
        assert (
            'Nothing was done: "whatsapp" is no host and no group of this inventory, which has 1 hosts.'
            in said.replace("\\", "")
        )
        assert "HINT: name the inventory with -i" in said


@pytest.mark.parametrize(
    ("playbook", "job", "variable"),
    [("failover_prepare", "the daily check", 'failover_prepare_schedule: ""'),
     ("mirror", "the live mirror", "failover_mirror_state: absent")],
)  # fmt: skip
def test_a_host_with_neither_systemd_nor_cron_is_told_before_anything_is_written(
    operator: Operator, tmp_path: Path, playbook: str, job: str, variable: str
) -> None:
    operator.add("wa1", failover_cron_dir=str(tmp_path / "no-cron"), failover_scheduler="cron")
    code, output = operator.play(f"baileys.resilience.{playbook}")
    said = " ".join(output.split()).replace("\\", "")
    assert code != 0
    assert f"so nothing would run {job}. Nothing was changed. HINT: " in said
    assert f"or set {variable} and let something of yours run this" in said
    assert not (tmp_path / "wa1").exists()
