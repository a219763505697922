# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A daily job as Sentry Crons sees it, and a Sentry that is ill holds no job up."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from baileys_resilience.errors import UsageError
from baileys_resilience.notify import NotifySettings
from baileys_resilience.notify.check_in import CheckIn
from lab.receivers import parse_envelope
from tests.integration.notify.receiver import Receiver, hung_port, receiver

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def sentry() -> Iterator[Receiver]:
    with receiver() as each:
        yield each


def settings(port: int, **more: Any) -> NotifySettings:
    return NotifySettings(sentry_dsn=f"http://{KEY}@127.0.0.1:{port}/42", environment="lab", **more)


def check_ins(sentry: Receiver) -> list[dict[str, Any]]:
    items = [item for each in sentry.requests for item in parse_envelope(gzip.decompress(each.body))]
    assert {each["type"] for each in items} == {"check_in"}
    return [each["payload"] for each in items]


def test_a_run_is_told_as_it_begins_and_as_it_ends(sentry: Receiver) -> None:
    check_in = CheckIn(settings(sentry.port), "cleanup-app-1", "03:05")
    assert check_in.around(lambda: [each["status"] for each in check_ins(sentry)]) == ["in_progress"]
    began, ended = check_ins(sentry)
    assert (ended["status"], ended["monitor_slug"], ended["environment"]) == ("ok", "cleanup-app-1", "lab")
    assert began["check_in_id"] == ended["check_in_id"]
    assert len(ended["check_in_id"]) == 32
    assert ("duration" in began, ended["duration"] >= 0) == (False, True)
    assert ended["monitor_config"]["schedule"] == {"type": "crontab", "value": "5 3 * * *"}
    assert (ended["monitor_config"]["timezone"], ended["monitor_config"]["failure_issue_threshold"]) == ("UTC", 1)
    assert [each.ok for each in check_in.deliveries] == [True, True]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_a_run_raises_is_an_error_at_once_and_goes_on(sentry: Receiver, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        CheckIn(settings(sentry.port), "cleanup").around(fail)
    assert [each["status"] for each in check_ins(sentry)] == ["in_progress", "error"]
    assert "monitor_config" not in check_ins(sentry)[0], "without a time, Sentry's own settings stay"


def test_a_sentry_that_hangs_refuses_or_is_not_set_is_named_and_the_run_is_done() -> None:
    with hung_port() as port:
        hung = CheckIn(settings(port, budget_seconds=0.2), "cleanup")
        assert hung.around(lambda: "done") == "done"
    assert [each.detail for each in hung.deliveries] == [
        "in_progress: no answer within 0.2 s",
        "ok: no answer within 0.2 s",
    ]
    unset = CheckIn(NotifySettings(), "cleanup")
    assert unset.around(lambda: "done") == "done"
    assert [each.detail for each in unset.deliveries] == ["ok was not told: no sentry_dsn is set"]


@pytest.mark.parametrize(
    ("slug", "at", "hint"),
    [("Cleanup", "", "a-z"), ("x" * 51, "", "1 to 50"), ("cleanup", "3:00", "03:00"), ("cleanup", "24:00", "03:00")],
)
def test_names_and_times_that_sentry_would_not_take_are_refused(slug: str, at: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        CheckIn(NotifySettings(), slug, at)
    assert hint in refused.value.hint
