# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox with its threads, the real notifiers, and receivers that fail as real services do."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import utc_now
from baileys_resilience.health.alerts.model import DATABASE, Key, Notice, Subject
from baileys_resilience.notify import Notification, NotifySettings, notifiers_for
from baileys_resilience.notify.heartbeat import Heartbeat, HeartbeatSettings
from baileys_resilience.notify.outbox import Outbox, OutboxSettings, ServiceStatus
from baileys_resilience.notify.sentry import SentryNotifier
from tests.support.lab_receivers import SENTRY, TELEGRAM, Receivers, receivers

WAIT_SECONDS = 40.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Receivers]:
    with receivers(tmp_path / "receivers") as each:
        yield each


@contextlib.contextmanager
def running(directory: Path, settings: NotifySettings) -> Iterator[Outbox]:
    quick = OutboxSettings(first_wait_seconds=0.1, longest_wait_seconds=0.5)
    outbox = Outbox(directory, notifiers_for(settings), quick)
    try:
        outbox.start()
        yield outbox
    finally:
        outbox.close(0)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < limit, "it does not come about"
        time.sleep(0.02)


def status(outbox: Outbox, service: str) -> ServiceStatus:
    return {each.service: each for each in outbox.status()}[service]


def test_a_notice_arrives_at_both_as_it_would_without_the_outbox(tmp_path: Path, services: Receivers) -> None:
    key = Key(Subject(DATABASE, "db.example.net:5432/whatsapp"), "serves")
    down = Notice("alert", key, "down", "critical", "PostgreSQL takes no connections", utc_now(), 10.0,
                  "connect: refused", "run this", "see the runbook", "monitor:1")  # fmt: skip
    slow = replace(down, title="queries are slow", fingerprint="monitor:2", services=("telegram",))
    with running(tmp_path / "outbox", services.settings()) as outbox:
        for notice in (down, slow):
            outbox.put(notice.as_notification(), notice.services)
        until(lambda: not any(each.queued for each in outbox.status()))
    (event,) = [each["payload"] for each in services.records(SENTRY)]
    assert (event["level"], event["tags"]["kind"], event["fingerprint"]) == ("error", "alert", ["monitor:1"])
    assert "Run: run this" in event["message"]
    first, second = services.texts(TELEGRAM)
    assert first.startswith(
        "✖ database db.example.net:5432/whatsapp: PostgreSQL takes no connections\nconnect: refused"
    )
    assert "queries are slow" in second


@pytest.mark.parametrize("fault", ["hang", "drop", "500", "429"])
@pytest.mark.parametrize(("ill", "well"), [(SENTRY, TELEGRAM), (TELEGRAM, SENTRY)])
def test_a_service_that_is_ill_delays_no_other_and_gets_all_of_it_later(
    tmp_path: Path, services: Receivers, ill: str, well: str, fault: str
) -> None:
    titles = ["one", "two"]
    services.fault(ill, fault, times=1000, retry_after=1)
    with running(tmp_path / "outbox", services.settings(budget=0.5)) as outbox:
        for title in titles:
            outbox.put(Notification(title, fingerprint=title))
        until(lambda: services.titles(well) == titles)
        until(lambda: status(outbox, ill).failed > 0)
        assert services.titles(ill) == []
        assert status(outbox, ill).queued == 2
        assert status(outbox, ill).last_error
        services.fault(ill)
        until(lambda: services.titles(ill) == titles)
        until(lambda: status(outbox, ill).queued == 0)
    assert services.titles(well) == titles


def test_an_answer_that_is_lost_costs_one_duplicate_and_no_message(tmp_path: Path, services: Receivers) -> None:
    services.fault(SENTRY, "drop_after")
    with running(tmp_path / "outbox", services.settings()) as outbox:
        for title in ("one", "two"):
            outbox.put(Notification(title, fingerprint=title))
        until(lambda: status(outbox, SENTRY).queued == 0)
    assert services.titles(SENTRY) == ["one", "one", "two"]


def test_a_wrong_token_is_told_by_sentry_and_a_right_one_sends_what_waited(tmp_path: Path, services: Receivers) -> None:
    with running(tmp_path / "outbox", services.settings(token="123456:wrong")) as outbox:
        outbox.put(Notification("down", fingerprint="down"))
        until(lambda: len(services.titles(SENTRY)) == 2)
        assert status(outbox, TELEGRAM).refused
    assert services.titles(SENTRY) == ["down", "telegram refuses our messages"]
    word = services.texts(SENTRY)[1]
    assert "HTTP 401: Unauthorized" in word
    assert "wrong" not in word, "the token is not shown"
    with running(tmp_path / "outbox", services.settings()) as outbox:
        until(lambda: status(outbox, TELEGRAM).queued == 0)
    assert services.titles(TELEGRAM) == ["down"]
    assert len(services.titles(SENTRY)) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"key": "f" * 32}, "HTTP 403"),
        ({"key": ""}, "sentry_dsn is not usable"),
    ],
)
def test_a_wrong_dsn_is_told_by_telegram(tmp_path: Path, services: Receivers, wrong: dict[str, str], says: str) -> None:
    with running(tmp_path / "outbox", services.settings(**wrong)) as outbox:
        outbox.put(Notification("down", fingerprint="down"))
        until(lambda: len(services.titles(TELEGRAM)) == 2)
        until(lambda: status(outbox, SENTRY).refused)
    assert services.titles(TELEGRAM) == ["down", "sentry refuses our messages"]
    assert says in services.texts(TELEGRAM)[1]
    assert "baileys_resilience_sentry_dsn" in services.texts(TELEGRAM)[1]


