# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the lab ends in a live session on files, and the failback in one on PostgreSQL that equals them.

The command is run as an operator runs it on a host; the mirror is what a dead or damaged database is replaced by.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from lab import Lab
from lab.errors import LabError
from tests.faults.alive import assert_alive
from tests.faults.commands import command
from tests.support.lab_settings import write_settings

DEAD_DATABASE = ("postgres-kill", "postgres-freeze", "postgres-stop", "network-drop", "network-reset")
DAMAGED_DATA = (
    ("creds-corrupt", "null"),
    ("creds-corrupt", "empty"),
    ("creds-corrupt", "tampered"),
    ("keys-corrupt", ""),
    ("rows-delete", ""),
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("faults") / "lab", 1, client=False)
    yield made
    made.down()


@pytest.fixture(scope="module")
def config(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_settings(lab, tmp_path_factory.mktemp("config") / "failover.json")
    prepare(load_settings(path))
    return path


@pytest.fixture(autouse=True)
def mirrored(lab: Lab, config: Path) -> Iterator[None]:
    """The session lives, has just talked, and the mirror has seen it; whatever a test breaks is healed behind it."""
    assert_alive(lab, config, "postgres")
    command(config, "mirror", "once")
    yield
    lab.heal()


def sources_of(answer: dict[str, Any]) -> set[str]:
    return {entry["source"] for entry in answer["report"]["companies"].values()}


@pytest.mark.parametrize("fault", DEAD_DATABASE)
def test_a_dead_database_ends_in_a_live_session_from_the_mirror(lab: Lab, config: Path, fault: str) -> None:
    lab.break_(fault)
    answer = command(config, "failover", "run")
    assert sources_of(answer) == {"mirror"}
    assert answer["report"]["proof"]["proven"] is True
    assert_alive_on_files(lab, config)
    lab.heal()
    command(config, "failback", "run")
    assert_alive(lab, config, "postgres")


def assert_alive_on_files(lab: Lab, config: Path) -> None:
    """While the database is dead the record can only be asked on the host; the messages tell the rest."""
    assert_alive(lab, config, "files")


@pytest.mark.parametrize(("fault", "variant"), DAMAGED_DATA)
def test_damaged_rows_end_in_a_live_session_from_the_mirror(lab: Lab, config: Path, fault: str, variant: str) -> None:
    company = lab.companies[0].id
    lab.break_(fault, company=company, **({"variant": variant} if variant else {}))
    answer = command(config, "failover", "run")
    assert sources_of(answer) == {"mirror"}
    assert_alive(lab, config, "files")
    command(config, "failback", "run")
    assert_alive(lab, config, "postgres")


def test_without_a_mirror_a_dead_database_is_refused_and_nothing_is_touched(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    bare = write_settings(lab, tmp_path / "bare.json", mirror_dir="")
    pid = lab.health()["pid"]
    lab.break_("postgres-kill")
    answer = command(bare, "failover", "run", expect=11)
    assert "no source answers" in answer["cause"]
    assert "nothing was touched" in answer["hint"]
    assert lab.health()["pid"] == pid
    lab.heal()
    assert_alive(lab, config, "postgres")


def test_a_database_that_keeps_silent_costs_the_patience_of_the_setting_once_a_run(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    patient = write_settings(
        lab, tmp_path / "patient.json", policy={"connect_seconds": 4}, database={"connect_timeout_seconds": 30}
    )
    operation = Operation(load_settings(patient), "failover")
    lab.break_("network-drop")
    began = time.monotonic()
    operation.begin()
    assert 4 <= time.monotonic() - began < 6
    operation.step("preflight")
    began = time.monotonic()
    chosen = operation.step("choose_source")
    assert time.monotonic() - began < 3
    primary, mirror = chosen.result["sources"]
    assert (primary["silent"], primary["answers"], mirror["answers"]) == (True, False, True)
    assert "kept silent a moment ago" in primary["problem"]
    operation.undo("by a test")

    operation.begin()
    lab.heal()
    operation.step("preflight")
    assert operation.step("choose_source").result["chosen"][lab.companies[0].id][0] == "primary", "it has come back"
    operation.undo("by a test")


def test_a_failover_that_failed_and_was_undone_can_be_run_again_while_the_database_is_still_dead(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    impatient = write_settings(lab, tmp_path / "impatient.json", application=application_with_deadline(config, 3))
    code = Path(f"{lab.need_app().dir}-files/src/index.js")
    content = code.read_text()
    lab.break_("postgres-kill")
    code.write_text("throw new Error('broken by a test')\n")
    try:
        answer = command(impatient, "failover", "run", expect=10)
        assert "no session connected within 3 s" in answer["cause"]
    finally:
        code.write_text(content)
    assert not Path(lab.need_app().dir).is_symlink()
    assert sources_of(command(config, "failover", "run")) == {"mirror"}
    assert_alive(lab, config, "files")
    lab.heal()
    command(config, "failback", "run")
    assert_alive(lab, config, "postgres")


def application_with_deadline(config: Path, seconds: float) -> dict[str, Any]:
    application: dict[str, Any] = json.loads(config.read_text())["application"]
    application["health"]["deadline_seconds"] = seconds
    return application


def test_after_a_failback_the_mirror_is_good_for_the_next_failover_at_once(lab: Lab, config: Path) -> None:
    command(config, "failover", "run")
    command(config, "failback", "run")
    lab.break_("postgres-kill")
    assert sources_of(command(config, "failover", "run")) == {"mirror"}
    assert_alive(lab, config, "files")
    lab.heal()
    command(config, "failback", "run")


def test_of_two_operators_one_runs_and_the_other_is_told_who_and_since_when(lab: Lab, config: Path) -> None:
    words = [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "failover", "run", "--operator"]
    both = [
        subprocess.Popen([*words, name], stderr=subprocess.PIPE, text=True, stdout=subprocess.PIPE)
        for name in ("ann", "ben")
    ]
    ended = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    told = next(error for process, (_out, error) in zip(both, ended, strict=True) if process.returncode != 0)
    assert codes == [0, 8], ended
    assert " by ann is open since 2" in told or " by ben is open since 2" in told
    assert_alive(lab, config, "files")
    command(config, "failback", "run")


def test_a_failover_of_what_is_on_files_changes_nothing_and_says_since_when(lab: Lab, config: Path) -> None:
    command(config, "failover", "run")
    answer = command(config, "failover", "run")
    assert answer["changed"] is False
    assert "on files since 2" in answer["message"]
    command(config, "failback", "run")
    again = command(config, "failback", "run")
    assert again["changed"] is False


def test_the_command_tells_before_it_is_needed_that_a_failover_would_not_work(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    assert command(config, "check")["ready"] is True
    worktree = Path(f"{lab.need_app().dir}-files")
    hidden = worktree.with_name("hidden")
    os.rename(worktree, hidden)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "check"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert "the worktree is gone" in done.stdout
        assert "failover_prepare.yml" in done.stdout
    finally:
        os.rename(hidden, worktree)


@pytest.mark.parametrize("fault", ["", "rows-delete"])
def test_every_message_sent_while_a_failover_and_a_failback_run_is_decrypted(
    lab: Lab, config: Path, fault: str
) -> None:
    """The ratchets move until the last moment before the stop: none of these steps may be lost."""
    company = lab.companies[0].id
    if fault:
        lab.break_(fault, company=company)
    with traffic(lab, company) as outcomes:
        answer = command(config, "failover", "run")
        command(config, "failback", "run")
    assert sources_of(answer) == {"mirror" if fault else "primary"}
    assert outcomes.count("delivered") > 3
    assert set(outcomes) <= {"delivered", "offline", "timeout"}, outcomes
    assert_alive(lab, config, "postgres")
    assert lab.message(company, "last", sender="contact-9") == "delivered"


@contextlib.contextmanager
def traffic(lab: Lab, company: str) -> Iterator[list[str]]:
    """A conversation with one contact until the block ends: each answer turns the ratchet, so that a session which lost
    a step is one that cannot read on. What the stopped application refuses to send does not count.
    """
    outcomes: list[str] = []
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            outcomes.append(lab.message(company, f"number {len(outcomes)}", sender="contact-9", timeout_ms=1500))
            try:
                lab.send(company, f"answer {len(outcomes)}", to="contact-9")
            except LabError:
                stop.wait(0.2)  # the application is down: a person does not write a hundred messages a second either

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        thread.join()


def test_a_failover_is_told_once_to_sentry_and_once_to_telegram_without_secrets(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    receivers = lab.need_receivers()
    telling = write_settings(
        lab,
        tmp_path / "telling.json",
        notify={
            "sentry_dsn": receivers.sentry_dsn,
            "telegram_token": receivers.telegram_token,
            "telegram_chat_id": receivers.telegram_chat_id,
            "telegram_api_url": receivers.telegram_api_url,
        },
    )
    logs = [Path(receivers.sentry_log), Path(receivers.telegram_log)]
    before = [lines(log) for log in logs]
    lab.break_("postgres-kill")
    command(telling, "failover", "run")
    for log, earlier in zip(logs, before, strict=True):
        told = lines(log)[len(earlier) :]
        assert len(told) == 1, told
        assert "failover on lab-app done: 1 of 1 companies connected" in told[0]
        assert lab.need_postgres().password not in told[0]
        assert "s.whatsapp.net" not in told[0]
    lab.heal()
    command(config, "failback", "run")


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []
