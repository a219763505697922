# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same news is sent once in the window, by whichever process comes first; a doubt sends it."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import multiprocessing.queues
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest

from baileys_resilience.notify import Delivery, Notification
from baileys_resilience.notify.dedupe import Ledger, OnceOnly

NEWS = Notification("sessions run from files", fingerprint="failover of 962301")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Service:
    service = "telegram"
    budget_seconds = 1.0

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.sent = 0

    def send(self, notification: Notification) -> Delivery:
        self.sent += 1
        return Delivery(self.outcomes.pop(0) if self.outcomes else True, "answered", self.service)


def ledger(tmp_path: Path, clock: Clock | None = None) -> Ledger:
    return Ledger(tmp_path / "state" / "notified.json", 300, clock or Clock())


def test_the_same_fingerprint_is_sent_again_only_after_the_window(tmp_path: Path) -> None:
    service, clock = Service(), Clock()
    once = OnceOnly(service, ledger(tmp_path, clock))
    once.send(NEWS)
    clock.now += 299
    second = once.send(NEWS)
    assert (second.ok, second.detail, service.sent) == (True, "not sent again, the same was sent 299 s ago", 1)
    clock.now += 1
    once.send(NEWS)
    assert service.sent == 2


def test_other_news_another_service_and_news_without_a_fingerprint_are_sent(tmp_path: Path) -> None:
    service, other = Service(), Service()
    other.service = "sentry"
    for each in (service, other):
        OnceOnly(each, ledger(tmp_path)).send(NEWS)
    OnceOnly(service, ledger(tmp_path)).send(Notification("x", fingerprint="other"))
    for _ in range(2):
        OnceOnly(service, ledger(tmp_path)).send(Notification("x"))
    assert (service.sent, other.sent) == (4, 1)


def test_what_was_not_delivered_is_tried_again(tmp_path: Path) -> None:
    service = Service(False, True)
    once = OnceOnly(service, ledger(tmp_path))
    assert [once.send(NEWS).ok for _ in range(3)] == [False, True, True]
    assert service.sent == 2


def test_the_file_is_private_and_tells_no_fingerprint(tmp_path: Path) -> None:
    ledger(tmp_path).claim("telegram", NEWS.fingerprint)
    folder = tmp_path / "state"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"962301" not in path.read_bytes()


def test_the_file_forgets_what_is_older_than_the_window(tmp_path: Path) -> None:
    clock = Clock()
    for n in range(5):
        ledger(tmp_path, clock).claim(str(n))
        clock.now += 200
    assert len(json.loads((tmp_path / "state" / "notified.json").read_text())["sent"]) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"sent": 1}', b"\xff", b'{"format": "other", "version": 1}'])
def test_a_broken_file_costs_one_repetition(tmp_path: Path, content: bytes) -> None:
    ledger(tmp_path).claim("x")
    (tmp_path / "state" / "notified.json").write_bytes(content)
    assert ledger(tmp_path).claim("x") is None
    assert ledger(tmp_path).claim("x") == 0


def test_a_clock_that_was_set_back_silences_nothing(tmp_path: Path) -> None:
    clock = Clock()
    ledger(tmp_path, clock).claim("x")
    clock.now -= 86400
    assert ledger(tmp_path, clock).claim("x") is None


def test_a_ledger_that_cannot_be_written_or_is_held_sends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    service = Service()
    OnceOnly(service, Ledger(tmp_path / "file" / "notified.json", 300)).send(NEWS)
    held = ledger(tmp_path)
    held.claim("x")
    descriptor = os.open(tmp_path / "state" / "notified.json.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        OnceOnly(service, held).send(NEWS)
    finally:
        os.close(descriptor)
    assert service.sent == 2


def _claim_all(path: Path, start: multiprocessing.synchronize.Barrier, won: multiprocessing.queues.Queue[int]) -> None:
    start.wait(30)
    book = Ledger(path, 300)
    won.put(sum(book.claim("telegram", str(n)) is None for n in range(40)))


def test_two_processes_with_the_same_news_send_each_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(2), context.Queue()
    path = tmp_path / "state" / "notified.json"
    processes = [context.Process(target=_claim_all, args=(path, start, won)) for _ in range(2)]
    for each in processes:
        each.start()
    counts = [won.get(timeout=60) for _ in processes]
    for each in processes:
        each.join(30)
        assert each.exitcode == 0
    assert sum(counts) == 40
    assert len(json.loads(path.read_text())["sent"]) == 40
