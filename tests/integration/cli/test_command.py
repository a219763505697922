# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command as a human uses it on a host whose controller is out of reach: check, plan, run, look, and go back."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.state import Receivers
from tests.support.lab_settings import settings_content, write_settings

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
    ready = command("check").stdout.splitlines()
    assert ready[0] == "a failover would work now"
    assert ready[1:] == ["degraded: nobody is notified: neither Sentry nor Telegram is set"]


def tree(*places: str) -> dict[str, int]:
    """What is there, and when it was last changed. The files beside SQLite's come and go with who reads it."""
    found = [path for place in places for path in Path(place).rglob("*")]
    return {str(path): path.lstat().st_mtime_ns for path in found if not path.name.endswith(("-shm", "-wal"))}


UNREADY: list[tuple[dict[str, Any], str, str]] = [
    ({"policy": {"max_source_age_seconds": 0.001}}, "mirror: it is", "baileys-resilience mirror status"),
    ({"mirror_dir": "/nowhere/mirror"}, "mirror: ", "HINT: "),
    ({"load_check": {"node": "/nowhere/node"}}, "Node.js is not found", "set load_check.node"),
    ({"load_check": {"script": "/nowhere/load_check.mjs"}}, "the script of the check is not found", "toolkit"),
    ({"load_check": {"module_dir": "/nowhere"}}, "no package baileys", "set load_check.module_dir"),
    ({"application": {"service": {"name": "other"}}}, "PM2 knows no process of this name", "application.service.name"),
    ({"sessions_dir": "/sys/kernel/sessions"}, "/sys/kernel", "check owner, mode and mount"),
    ({"database": {"port": 1}, "mirror_dir": "", "client_dir": ""}, "no source answers", "restore from a backup"),
]


@pytest.mark.parametrize(("wrong", "problem", "hint"), UNREADY, ids=[each[1] for each in UNREADY])
def test_the_check_finds_it_says_what_to_do_and_changes_nothing(
    lab: Lab, tmp_path: Path, command: Command, wrong: dict[str, Any], problem: str, hint: str
) -> None:
    command("mirror", "once")
    standard = settings_content(lab)["application"]["service"]
    if "application" in wrong:
        wrong = {"application": {"service": {**standard, **wrong["application"]["service"]}}}
    config = write_settings(lab, tmp_path / "failover.json", **wrong)
    places = (lab.need_app().sessions_dir, lab.state_dir, lab.mirror_dir)
    before = tree(*places)
    done = asked(config)
    assert done.returncode == 3, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM: ") and problem in line]
    assert told, done.stdout
    assert hint in told[0]
    assert tree(*places) == before


