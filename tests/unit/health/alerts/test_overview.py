# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page shows is what is, also where nobody may be told."""

from __future__ import annotations

import pytest

from baileys_resilience.health.alerts.causes import MIRROR, POOL
from baileys_resilience.health.alerts.model import BAD, CLIENT, GOOD, MISSING, Key, Subject, Verdict
from baileys_resilience.health.alerts.overview import KeyState, overview
from tests.support.time_lines import EPOCH, KEY, SUBJECT, TimeLine


def shown(line: TimeLine) -> KeyState:
    (found,) = overview(line.alerts.board, line.now)
    return found


@pytest.mark.parametrize(
    ("text", "state", "status", "cause", "told"),
    [
        ("ok", "OK", "ok", "", False),
        ("ok refused", "SUSPECT", "ok", "", False),
        ("refused*3", "DOWN", "critical", "down", True),
        ("refused*3 hang", "DOWN", "critical", "frozen", True),
        ("refused*3 ok", "RECOVERING", "critical", "down", True),
        ("refused*3 ok*3", "OK", "ok", "", False),
        ("ok none*12", "UNKNOWN", "unknown", "no_data", True),
        ("refused*3 none*12", "UNKNOWN", "unknown", "no_data", True),
        ("ok none*12 ok", "RECOVERING", "unknown", "no_data", True),
    ],
)
def test_a_key_is_shown_as_it_is(text: str, state: str, status: str, cause: str, told: bool) -> None:
    found = shown(TimeLine().run(text))
    assert (found.state, found.status, found.cause, found.told) == (state, status, cause, told)
    assert bool(found.title) == bool(found.command) == (status != "ok")


def test_silence_hides_nothing_from_the_page() -> None:
    found = shown(TimeLine().silence(600).run("refused*5"))
    assert (found.state, found.told, found.since, found.seconds) == ("DOWN", False, EPOCH, 20)
    assert found.evidence == "seen: refused"


def test_the_gravest_comes_first() -> None:
    line, app = TimeLine(), Subject(CLIENT, "app")
    for _look in range(14):
        line.seconds += 5
        line.look(
            [
                Verdict(Key(SUBJECT, "disk"), GOOD),
                Verdict(Key(SUBJECT, MIRROR), BAD, "mirror_old", "old"),
                Verdict(Key(app, POOL), MISSING, evidence="no answer"),
                Verdict(KEY, BAD, "down", "refused"),
            ]
        )
    found = overview(line.alerts.board, line.now)
    assert [each.status for each in found] == ["critical", "unknown", "warning", "ok"]
    assert found[1].evidence == "no answer"
