# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a drill: it passes only when everything was done and seen, and it can be shown around."""

from __future__ import annotations

from typing import Any

import pytest

from baileys_resilience.drill.record import as_markdown, headline, make_record
from baileys_resilience.failover.settings import settings_from_dict

SETTINGS = settings_from_dict({"host": "wa1", "companies": ["962301"], "sessions_dir": "/s", "state_dir": "/t"})
JUDGED = {
    "keys_before": 9, "keys": 9, "same": 8, "moved": 1, "new": 0, "gone": 0, "problems": [], "good": True,
}  # fmt: skip
DETECTED = {"last_answer_at": "2026-01-31T03:00:00Z", "down_at": "2026-01-31T03:00:03Z", "seconds": 3.0, "said": ""}
HEALED = {"by": "the drill, for maria", "since": "2026-01-31T03:00:00Z", "at": "2026-01-31T03:00:12.5Z"}


def drill(**changes: Any) -> dict[str, Any]:
    plain = {
        "drill": "20260131T030000-drill-wa1", "operator": "maria", "began_at": "2026-01-31T02:59:58Z", "by": "playbook",
        "fault": {"kind": "kill", "host": "db1", "sentence": "kill every process of the unit x"},
        "companies": ["962301"],
        "versions": {"postgresql": "18.1"}, "checks": {"files": {"962301": JUDGED}, "postgres": {"962301": JUDGED}},
    }  # fmt: skip
    return {**plain, **changes}


def report(operation: str, **changes: Any) -> dict[str, Any]:
    steps = [
        {"name": "verify", "seconds": 1.0},
        {"name": "stop", "seconds": 5.0},
        {"name": "verify_connection", "seconds": 0.5},
    ]
    plain = {
        "run": f"r-{operation}", "operation": operation, "outcome": "done", "error": "", "duration_seconds": 8.1,
        "downtime_seconds": 1.9, "finished_at": "2026-01-31T03:00:11Z", "steps": steps, "degraded": [],
        "companies": {"962301": {"connected": True, "problem": "", "source": "mirror", "age_seconds": 2.0}},
        "proof": {"baileys": "7.0.0"},
    }  # fmt: skip
    return {**plain, **changes}


def record(**given: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "drill": drill(),
        "detected": DETECTED,
        "reports": {each: report(each) for each in ("failover", "failback")},
        "told": {"healed": HEALED, "answers_again_seconds": 0.4, "failed": [], "abandoned": False},
        **given,
    }
    return make_record(*parts.values(), SETTINGS)


def test_a_drill_in_which_everything_was_done_and_seen_passes_with_its_times() -> None:
    made = record()
    assert (made["result"], made["failed"]) == ("passed", [])
    assert made["times"] == {
        "detection": 3.0, "failover": 8.1, "failover_downtime": 1.9, "failover_verification": 1.5, "outage": 11.0,
        "broken": 12.5, "answers_again": 0.4, "failback": 8.1, "failback_downtime": 1.9, "failback_verification": 1.5,
    }  # fmt: skip
    assert made["versions"] == {"postgresql": "18.1", "baileys": "7.0.0"}
    assert headline(made).startswith("drill on wa1 passed: seen dead after 3.0 s, failover 8.1 s (down 1.9 s)")
    text = as_markdown(made)
    assert "| 962301 | on files | 9 | 9 | 8 | 1 | 0 | 0 | good |" in text
    assert "- fault: kill on db1: kill every process of the unit x" in text


MISSING: list[tuple[dict[str, Any], str, str]] = [
    ({"detected": {}}, "detect", "nobody saw the database die"),
    ({"reports": {"failback": report("failback")}}, "failover", "there was none"),
    (
        {"reports": {"failover": report("failover", outcome="partial"), "failback": report("failback")}},
        "failover",
        "partial",
    ),
    ({"drill": drill(checks={"files": {}})}, "check every key on postgres", "it was not done"),
    ({"told": {"healed": {}}}, "heal", "nobody knows how the fault was healed"),
    ({"told": {"healed": {**HEALED, "by": "the watch"}}}, "heal", "the watch healed it"),
]


@pytest.mark.parametrize(("given", "where", "why"), MISSING, ids=[each[2] for each in MISSING])
def test_a_drill_that_lacks_something_fails_although_nobody_said_so(
    given: dict[str, Any], where: str, why: str
) -> None:
    made = record(**given)
    assert made["result"] == "failed"
    assert [each for each in made["failed"] if each["where"] == where and why in each["why"]], made["failed"]
    assert f"- failed: {where}: " in as_markdown(made)


def test_what_the_playbook_met_is_the_reason_and_holds_no_number_or_jid() -> None:
    told = {
        "failed": [{"where": "stop the application", "why": "491701234567@s.whatsapp.net of 962301"}],
        "healed": HEALED,
    }
    made = record(told=told, reports={})
    assert made["result"] == "failed"
    assert "49170" not in str(made)
    assert "962301" in made["failed"][0]["why"]
    assert headline(made).startswith("drill on wa1 failed: stop the application: #")


def test_a_drill_that_was_cut_off_at_its_beginning_has_a_record_too() -> None:
    made = record(drill=drill(checks={}), detected={}, reports={}, told={"abandoned": True})
    assert made["result"] == "abandoned"
    assert "not checked" in as_markdown(made)
