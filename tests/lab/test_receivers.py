# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receivers record what Sentry and Telegram would get, and say that they stand in."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentry_sdk

from baileys_resilience.notify import Notification, notifiers_for
from lab import Lab
from lab.receivers import parse_envelope
from tests.support.lab_receivers import SENTRY, TELEGRAM, Receivers, receivers


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(url, data=body, headers=named)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            assert response.headers["X-Lab-Stand-In"]
            return response.status, json.load(response)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_an_event_of_the_real_sentry_sdk_is_recorded(bare_lab: Lab) -> None:
    receivers = bare_lab.need_receivers()
    client = sentry_sdk.Client(dsn=receivers.sentry_dsn)
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        event_id = sentry_sdk.capture_message("sessions moved to files")
    client.close(timeout=10)
    record = next(line for line in lines(receivers.sentry_log) if line.get("event_id") == event_id)
    assert record["payload"]["message"] == "sessions moved to files"
    assert record["stand_in"] is True


def test_a_dsn_with_another_key_is_refused(bare_lab: Lab) -> None:
    port = bare_lab.need_receivers().sentry_dsn.rpartition(":")[2].partition("/")[0]
    envelope = gzip.compress(b'{"event_id": "1"}\n{"type": "event"}\n{}\n')
    status, _ = post(
        f"http://127.0.0.1:{port}/api/1/envelope/",
        envelope,
        Content_Encoding="gzip",
        X_Sentry_Auth="Sentry sentry_key=ffff",
    )
    assert status == 403


def test_an_envelope_of_several_items_is_taken_apart_by_length() -> None:
    data = b'{"event_id": "e"}\n{"type": "event", "length": 9}\n{"a":\n 1}\n{"type": "session"}\n{"b": 2}\n'
    items = [(item["type"], item["payload"]) for item in parse_envelope(data)]
    assert items == [("event", {"a": 1}), ("session", {"b": 2})]


@pytest.mark.parametrize("form", ["json", "urlencoded"])
def test_a_telegram_message_is_recorded(bare_lab: Lab, form: str) -> None:
    receivers = bare_lab.need_receivers()
    url = f"{receivers.telegram_api_url}/bot{receivers.telegram_token}/sendMessage"
    if form == "json":
        body = json.dumps({"chat_id": receivers.telegram_chat_id, "text": "failover done (json)"}).encode()
        status, answer = post(url, body, Content_Type="application/json")
    else:
        status, answer = post(url, f"chat_id={receivers.telegram_chat_id}&text=failover+done+%28urlencoded%29".encode())
    assert (status, answer["ok"]) == (200, True)
    assert lines(receivers.telegram_log)[-1]["text"] == f"failover done ({form})"


def test_telegram_refuses_a_wrong_token_and_an_unknown_chat(bare_lab: Lab) -> None:
    receivers = bare_lab.need_receivers()
    right = f"{receivers.telegram_api_url}/bot{receivers.telegram_token}/sendMessage"
    assert post(right.replace("123456", "1"), b"chat_id=1&text=x")[0] == 401
    assert post(right, b"chat_id=1&text=x")[0] == 400
    assert receivers.telegram_token not in Path(receivers.telegram_log).read_text()


def test_telegram_answers_429_as_often_as_it_is_told(bare_lab: Lab) -> None:
    receivers = bare_lab.need_receivers()
    url = f"{receivers.telegram_api_url}/bot{receivers.telegram_token}/sendMessage"
    order = json.dumps({"fault": {"kind": "429", "times": 1, "retry_after": 7}}).encode()
    post(f"{receivers.telegram_api_url}/control", order, Content_Type="application/json")
    body = f"chat_id={receivers.telegram_chat_id}&text=x".encode()
    status, answer = post(url, body)
    assert (status, answer["parameters"]["retry_after"]) == (429, 7)
    assert post(url, body)[0] == 200


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with receivers(tmp_path_factory.mktemp("receivers")) as each:
        yield each


@pytest.mark.parametrize("service", [SENTRY, TELEGRAM])
@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("400", "HTTP 400"),
        ("401", "HTTP 401"),
        ("403", "HTTP 403"),
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("hang", "no answer"),
        ("drop", "closed connection"),
        ("drop_after", "closed connection"),
    ],
)
def test_a_fault_is_met_once_and_only_where_it_was_ordered(
    alone: Receivers, service: str, kind: str, detail: str
) -> None:
    both = {each.service: each for each in notifiers_for(alone.settings(budget=0.8))}
    other = both[TELEGRAM if service == SENTRY else SENTRY]
    before = len(alone.texts(service))
    alone.fault(service, kind, retry_after=30)
    assert other.send(Notification("x")).ok
    failed = both[service].send(Notification("met"))
    assert not failed.ok
    assert detail in failed.detail.lower().replace("http ", "HTTP ").replace("remotedisconnected", "closed connection")
    assert len(alone.texts(service)) - before == (1 if kind == "drop_after" else 0)
    assert both[service].send(Notification("behind it")).ok
    alone.fault(service)


def test_a_fault_that_is_none_is_refused(alone: Receivers) -> None:
    with pytest.raises(urllib.error.HTTPError):
        alone.fault(SENTRY, "explode")
