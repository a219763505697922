# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defaults, argument_specs and the library's settings of the role failover say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from baileys_resilience.failover.contacts import Contact
from baileys_resilience.failover.settings import (
    ApplicationSettings,
    CodeSettings,
    HealthSettings,
    LoadCheckSettings,
    Policy,
    ServiceSettings,
    settings_from_dict,
)

ROLE = Path(__file__).resolve().parents[3] / "roles" / "failover"


def load(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text("utf-8"))


@pytest.fixture
def settings(tmp_path: Path, ansible_env: dict[str, str]) -> dict[str, Any]:
    """What the role writes for the command, with nothing set but two hosts' companies."""
    return written(tmp_path, ansible_env)


def written(tmp_path: Path, ansible_env: dict[str, str], *more: str) -> dict[str, Any]:
    done = mirror_played(tmp_path, ansible_env, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads((tmp_path / "failover.json").read_text("utf-8"))
    return content


def mirror_played(tmp_path: Path, ansible_env: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "inventory.yml").write_text(
        "all: {hosts: {wa1: {session_companies: ['1', '2']}, wa2: {session_companies: [3]}, db1: {}},"
        f" vars: {{ansible_connection: local, ansible_become: false, ansible_python_interpreter: {sys.executable}}}}}\n"
    )
    env = {**ansible_env, "PWD": str(tmp_path)}
    command = ["ansible-playbook", "-i", "inventory.yml", "-l", "wa1", "baileys.resilience.mirror",
               "-e", f"failover_config_file={tmp_path}/failover.json", "-e", "failover_scheduler=cron",
               "-e", f"failover_cron_dir={tmp_path}", "-e", "failover_init_db=false", *more]  # fmt: skip
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_every_default_has_a_typed_and_described_option_with_the_same_default() -> None:
    defaults, options = load("defaults/main.yml"), load("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert list(options) == list(defaults)
    for name, option in options.items():
        assert {"type", "description"} <= set(option), name
        assert option.get("default", defaults[name]) == defaults[name], name


def test_every_variable_carries_the_name_of_the_role() -> None:
    assert all(name.startswith("failover_") for name in load("defaults/main.yml"))
    assert all(name.startswith("__failover_") for name in load("vars/main.yml"))


def test_the_defaults_of_the_role_are_those_of_the_library(settings: dict[str, Any]) -> None:
    made = settings_from_dict(settings)
    assert made.application.service == ServiceSettings()
    assert made.application.health == HealthSettings()
    assert made.code == CodeSettings()
    assert made.policy == Policy()
    assert {each.name for each in fields(ApplicationSettings)} - set(settings["application"]) == {"files_health"}
    assert set(settings["load_check"]) == {each.name for each in fields(LoadCheckSettings)}


def test_companies_of_other_hosts_are_known_even_under_limit(settings: dict[str, Any]) -> None:
    assert settings["host"] == "wa1"
    assert settings["companies"] == ["1", "2"]
    assert settings["other_hosts"] == {"wa2": [3], "db1": []}


def test_one_prefix_and_one_directory_of_commands_move_everything(tmp_path: Path, ansible_env: dict[str, str]) -> None:
    named = {"prefix": "/srv/resilience", "bin_dir": "/srv/bin", "archive_key_file": "/srv/archive.key"}
    moved = [f"baileys_resilience_{name}={value}" for name, value in named.items()]
    settings = written(tmp_path, ansible_env, *[word for each in moved for word in ("-e", each)])
    assert settings["load_check"]["script"] == "/srv/resilience/share/load_check.mjs"
    assert settings_from_dict(settings).archive_key_file == "/srv/archive.key"
    assert " /srv/bin/baileys-resilience --config " in (tmp_path / "baileys-resilience-mirror").read_text("utf-8")
    toolkit = yaml.safe_load((ROLE.parent / "toolkit" / "defaults" / "main.yml").read_text("utf-8"))
    assert toolkit["toolkit_prefix"] == load("vars/main.yml")["__failover_prefix"]
    assert "baileys_resilience_bin_dir | default('/usr/local/bin')" in toolkit["toolkit_bin_dir"]


def contacts(tmp_path: Path, text: str) -> tuple[str, str]:
    path = tmp_path / "contacts.yml"
    path.write_text(f"baileys_resilience_contacts: {text}\n", "utf-8")
    return "-e", f"@{path}"


def test_contacts_of_the_inventory_are_those_that_the_command_prints(
    tmp_path: Path, ansible_env: dict[str, str]
) -> None:
    told = contacts(tmp_path, "[{name: Database desk, reach: '+49 30 123456', role: PostgreSQL, when: day and night}]")
    made = settings_from_dict(written(tmp_path, ansible_env, *told)).contacts
    assert made == (Contact("Database desk", "+49 30 123456", "PostgreSQL", "day and night"),)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "[{name: Database desk, reach: +4930123456}]",
            "Database desk: 4930123456 is no text for YAML. HINT: put quotes",
        ),
        ("[{name: Database desk}]", "missing required arguments: reach found in failover_contacts"),
        ("[{name: Database desk, phone: '1'}]", "failover_contacts.phone. Supported parameters include"),
    ],
)
def test_a_contact_that_could_not_be_called_is_refused_and_nothing_is_written(
    tmp_path: Path, ansible_env: dict[str, str], wrong: str, said: str
) -> None:
    """An unquoted +49... is a number without its plus: found out at night, by whoever dials it."""
    done = mirror_played(tmp_path, ansible_env, *contacts(tmp_path, wrong))
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())
    assert not (tmp_path / "failover.json").exists()