def asked(config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "check", *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_a_check_of_a_fresh_host_makes_nothing_there(lab: Lab, tmp_path: Path) -> None:
    places = {"sessions_dir": str(tmp_path / "sessions"), "state_dir": str(tmp_path / "state")}
    assert asked(write_settings(lab, tmp_path / "failover.json", **places)).returncode == 3
    assert [path.name for path in tmp_path.iterdir()] == ["failover.json"]


def notified(receivers: Receivers) -> dict[str, str]:
    return {
        "sentry_dsn": receivers.sentry_dsn,
        "telegram_token": receivers.telegram_token,
        "telegram_chat_id": receivers.telegram_chat_id,
        "telegram_api_url": receivers.telegram_api_url,
    }


def test_a_check_that_found_something_reaches_a_human_once_and_only_when_it_is_told_to(
    lab: Lab, tmp_path: Path
) -> None:
    receivers = lab.need_receivers()
    config = write_settings(
        lab, tmp_path / "failover.json", notify=notified(receivers), load_check={"node": "/nowhere/node"}
    )
    logs = [Path(receivers.sentry_log), Path(receivers.telegram_log)]
    before = [len(log.read_text().splitlines()) if log.exists() else 0 for log in logs]
    assert asked(config).returncode == 3
    assert [len(log.read_text().splitlines()) if log.exists() else 0 for log in logs] == before
    for _day in range(2):
        assert asked(config, "--notify").returncode == 3
    for log, earlier in zip(logs, before, strict=True):
        told = log.read_text().splitlines()[earlier:]
        assert len(told) == 1, told
        assert "a failover on lab-app would not work now" in told[0]
        assert "Node.js is not found" in told[0]
        assert lab.need_postgres().password not in told[0]


def test_keys_that_may_go_are_shown_deleted_and_put_back(lab: Lab, command: Command) -> None:
    company = lab.companies[0].id
    command("init-db")
    command("prepare")
    assert lab.message(company, "before the cleanup") == "delivered"
    shown = answer(command("--json", "cleanup"))
    assert shown["number"] == shown["types"]["sender-key-memory"] > 0
    dry = command("cleanup", "--dry-run").stdout
    assert f"company {company}: {shown['number']} of {shown['keys']} keys" in dry
    assert dry.splitlines()[-1] == "nothing was deleted; --apply does it"
    assert "a run would stop" in command("cleanup", "--max-share", "0.001", exits=3).stdout
    assert "so nothing is deleted" in command("cleanup", "--apply", "--max-share", "0.001", exits=3).stderr

    assert "is not on this host's list" in command("cleanup", "--company", "1", exits=2).stderr
    assert "accept_data_loss" in command("cleanup", "--policy", "age", exits=2).stderr
    assert "accept the loss" in command("cleanup", "--retention", "session=30d", exits=2).stderr
    assert "a run is named with restore" in command("cleanup", "restore", exits=2).stderr
    assert (
        "stays: written once, needed"
        in command("cleanup", "--explain", f"app-state-sync-key/{an_app_state_key(lab)}").stdout
    )

    done = command("cleanup", "--apply", "--company", company)
    assert "the session tables take " in done.stdout
    assert f"{shown['number']} keys deleted by policy safe; 0 that may go are left" in done.stdout
    run = done.stdout.split()[-1]
    assert f"baileys-resilience cleanup restore {run}" in done.stdout
    assert lab.message(company, "after the cleanup") == "delivered"
    assert answer(command("--json", "mirror", "once")), "the mirror follows"
    assert "mirror" not in command("check").stdout
    assert [each["run"] for each in answer(command("--json", "cleanup", "archives"))["archives"]] == [run]
    assert ("archive", "0600") in {
        (each["kind"], each["mode"]) for each in answer(command("--json", "copies"))["copies"]
    }
    assert f"{shown['number']} keys of {run} put back" in command("cleanup", "restore", run).stdout
    assert answer(command("--json", "cleanup"))["number"] == shown["number"]


def test_a_cleanup_tells_what_came_of_it_when_it_is_told_to(lab: Lab, tmp_path: Path) -> None:
    receivers = lab.need_receivers()
    config = write_settings(lab, tmp_path / "failover.json", notify=notified(receivers))
    log = Path(receivers.telegram_log)
    before = len(log.read_text().splitlines()) if log.exists() else 0

    def cleanup(*words: str) -> int:
        argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "cleanup", "--apply", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).returncode

    crons = ("--check-in", "cleanup-lab", "--daily-at", "03:00")
    assert cleanup("--notify", "--max-share", "0.001", *crons) == 3
    assert (cleanup("--notify", "--cap", "1", *crons), cleanup("--cap", "1")) == (0, 0)
    assert cleanup(*crons[:-1], "3 am") == 2
    assert (cleanup("--notify", "--company", "1"), cleanup("--company", "1")) == (2, 2)
    check_ins = [
        (item["payload"]["status"], item["payload"]["monitor_config"]["schedule"]["value"])
        for each in Path(receivers.sentry_log).read_text().splitlines()
        for item in [json.loads(each)]
        if item["type"] == "check_in"
    ]
    assert check_ins == [(each, "0 3 * * *") for each in ("in_progress", "error", "in_progress", "ok")]
    stopped, done, refused = log.read_text().splitlines()[before:]
    assert "the cleanup of keys did not do its work on lab-app" in refused
    assert "company 1: is not on this host's list" in refused
    assert "the cleanup of keys did not do its work on lab-app" in stopped
    assert "so nothing is deleted" in stopped
    assert "keys cleaned up on lab-app" in done
    assert "sender-key-memory: 1" in done
    assert "before, written: " in done
    assert "the session tables take " in done


def test_archives_are_encrypted_with_the_key_that_the_configuration_names(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "archive.key"
    config = write_settings(lab, tmp_path / "failover.json", archive_key_file=str(key))
    said = ""

    def command(*words: str, exits: int = 0) -> str:
        nonlocal said
        argv = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == exits, done.stdout + done.stderr
        said += done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "cleanup new-key --archive-key" in command("cleanup", exits=3)
    assert "keep a copy of that file" in command("cleanup", "new-key")
    done = command("cleanup", "--apply", "--cap", "1")
    (run,) = re.findall(r"cleanup restore (\S+)$", done, re.MULTILINE)
    assert f"{run}.jsonl.gz.enc" in done
    assert f"{run}.jsonl.gz.enc" in command("copies")
    other = tmp_path / "other.key"
    command("cleanup", "new-key", "--archive-key", str(other))
    assert f"{other} has" in command("cleanup", "restore", run, "--archive-key", str(other), exits=3)
    assert f"1 keys of {run} put back" in command("cleanup", "restore", run)
    assert not [each for each in (key, other) if each.read_text().strip() in said]


def an_app_state_key(lab: Lab) -> str:
    with contextlib.closing(lab.connect(direct=True)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT key_id FROM whatsapp_keys WHERE key_type = 'app-state-sync-key' LIMIT 1")
        return str(cursor.fetchone()[0])


def test_failover_and_failback_are_run_and_shown(lab: Lab, command: Command) -> None:
    company = lab.companies[0].id
    plan = answer(command("--json", "failover", "plan"))
    assert plan["companies"][0]["sources"][0] == "primary"
    assert "1. check what the failover needs" in command("failover", "plan").stdout

    run = command("failover", "run", "--confirm", "lab-app", "--operator", "maria")
    assert "done: 1 of 1 companies connected" in run.stdout
    assert "stop the application, or hold its writes" in run.stderr, "progress goes to stderr"
    lab.wait_open(20)
    assert lab.health()["store"] == "files"
    assert lab.message(company, "by hand") == "delivered"

    assert f"company {company}: files, epoch 1" in command("failover", "status").stdout
    assert f"company {company} on files since" in command("failover", "run", "--confirm", "all").stdout
    copies = answer(command("--json", "copies"))["copies"]
    assert {"live", "mirror"} <= {each["kind"] for each in copies}
    modes = {(each["kind"] in ("client", "archive"), each["mode"]) for each in copies}
    assert modes <= {(False, "0700"), (True, "0600")}, "directories, but for the client's cache and archives"

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
