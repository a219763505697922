# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a run that failed, whatever it failed of."""

from __future__ import annotations

from pathlib import Path

import pytest

from baileys_resilience.cleanup import telling
from baileys_resilience.cleanup.telling import Teller
from baileys_resilience.errors import Busy
from baileys_resilience.notify import Delivery, Notification, NotifySettings


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Busy("another cleanup is at work on this host", operation="clean up keys"), "another cleanup is at work"),
        (KeyError("a value that is nobody's business"), "KeyError, which it does not expect"),
    ],
)
def test_every_failure_is_told_and_goes_on(
    error: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Notification] = []

    def take(_notifiers: object, note: Notification) -> list[Delivery]:
        told.append(note)
        return [Delivery(True, "sent", "sentry")]

    monkeypatch.setattr(telling, "notify_all", take)
    teller = Teller(NotifySettings(), tmp_path, "app-1", ["962301"])
    with pytest.raises(type(error)), teller.failures():
        raise error
    (note,) = told
    assert (note.level, note.title) == ("error", "the cleanup of keys did not do its work on app-1")
    assert says in note.text
    assert "business" not in note.text
    with teller.failures():
        pass
    assert len(told) == 1
