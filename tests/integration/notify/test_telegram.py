# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telegram over real HTTP: what is sent, and what becomes of every way in which it does not arrive."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from baileys_resilience.notify import Notification
from baileys_resilience.notify.model import CONTENT, LATER, SETTINGS
from baileys_resilience.notify.telegram import TelegramNotifier
from tests.integration.notify.receiver import Receiver, dripping_port, hung_port, receiver, refused_port

TOKEN = "123456:AA_bb-cc"
CHAT = "-1001234567890"
NEWS = Notification("sessions run from files", "all 2 companies\n<b>_x_</b>", "error", {"host": "app1"}, "f")
OK = (200, {}, b'{"ok": true, "result": {}}')


@pytest.fixture
def telegram() -> Iterator[Receiver]:
    with receiver() as each:
        each.answers[:] = [OK]
        yield each


def notifier(api_url: str, budget_seconds: float = 3.0, token: str = TOKEN, chat: str = CHAT) -> TelegramNotifier:
    return TelegramNotifier(token, chat, api_url=api_url, environment="lab", budget_seconds=budget_seconds)


def too_many(retry_after: float) -> tuple[int, dict[str, str], bytes]:
    content = {"ok": False, "error_code": 429, "description": "Too Many", "parameters": {"retry_after": retry_after}}
    return 429, {"Retry-After": str(retry_after)}, json.dumps(content).encode()


def test_a_message_is_posted_as_plain_text(telegram: Receiver) -> None:
    assert notifier(telegram.url + "/").send(NEWS).ok
    (request,) = telegram.requests
    content: dict[str, Any] = json.loads(request.body)
    assert request.path == f"/bot{TOKEN}/sendMessage"
    assert request.headers["Content-Type"] == "application/json"
    assert "parse_mode" not in content
    assert content["chat_id"] == CHAT
    assert content["text"].splitlines() == [
        "✖ sessions run from files", "all 2 companies", "<b>_x_</b>", "environment: lab, host: app1",
    ]  # fmt: skip


def test_numbers_of_customers_do_not_leave_but_the_companies_of_the_notification_do(telegram: Receiver) -> None:
    text = "company 962301962301: session 4917612345678@s.whatsapp.net"
    note = Notification("4917612345678", text, tags={"jid": "4917612345678"}, companies=("962301962301",))
    notifier(telegram.url).send(note)
    sent = json.loads(telegram.requests[0].body)["text"]
    assert "4917612345678" not in sent
    assert "962301962301" in sent


def test_retry_after_is_honoured_within_the_budget(telegram: Receiver) -> None:
    telegram.answers[:] = [too_many(0.3), OK]
    started = time.monotonic()
    assert notifier(telegram.url).send(NEWS).ok
    assert 0.3 <= time.monotonic() - started < 2
    assert len(telegram.requests) == 2


def test_a_retry_after_beyond_the_budget_is_not_waited_for(telegram: Receiver) -> None:
    telegram.answers[:] = [too_many(30)]
    started = time.monotonic()
    delivery = notifier(telegram.url).send(NEWS)
    assert time.monotonic() - started < 1
    assert delivery.detail == "HTTP 429: asks to wait 30 s, longer than the budget of 3 s"
    assert len(telegram.requests) == 1


@pytest.mark.parametrize("nonsense", ["soon", -1, None, [1]])
def test_a_retry_after_that_is_no_time_leaves_the_header(telegram: Receiver, nonsense: Any) -> None:
    body = json.dumps({"ok": False, "parameters": {"retry_after": nonsense}}).encode()
    telegram.answers[:] = [(429, {"Retry-After": "0.1"}, body), OK]
    assert notifier(telegram.url).send(NEWS).ok


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (500, b"<html>", "HTTP 500"),
        (502, b"", "HTTP 502"),
        (401, b'{"ok": false, "description": "Unauthorized"}', "HTTP 401: Unauthorized"),
        (400, b'{"ok": false, "description": "Bad Request: chat not found"}', "HTTP 400: Bad Request: chat not found"),
        (404, b'{"description": "no /bot123456:AA_bb-cc/x"}', "HTTP 404: no /bot<secret>/x"),
        (200, b'{"ok": false, "description": "odd"}', "HTTP 200: odd"),
        (200, b"[]", "HTTP 200"),
    ],
)
def test_a_refusal_is_a_failed_delivery_with_what_was_said(
    telegram: Receiver, status: int, body: bytes, detail: str
) -> None:
    telegram.answers[:] = [(status, {}, body)]
    delivery = notifier(telegram.url).send(NEWS)
    assert (delivery.ok, delivery.detail, delivery.service) == (False, detail, "telegram")


