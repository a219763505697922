# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentry over real HTTP: the envelope as it arrives, and what becomes of every way in which it does not."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

from baileys_resilience.notify import Notification, NotifySettings, notifiers_for, notify_all
from baileys_resilience.notify.model import CONTENT, LATER, SETTINGS
from baileys_resilience.notify.sentry import SentryNotifier
from lab.receivers import parse_envelope
from tests.integration.notify.receiver import Receiver, Request, dripping_port, hung_port, receiver, refused_port

KEY = "0123456789abcdef0123456789abcdef"
NEWS = Notification("sessions run from files", "all 2 companies", "error", {"host": "app1"}, "failover-1")


@pytest.fixture
def sentry() -> Iterator[Receiver]:
    with receiver() as each:
        yield each


def dsn(port: int) -> str:
    return f"http://{KEY}@127.0.0.1:{port}/42"


def notifier(port: int, budget_seconds: float = 3.0) -> SentryNotifier:
    return SentryNotifier(dsn(port), environment="lab", server_name="app1", budget_seconds=budget_seconds)


def event_of(request: Request) -> dict[str, Any]:
    assert request.headers["Content-Encoding"] == "gzip"
    (item,) = parse_envelope(gzip.decompress(request.body))
    assert item["type"] == "event"
    payload: dict[str, Any] = item["payload"]
    return payload


def test_the_event_arrives_with_what_was_told_and_nothing_else(sentry: Receiver) -> None:
    delivery = notifier(sentry.port).send(NEWS)
    (request,) = sentry.requests
    event = event_of(request)
    assert delivery.detail == f"sent as {event['event_id']}"
    assert request.path == "/api/42/envelope/"
    assert f"sentry_key={KEY}" in request.headers["X-Sentry-Auth"]
    told = {name: event[name] for name in ("message", "level", "tags", "fingerprint", "environment", "server_name")}
    assert told == {
        "message": "sessions run from files\n\nall 2 companies",
        "level": "error",
        "tags": {"host": "app1"},
        "fingerprint": ["failover-1"],
        "environment": "lab",
        "server_name": "app1",
    }
    others = {"event_id", "timestamp", "logger", "release", "sdk", "platform"}
    assert set(event) - set(told) == others


def test_the_sentry_of_the_program_around_us_is_neither_read_nor_changed(sentry: Receiver) -> None:
    with sentry_sdk.isolation_scope() as scope, receiver() as theirs:
        client = sentry_sdk.Client(dsn=dsn(theirs.port), default_integrations=False)
        scope.set_client(client)
        scope.set_tag("customer", "4917612345678")
        scope.set_user({"email": "somebody@example.com"})
        sentry_sdk.add_breadcrumb(message="select creds")
        assert notifier(sentry.port).send(NEWS).ok
        assert sentry_sdk.get_client() is client
        client.close(timeout=2)
        assert theirs.requests == []
    event = event_of(sentry.requests[0])
    assert event["tags"] == {"host": "app1"}
    assert not {"user", "breadcrumbs"} & set(event)


def test_numbers_of_customers_do_not_leave(sentry: Receiver) -> None:
    note = Notification("no session for 4917612345678", "4917612345678:2@s.whatsapp.net", tags={"x": "4917612345678"})
    notifier(sentry.port).send(note)
    assert "4917612345678" not in json.dumps(event_of(sentry.requests[0]))


@pytest.mark.parametrize(
    ("status", "headers", "detail"),
    [
        (500, {}, "HTTP 500"),
        (403, {}, "HTTP 403"),
        (429, {"Retry-After": "30"}, "HTTP 429: Sentry takes nothing for 30 s"),
        (429, {}, "HTTP 429: Sentry takes nothing for 60 s"),
        (302, {"Location": "http://127.0.0.1:1/"}, "HTTP 302"),
    ],
)
def test_a_refusal_is_a_failed_delivery(sentry: Receiver, status: int, headers: dict[str, str], detail: str) -> None:
    sentry.answers[:] = [(status, headers, b"")]
    delivery = notifier(sentry.port).send(NEWS)
    assert (delivery.ok, delivery.detail, delivery.service) == (False, detail, "sentry")
    assert len(sentry.requests) == 1


@pytest.mark.parametrize(
    ("status", "headers", "failure", "wait"),
    [
        (401, {}, SETTINGS, None),
        (403, {}, SETTINGS, None),
        (404, {}, SETTINGS, None),
        (400, {}, CONTENT, None),
        (413, {}, CONTENT, None),
        (429, {"Retry-After": "30"}, LATER, 30.0),
        (429, {}, LATER, 60.0),
        (503, {}, LATER, None),
    ],
)
def test_a_failure_says_whether_it_is_the_settings_the_event_or_the_moment(
    sentry: Receiver, status: int, headers: dict[str, str], failure: str, wait: float | None
) -> None:
    sentry.answers[:] = [(status, headers, b"")]
    delivery = notifier(sentry.port).send(NEWS)
    assert (delivery.failure, delivery.retry_after_seconds) == (failure, wait)
    assert SentryNotifier("nonsense").send(NEWS).failure == SETTINGS


def test_an_endpoint_that_hangs_costs_no_more_than_the_budget() -> None:
    for hang in (hung_port, dripping_port):
        with hang() as port:
            started = time.monotonic()
            delivery = notifier(port, 0.7).send(NEWS)
            assert 0.6 < time.monotonic() - started < 2
            assert not delivery.ok
            assert "no answer" in delivery.detail


def test_a_refused_connection_is_a_failed_delivery() -> None:
    assert notifier(refused_port()).send(NEWS).detail == "connection refused"


@pytest.mark.parametrize(
    "bad", ["nonsense", f"ftp://{KEY}@host/1", "http://host/1", f"http://{KEY}@host/x", "http://a@[/1"]
)
def test_a_dsn_that_is_none_is_told_without_showing_it(bad: str) -> None:
    delivery = SentryNotifier(bad).send(NEWS)
    assert delivery.detail.startswith("sentry_dsn is not usable")
    assert KEY not in delivery.detail


def test_hung_services_are_met_at_the_same_time_and_do_not_keep_the_process_from_ending(project_root: Path) -> None:
    with dripping_port() as port:
        code = f"""
from baileys_resilience.notify import *
settings = NotifySettings({dsn(port)!r}, "1:a", "1", "http://127.0.0.1:{port}", budget_seconds=0.8)
print([each.ok for each in notify_all(notifiers_for(settings), Notification("x"))])
"""
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
        assert (done.stdout.strip(), done.stderr) == ("[False, False]", "")
        # Two budgets one after the other, or a worker that flushes at the end, would take longer.
        assert time.monotonic() - started < 2.5


def test_both_services_are_told_and_the_same_news_only_once(tmp_path: Path, sentry: Receiver) -> None:
    with receiver() as telegram:
        telegram.answers[:] = [(200, {}, b'{"ok": true}')]
        settings = NotifySettings(dsn(sentry.port), "1:a", "7", telegram.url)
        for _ in range(2):
            deliveries = notify_all(notifiers_for(settings, tmp_path), NEWS)
            assert [(each.service, each.ok) for each in deliveries] == [("sentry", True), ("telegram", True)]
        assert (len(sentry.requests), len(telegram.requests)) == (1, 1)


def test_without_the_sdk_the_delivery_says_what_to_install(monkeypatch: pytest.MonkeyPatch, sentry: Receiver) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    delivery = notifier(sentry.port).send(NEWS)
    assert not delivery.ok
    assert "pip install sentry-sdk" in delivery.detail