def test_a_chat_that_is_not_there_is_a_matter_of_settings(tmp_path: Path, services: Receivers) -> None:
    with running(tmp_path / "outbox", services.settings(chat="1")) as outbox:
        outbox.put(Notification("down", fingerprint="down"))
        until(lambda: "telegram refuses our messages" in services.titles(SENTRY))
        assert status(outbox, TELEGRAM).queued == 1
    assert len(services.refusals(TELEGRAM)) == 1


def test_put_is_not_held_up_by_services_that_hang(tmp_path: Path, services: Receivers) -> None:
    """By count, not by time: all are put while the first send of each service has not come back."""
    for service in (SENTRY, TELEGRAM):
        services.fault(service, "hang", times=1000)
    with running(tmp_path / "outbox", services.settings(budget=30.0)) as outbox:
        outbox.put(Notification("first", fingerprint="first"))
        until(lambda: all(len(services.refusals(each)) == 1 for each in (SENTRY, TELEGRAM)))
        for number in range(50):
            outbox.put(Notification(f"n{number}", fingerprint=f"n{number}"))
        assert [each.queued for each in outbox.status()] == [51, 51]
        assert [each.failed for each in outbox.status()] == [0, 0]
        assert [len(services.refusals(each)) for each in (SENTRY, TELEGRAM)] == [1, 1]


def test_closing_does_not_wait_for_a_service_that_hangs(tmp_path: Path, services: Receivers) -> None:
    services.fault(SENTRY, "hang", times=1000)
    outbox = Outbox(tmp_path / "outbox", notifiers_for(services.settings(budget=30.0)))
    outbox.start()
    outbox.put(Notification("one", fingerprint="one"))
    until(lambda: len(services.refusals(SENTRY)) == 1)
    closing = threading.Thread(target=lambda: outbox.close(0.3))
    closing.start()
    closing.join(20)  # far less than the budget of the send
    assert not closing.is_alive()
    services.fault(SENTRY)
    with running(tmp_path / "outbox", services.settings()) as again:
        until(lambda: status(again, SENTRY).queued == 0)
    assert "one" in services.titles(SENTRY)


def test_what_is_put_just_before_the_end_is_still_sent(tmp_path: Path, services: Receivers) -> None:
    outbox = Outbox(tmp_path / "outbox", notifiers_for(services.settings()))
    outbox.start()
    outbox.put(Notification("goodbye", fingerprint="goodbye"))
    outbox.close(20.0)
    assert services.titles(SENTRY) == services.titles(TELEGRAM) == ["goodbye"]


class Program:
    """outbox_program.py."""

    def __init__(self, directory: Path, settings: NotifySettings, first: int, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.notify.outbox_program"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdin
        order = {"directory": str(directory), "settings": asdict(settings), "first": first, "count": count}
        json.dump(order, self.process.stdin)
        self.process.stdin.close()

    def lines(self) -> Iterator[str]:
        assert self.process.stdout
        return (line.strip() for line in self.process.stdout)

    def kill(self) -> list[str]:
        self.process.send_signal(signal.SIGKILL)
        rest = list(self.lines())
        self.process.wait()
        return rest


def test_kills_at_any_time_lose_nothing_and_cost_a_duplicate_each_at_most(tmp_path: Path, services: Receivers) -> None:
    """Few messages: Telegram takes one a second."""
    chance = random.Random(20260131)
    settings, directory = services.settings(), tmp_path / "outbox"
    put: list[int] = []
    kills = 6
    for _ in range(kills):
        program = Program(directory, settings, first=(put[-1] + 1 if put else 0), count=8)
        wanted = chance.randrange(1, 5)
        put.extend(int(line) for line in itertools.islice(program.lines(), wanted))
        time.sleep(chance.random() * 0.05)  # where in the work the kill falls is what chance is for
        put.extend(int(line) for line in program.kill() if line.isdigit())
    program = Program(directory, settings, first=put[-1] + 1, count=1)
    try:
        lines = program.lines()
        put.append(int(next(lines)))
        until_idle = threading.Timer(240, program.process.kill)
        until_idle.start()
        assert next(lines) == "idle"
        until_idle.cancel()
    finally:
        program.kill()
    for service in (SENTRY, TELEGRAM):
        numbers = [int(title.split()[1]) for title in services.titles(service)]
        assert set(put) <= set(numbers), "lost"
        assert len(numbers) - len(set(numbers)) <= kills
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers)), "out of order"


def test_the_heartbeat_arrives_at_crons_and_fails_silently(services: Receivers) -> None:
    sentry = SentryNotifier(services.settings().sentry_dsn, environment="lab", budget_seconds=2.0)
    heartbeat = Heartbeat(sentry, HeartbeatSettings("monitor-app1"))
    heartbeat.start()
    heartbeat.beat()
    until(lambda: heartbeat.status().sent == 1)
    heartbeat.close()
    (check_in,) = [each["payload"] for each in services.records(SENTRY) if each["type"] == "check_in"]
    expected: dict[str, Any] = {"monitor_slug": "monitor-app1", "status": "ok", "environment": "lab"}
    assert {name: check_in[name] for name in expected} == expected
    assert len(check_in["check_in_id"]) == 32
    assert check_in["monitor_config"]["checkin_margin"] == 3
    services.fault(SENTRY, "401")
    silent = Heartbeat(sentry, HeartbeatSettings("monitor-app1"))
    silent.start()
    silent.beat()
    until(lambda: silent.status().last_error == "HTTP 401")
    silent.close()