@pytest.mark.parametrize(
    ("status", "description", "failure"),
    [
        (401, "Unauthorized", SETTINGS),
        (403, "Forbidden: bot was kicked from the group chat", SETTINGS),
        (404, "Not Found", SETTINGS),
        (400, "Bad Request: chat not found", SETTINGS),
        (400, "Bad Request: group chat was upgraded to a supergroup chat", SETTINGS),
        (400, "Bad Request: not enough rights to send text messages to the chat", SETTINGS),
        (400, "Bad Request: message text is empty", CONTENT),
        (413, "Request Entity Too Large", CONTENT),
        (302, "", SETTINGS),
        (500, "Internal", LATER),
        (200, "odd", LATER),
    ],
)
def test_a_failure_says_whether_it_is_the_settings_the_message_or_the_moment(
    telegram: Receiver, status: int, description: str, failure: str
) -> None:
    telegram.answers[:] = [(status, {}, json.dumps({"ok": False, "description": description}).encode())]
    delivery = notifier(telegram.url).send(NEWS)
    assert (delivery.ok, delivery.failure, delivery.retry_after_seconds) == (False, failure, None)


def test_a_wait_that_is_too_long_is_handed_on(telegram: Receiver) -> None:
    telegram.answers[:] = [too_many(30)]
    delivery = notifier(telegram.url).send(NEWS)
    assert (delivery.failure, delivery.retry_after_seconds) == (LATER, 30.0)
    for bad in (notifier(telegram.url, token="abc"), notifier(telegram.url, chat="")):
        assert bad.send(NEWS).failure == SETTINGS


def test_other_settings_have_another_digest_which_shows_none_of_them(telegram: Receiver) -> None:
    digests = {
        each.settings_digest
        for each in (
            notifier(telegram.url), notifier(telegram.url, token="1:b"), notifier(telegram.url, chat="1"),
            notifier("http://127.0.0.1:1"),
        )
    }  # fmt: skip
    assert len(digests) == 4
    assert all(len(each) == 16 and each not in TOKEN for each in digests)


def test_a_redirect_does_not_carry_the_token_elsewhere(telegram: Receiver) -> None:
    with receiver() as other:
        telegram.answers[:] = [(302, {"Location": f"{other.url}/bot{TOKEN}/sendMessage"}, b"")]
        assert notifier(telegram.url).send(NEWS).detail == "HTTP 302"
        assert other.requests == []


def test_an_endpoint_that_hangs_costs_no_more_than_the_budget() -> None:
    for hang in (hung_port, dripping_port):
        with hang() as port:
            started = time.monotonic()
            delivery = notifier(f"http://127.0.0.1:{port}", 0.7).send(NEWS)
            assert 0.6 < time.monotonic() - started < 2
            assert not delivery.ok
            assert "no answer" in delivery.detail


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("http://127.0.0.1:REFUSED", "connection refused"),
        ("https://no-such-host.invalid", "the host's name is not known"),
        ("file:///etc", "the address is not one of http or https"),
        ("http://127.0.0.1:port", "the address is not usable"),
        ("127.0.0.1", "the address is not usable"),
    ],
)
def test_an_address_where_nobody_answers_is_told_without_the_token(url: str, detail: str) -> None:
    url = url.replace("REFUSED", str(refused_port()))
    delivery = notifier(url).send(NEWS)
    assert (delivery.ok, delivery.detail) == (False, detail)
    assert TOKEN not in repr(delivery)


def test_tls_that_fails_is_told_as_that(telegram: Receiver) -> None:
    delivery = notifier(telegram.url.replace("http:", "https:")).send(NEWS)
    assert delivery.detail.startswith("TLS failed")


@pytest.mark.parametrize("token", ["", "abc", "123456:a b", "123456:a\nb", "123456:../../x"])
def test_a_token_that_is_none_is_not_put_into_an_address(telegram: Receiver, token: str) -> None:
    delivery = notifier(telegram.url, token=token).send(NEWS)
    assert delivery.detail == "telegram_token does not look like 123456:letters"
    assert telegram.requests == []


def test_without_a_chat_nothing_is_sent(telegram: Receiver) -> None:
    assert notifier(telegram.url, chat="").send(NEWS).detail == "telegram_chat_id is not set"
    assert telegram.requests == []
