# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a real fault to a real message: one a service, and one more for its end, whatever dies meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from baileys_resilience.health.history import Reader, Window
from baileys_resilience.postgres import ConnectParams
from lab import Lab
from tests.integration.health.monitor.test_command import PATIENCE_SECONDS, Files
from tests.support.lab_receivers import SENTRY, TELEGRAM, Receivers, receivers

DOWN = "PostgreSQL takes no connections"
QUICK = {"recheck_seconds": 0.2, "hold_seconds": 1.0}


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Receivers]:
    with receivers(tmp_path / "receivers") as made:
        yield made


@pytest.fixture
def files(whole_server: ConnectParams, told: Receivers, tmp_path: Path) -> Files:
    notify = {name: each for name, each in asdict(told.settings()).items() if isinstance(each, str)}
    return Files(tmp_path, whole_server, notify=notify, alerts=QUICK, heartbeat="lab-monitor")


def waiting(files: Files, told: Receivers, condition: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        seen = {service: told.records(service) for service in (SENTRY, TELEGRAM)}
        assert time.monotonic() < limit, f"{what}; {seen}; {files.ask('/api/status')}"
        time.sleep(0.05)


def queued(files: Files) -> dict[str, int]:
    return {each["service"]: each["queued"] for each in json.loads(files.ask("/api/status")[1])["services"]}


def test_each_incident_is_one_message_a_service_and_one_more_for_its_end(
    lab: Lab, files: Files, told: Receivers
) -> None:
    title = f"database 127.0.0.1:{lab.need_postgres().direct_port}/{lab.need_postgres().database}: {DOWN}"
    with files.running() as process:
        lab.break_("postgres-stop")
        waiting(files, told, lambda: told.titles(SENTRY) == [title] == told.titles(TELEGRAM), "both are told")
        # A kill between an answer and its being remembered costs a duplicate: nobody can do both at once.
        waiting(files, told, lambda: queued(files) == {SENTRY: 0, TELEGRAM: 0}, "both are done")
        process.kill()
        process.wait()
    with files.running():
        files.wait(lambda: json.loads(files.ask("/api/status")[1])["looks"] > 10, "it looks on")
        lab.heal()
        both = [title, f"over: {title}"]
        waiting(files, told, lambda: told.titles(SENTRY) == both == told.titles(TELEGRAM), "both hear of its end")
        waiting(files, told, lambda: queued(files) == {SENTRY: 0, TELEGRAM: 0}, "both are done")
        waiting(files, told, lambda: any(each["type"] == "check_in" for each in told.records(SENTRY)), "the heartbeat")
    assert told.titles(SENTRY) == told.titles(TELEGRAM) == both


def test_a_telegram_that_hangs_delays_neither_sentry_nor_a_look(lab: Lab, files: Files, told: Receivers) -> None:
    told.fault(TELEGRAM, "hang", times=1000)
    with files.running():
        lab.break_("postgres-stop")
        waiting(files, told, lambda: len(told.titles(SENTRY)) == 1, "Sentry is told")
        lab.heal()
        waiting(files, told, lambda: len(told.titles(SENTRY)) == 2, "Sentry hears of its end")
        assert files.ask("/healthz")[0] == 200
    assert told.titles(TELEGRAM) == []
    told.fault(TELEGRAM)
    with files.running():  # what was kept is sent by the next one, in its order
        waiting(files, told, lambda: len(told.titles(TELEGRAM)) == 2, "Telegram is told at last")
    assert [each.startswith("over: ") for each in told.titles(TELEGRAM)] == [False, True]


def test_what_was_seen_and_told_is_in_the_history(lab: Lab, files: Files) -> None:
    with files.running() as process:
        files.wait(lambda: "database" in json.loads(files.ask("/api/status")[1])["figures"], "a good look")
        lab.break_("postgres-stop")
        files.wait(lambda: json.loads(files.ask("/api/status")[1])["open"], "it is told")
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    reader = Reader(files.state / "history.sqlite3")
    now = time.time()
    totals = reader.totals(Window.between(now - 600, now + 60))
    assert {operation for _subject, operation in totals} >= {"connect", "read", "write"}
    assert [each.cause for each in reader.events(Window.between(now - 600, now + 60))] == ["down"]


def test_a_history_that_cannot_be_kept_keeps_nobody_from_watching(lab: Lab, files: Files) -> None:
    files.state.mkdir()
    (files.state / "history.sqlite3").mkdir()
    with files.running() as process:
        assert files.ask("/healthz")[0] == 200
        process.terminate()
        _out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "no history is kept" in err
