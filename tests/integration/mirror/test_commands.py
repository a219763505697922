# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`baileys-resilience mirror ...` on a real database: what each action answers, in words, in JSON and as exit code."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import UsageError
from baileys_resilience.failover.mirror import commands, mirror_status
from baileys_resilience.failover.settings import FailoverSettings
from baileys_resilience.progress import Silent
from baileys_resilience.sessions.record import FILES, StoreRecord
from tests.support.databases import Database
from tests.support.synthetic import make_companies

Run = Callable[..., Any]


@pytest.fixture
def run(database: Database, directory: Path, make_settings: Callable[..., FailoverSettings]) -> Run:
    database.fill(*make_companies(2))
    settings = make_settings(mirror_dir=str(directory))

    def dispatch(action: str, **options: Any) -> Any:
        found = commands.dispatch(action, settings, Silent(), **options)
        json.dumps(found.as_dict())
        return found

    return dispatch


def test_once_tells_what_it_mirrored_and_status_what_is_there(run: Run) -> None:
    assert run("status").exit_code == 6
    assert "there is no mirror" in run("status").lines()[0]
    assert run("once").lines()[0].startswith("mirrored 2 companies")
    status = run("status")
    assert status.exit_code == 0
    assert [line.split(":")[0] for line in status.lines()[1:]] == ["  962301", "  962302"]


def test_status_shows_what_is_held_back_until_it_is_acknowledged(run: Run, database: Database) -> None:
    run("once")
    database.run("DELETE FROM whatsapp_keys WHERE company_id = '962301'")
    run("once")
    assert any("mass-deletion" in line for line in run("status").lines())
    assert run("acknowledge", company="962301").keys_dropped > 10
    assert not any("mass-deletion" in line for line in run("status").lines())


def test_acknowledge_needs_a_company_and_every_action_a_mirror(
    run: Run, make_settings: Callable[..., FailoverSettings]
) -> None:
    with pytest.raises(UsageError) as nobody:
        run("acknowledge")
    assert "--company" in nobody.value.hint
    with pytest.raises(UsageError) as nowhere:
        commands.dispatch("status", make_settings(mirror_dir=""), Silent())
    assert "mirror_dir" in nowhere.value.hint
    with pytest.raises(UsageError):
        run("fly")


def test_the_store_of_record_is_asked(run: Run, make_settings: Callable[..., FailoverSettings]) -> None:
    run("once")
    StoreRecord(make_settings().state).move(["962301"], FILES, by="test", places={})
    run("once")
    assert any("lives on files" in line for line in run("status").lines())


def test_an_adopted_database_is_compared_whole(run: Run) -> None:
    run("once")
    assert "compares everything" in run("adopt-database").lines()[0]
    assert run("once").as_dict()["mode"] == "thorough"


def test_run_keeps_the_mirror_until_it_is_told_to_end(run: Run, directory: Path) -> None:
    def end_when_usable() -> None:
        deadline = time.monotonic() + 20
        while not mirror_status(directory).usable and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    watcher = threading.Thread(target=end_when_usable)
    watcher.start()
    try:
        assert run("run", interval_seconds=0.1).exit_code == 0
    finally:
        watcher.join()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert run("status").exit_code == 0
