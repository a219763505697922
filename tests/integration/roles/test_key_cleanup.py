# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role key_cleanup: a run now, as check and for real, and the daily one, at its time in UTC on hosts elsewhere."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from baileys_resilience.clock import utc_now
from tests.support.databases import Database
from tests.support.playbooks import Ansible, Played, login, tree
from tests.support.synthetic import make_companies

ROLE = Path(__file__).resolve().parents[3] / "roles" / "key_cleanup"
MIX = {"session": 100, "sender-key-memory": 20}
KEY = base64.b64encode(bytes(range(32))).decode()


def play(ansible: Ansible, variables: dict[str, Any], *arguments: str) -> Played:
    given = {"session_companies": ["962301"], "key_cleanup_python": sys.executable, **variables}
    return ansible.playbook([{"roles": ["baileys.resilience.key_cleanup"]}], *arguments, variables=given)


def changed(played: Played) -> int:
    assert played.returncode == 0, played.output
    found = re.search(r"changed=(\d+)", played.output)
    assert found, played.output
    return int(found[1])


def test_every_default_has_a_typed_and_described_option_with_the_same_default() -> None:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert list(options) == list(defaults)
    for name, option in options.items():
        assert {"type", "description"} <= set(option), name
        assert option.get("default", defaults[name]) == defaults[name], name


def test_a_run_touches_the_companies_of_its_host(ansible: Ansible, database: Database, tmp_path: Path) -> None:
    database.fill(*make_companies(2, MIX))
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'session'")
    variables = {f"key_cleanup_{name}": value for name, value in login(database.params).items()}
    variables["key_cleanup_state_dir"] = str(tmp_path / "state")
    before = database.everything(versions=True)
    would = play(ansible, variables, "--check")
    assert changed(would) == 1
    assert "20 of 120 keys would go" in would.output
    assert (database.everything(versions=True), (tmp_path / "state").exists()) == (before, False)
    did = play(ansible, variables)
    assert changed(did) == 1
    assert "sender-key-memory: 20" in did.output
    assert "written: <1d 100, >30d 20" in would.output
    for each in (would, did):
        assert re.search(r"the session tables take \d\.\d MB", each.output), each.output
    assert "baileys-resilience cleanup restore cleanup-" in did.output
    assert changed(play(ansible, variables, "--check")) == changed(play(ansible, variables)) == 0
    assert database.run("SELECT company_id, count(*) FROM whatsapp_keys GROUP BY 1 ORDER BY 1") == [
        ("962301", 100),
        ("962302", 120),
    ]
    assert database.params.password not in would.output + did.output


def test_archives_are_encrypted_with_the_key_of_the_inventory(
    ansible: Ansible, database: Database, tmp_path: Path
) -> None:
    database.fill(*make_companies(1, MIX))
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'session'")
    key, older = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
    file, state = tmp_path / "archive.key", tmp_path / "state"
    variables = {f"key_cleanup_{name}": value for name, value in login(database.params).items()}
    variables.update(
        key_cleanup_state_dir=str(state), key_cleanup_archive_key_file=str(file), key_cleanup_archive_key=key
    )
    would = play(ansible, variables, "--check", "--diff", "-vvv")
    assert changed(would) == 2
    assert (file.exists(), state.exists()) == (False, False)
    did = play(ansible, variables, "--diff", "-vvv")
    assert changed(did) == 2
    assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{key}\n", 0o600)
    (archived,) = (state / "cleanup").glob("*.enc")
    assert f"restore {archived.name.split('.')[0]} --archive-key {file}" in " ".join(did.output.split())
    assert changed(play(ansible, variables)) == 0
    assert changed(play(ansible, {**variables, "key_cleanup_archive_key": f"{older}\n{key}"})) == 1
    assert file.read_text() == f"{older}\n{key}\n"
    assert [each.read_text() for each in tmp_path.glob("archive.key.*")] == [f"{key}\n"], "a key is never thrown away"
    assert key not in would.output + did.output


def daily(tmp_path: Path, **more: Any) -> dict[str, Any]:
    host = tmp_path / "host"
    host.mkdir(exist_ok=True)
    (tmp_path / "failover.json").write_text("{}")
    return {
        "key_cleanup_action": "schedule",
        "key_cleanup_scheduler": "cron",
        "key_cleanup_cron_dir": str(host),
        "key_cleanup_config_file": str(tmp_path / "failover.json"),
        **more,
    }


def test_a_daily_run_is_installed_once_and_removed(ansible: Ansible, tmp_path: Path) -> None:
    variables = daily(tmp_path, key_cleanup_retention={"sender-key-memory": 60})
    host = tmp_path / "host"
    assert changed(play(ansible, variables, "--check")) == 1
    assert tree(host) == {}
    assert [changed(play(ansible, variables, *words)) for words in ([], ["--check"], [])] == [1, 0, 0]
    line = (host / "baileys-resilience-cleanup").read_text().splitlines()[-1]
    assert line.startswith('0,15,30,45 * * * * root test "$(date -u +\\%H:\\%M)" = "03:00" && nice /usr/local/bin/')
    assert "cleanup --apply --notify --retention sender-key-memory=60 --cap 10000 --max-share 0.2 --keep 90" in line
    keyed = {"key_cleanup_archive_key_file": str(tmp_path / "archive.key"), "key_cleanup_archive_key": KEY}
    assert changed(play(ansible, {**variables, **keyed, "key_cleanup_check_in": "cleanup-app-1"})) == 2
    told = (host / "baileys-resilience-cleanup").read_text()
    assert "--retention sender-key-memory=60 --check-in cleanup-app-1 --daily-at 03:00 --archive-key" in told
    assert f"--archive-key {tmp_path / 'archive.key'} --cap" in told
    assert changed(play(ansible, {**variables, "key_cleanup_companies": ["9623 01"]})) == 1, "fewer than the host has"
    assert "--notify --company '9623 01' --retention" in (host / "baileys-resilience-cleanup").read_text()
    assert changed(play(ansible, {**variables, **keyed, "key_cleanup_state": "absent"})) == 1
    assert tree(host) == {}
    assert (tmp_path / "archive.key").exists(), "archives stay, so their key does"


def test_the_job_runs_at_its_time_in_utc_wherever_the_host_is(ansible: Ansible, tmp_path: Path) -> None:
    """What cron would start, in a zone that is 5:45 hours ahead."""
    marker = tmp_path / "ran"
    while True:
        now = utc_now()
        for hours, runs in ((0, True), (1, False)):
            marker.unlink(missing_ok=True)
            schedule = f"{(now.hour + hours) % 24:02d}:{now.minute:02d}"
            command = ["sh", "-c", f"touch {marker}", "sh"]
            assert changed(play(ansible, daily(tmp_path, key_cleanup_schedule=schedule, key_cleanup_command=command)))
            line = (tmp_path / "host" / "baileys-resilience-cleanup").read_text().splitlines()[-1]
            shell = line.partition(" root ")[2].replace("\\%", "%")
            subprocess.run(["sh", "-c", shell], check=False, env={**os.environ, "TZ": "Asia/Kathmandu"})
            if runs and utc_now().minute != now.minute:
                break  # the minute passed meanwhile: once more
            assert marker.exists() is runs
        else:
            return


def test_what_cannot_be_meant_is_refused_before_anything_is_written(ansible: Ansible, tmp_path: Path) -> None:
    key_file = str(tmp_path / "archive.key")
    keyed = {"key_cleanup_archive_key": KEY, "key_cleanup_archive_key_file": key_file}
    for more, hint in (
        ({"key_cleanup_schedule": "3"}, 'write it as "03:00"'),
        ({"key_cleanup_older_than": -30}, "give 1 or more"),
        ({"key_cleanup_check_in": "Cleanup of app-1"}, "at most 50 of a-z"),
        ({"key_cleanup_policy": "age"}, "key_cleanup_accept_data_loss"),
        ({"key_cleanup_archive_key": KEY}, "name a file"),
        ({**keyed, "key_cleanup_archive_key": f"{KEY}\n{KEY[:-1]}"}, "openssl rand"),
        ({"key_cleanup_archive_key_file": key_file}, f"cleanup new-key --archive-key {key_file}"),
        ({**keyed, "key_cleanup_config_file": str(tmp_path / "none.json")}, "run failover_prepare.yml first"),
        ({"key_cleanup_scheduler": "auto", "key_cleanup_action": "daily"}, "key_cleanup_action must be one of"),
    ):
        done = play(ansible, daily(tmp_path, **more))
        assert done.returncode != 0
        assert hint in " ".join(done.output.split()), done.output
        assert KEY[:-1] not in done.output
    assert (tree(tmp_path / "host"), Path(key_file).exists()) == ({}, False)
