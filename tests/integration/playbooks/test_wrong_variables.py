# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of the wrong type: each is refused by its name before a host is asked anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLES = Path(__file__).resolve().parents[3] / "roles"
#: what no conversion makes one of it; any value is a text or a path
WRONG: dict[str, Any] = {"int": "five", "float": "soon", "bool": "perhaps", "dict": "a word", "list": {"a": 1}}


def options() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for role in ("toolkit", "failover", "health_monitor", "what_is_left"):
        spec = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text("utf-8"))
        found += list(spec["argument_specs"]["main"]["options"].items())
    return found


CHECKED = [(name, option) for name, option in options() if option["type"] in WRONG or "choices" in option]


@pytest.mark.parametrize(("name", "option"), CHECKED, ids=[name for name, _option in CHECKED])
def test_the_specification_refuses_it_by_its_name(name: str, option: dict[str, Any]) -> None:
    known = {key: option[key] for key in ("type", "choices", "elements") if key in option}
    wrong = "none of them" if "choices" in option else WRONG[option["type"]]
    errors = ArgumentSpecValidator({name: known}).validate({name: wrong}).error_messages
    assert len(errors) == 1
    assert name in errors[0]


def refused(tmp_path: Path, env: dict[str, str], playbook: str, **variables: Any) -> str:
    """What a playbook says; the host cannot be reached, so it was refused before that."""
    host = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "session_companies": ["1"],
            "ansible_python_interpreter": sys.executable, **variables}  # fmt: skip
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": {"wa1": host}}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", "inventory.json", f"baileys.resilience.{playbook}"], cwd=tmp_path,
        env={**env, "PWD": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said
    assert "Connection refused" not in said
    return said


@pytest.mark.parametrize("companies", ["962301", 962301, ["962301", None]], ids=["text", "number", "empty entry"])
def test_companies_that_are_no_list_do_not_fall_apart_into_digits(
    tmp_path: Path, ansible_env: dict[str, str], companies: Any
) -> None:
    said = refused(tmp_path, ansible_env, "emergency_failover", session_companies=companies)
    assert "failover_companies: a list is needed" in said
    assert "Nothing was changed. HINT: write session_companies: [" in said


SECRETS = {
    "baileys_resilience_login_password": "}X|o<7n?0 of-the-database",
    "baileys_resilience_sentry_dsn": "https://key-of-sentry@127.0.0.1/1",
    "baileys_resilience_telegram_token": "1:token-of-telegram",
    "baileys_resilience_replica": {"login_host": "192.0.2.7", "login_password": "another-of-the-replica"},
}


@pytest.mark.parametrize("playbook", ["mirror", "emergency_failover", "health_check"])
def test_what_is_said_of_a_wrong_type_holds_no_secret(
    tmp_path: Path, ansible_env: dict[str, str], playbook: str
) -> None:
    """Ansible prints the whole specification then, with the defaults filled in."""
    wrong = {"failover_connect_seconds": "soon", "health_check_samples": "soon"}
    said = refused(tmp_path, ansible_env, playbook, **SECRETS, **wrong)
    assert "unable to convert" in said
    for secret in ("of-the-database", "key-of-sentry", "token-of-telegram", "another-of-the-replica"):
        assert secret not in said


def test_a_command_that_is_a_line_is_refused(tmp_path: Path, ansible_env: dict[str, str]) -> None:
    line = {"baileys_resilience_app_pm2": "node pm2", "failover_health_command": "curl it"}
    said = refused(tmp_path, ansible_env, "failback", **line)
    assert "failover_service_pm2, failover_health_command: a list is needed" in said


def test_a_number_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path, ansible_env: dict[str, str]) -> None:
    said = refused(tmp_path, ansible_env, "mirror", baileys_resilience_login_port="five")
    assert "argument 'failover_login_port' is of type str and we were unable to convert to int" in said


@pytest.mark.parametrize("time", ["25:99", "quarter past four", 975])
def test_a_time_that_is_none_is_refused(tmp_path: Path, ansible_env: dict[str, str], time: Any) -> None:
    said = refused(tmp_path, ansible_env, "failover_prepare", failover_prepare_schedule=time)
    assert "and no time of a day. Nothing was changed. HINT: write it as" in said


def test_the_lists_that_are_checked_are_those_of_the_specification() -> None:
    text = yaml.safe_load((ROLES / "failover" / "vars" / "main.yml").read_text("utf-8"))
    assert text["__failover_lists"] == [
        name for name, option in options() if option["type"] == "list" and name.startswith("failover_")
    ]
