# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings and notifiers land in tracebacks and logs: they tell no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from baileys_resilience.notify import NotifySettings, notifiers_for

SECRETS = ("https://key@sentry.example/1", "123456:secret", "-1007")
SETTINGS = NotifySettings(*SECRETS)


def test_the_repr_says_of_a_secret_only_whether_it_is_set() -> None:
    text = repr(SETTINGS)
    assert not [secret for secret in SECRETS if secret in text]
    assert "telegram_token=<set>" in text
    assert "telegram_token=<not set>" in repr(NotifySettings())
    assert "environment='production'" in text


@pytest.mark.parametrize(
    ("settings", "services"),
    [
        (NotifySettings(), []),
        (NotifySettings(sentry_dsn=SECRETS[0]), ["sentry"]),
        (NotifySettings(telegram_token=SECRETS[1]), ["telegram"]),
        (SETTINGS, ["sentry", "telegram"]),
    ],
)
def test_what_is_not_set_is_not_told(settings: NotifySettings, services: list[str], tmp_path: Path) -> None:
    for notifiers in (notifiers_for(settings), notifiers_for(settings, tmp_path)):
        assert [each.service for each in notifiers] == services
        assert not [secret for secret in SECRETS if secret in repr(notifiers)]
