# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy: what may go, what stays at any age, and that it never counts what it cannot judge."""

from __future__ import annotations

import random

import pytest

from baileys_resilience.cleanup.policy import JUDGED_GUARDS, OWN_TIMESTAMP, SAFE, KeyFacts, Rule, judge, rule_for
from baileys_resilience.sessions.model import KNOWN_TYPES

DAY = 86400.0
YEARS = 4000 * DAY
COUNTED = {"sender-key-memory", "tctoken"}


def test_every_type_that_baileys_writes_has_a_rule_with_reason_and_source() -> None:
    assert set(SAFE) == set(KNOWN_TYPES)
    assert all(rule.reason and rule.source for rule in SAFE.values())
    assert all(rule.retention_days is None or rule.retention_days >= 7 for rule in SAFE.values())


def test_only_what_baileys_makes_anew_without_a_proof_is_counted() -> None:
    assert {name for name, rule in SAFE.items() if rule.counts} == COUNTED


@pytest.mark.parametrize("key_type", sorted(set(KNOWN_TYPES) - COUNTED) + ["invented", "Tctoken", ""])
def test_these_stay_however_old_they_are(key_type: str) -> None:
    verdict = judge(KeyFacts(key_type, "1", written_age=YEARS, own_age=YEARS, sender_age=YEARS))
    assert not verdict.may_go
    assert verdict.why


def test_a_guard_that_nobody_judges_keeps_everything() -> None:
    rule = Rule("x", "r", "s", retention_days=1, guards=(JUDGED_GUARDS[0], "a new guard"))
    assert (rule.counts, rule.unjudged) == (False, ("a new guard",))
    assert "sessions" in SAFE["device-list"].reason
    assert SAFE["device-list"].unjudged


def test_a_memory_of_a_group_goes_after_30_days_and_not_before() -> None:
    assert not judge(KeyFacts("sender-key-memory", "g", written_age=30 * DAY)).may_go
    assert judge(KeyFacts("sender-key-memory", "g", written_age=30 * DAY + 1)).may_go
    assert not judge(KeyFacts("sender-key-memory", "g", own_age=YEARS)).may_go, "no time of its last change"


def test_a_tctoken_goes_by_its_own_time() -> None:
    assert SAFE["tctoken"].clock == OWN_TIMESTAMP
    assert judge(KeyFacts("tctoken", "x", own_age=28 * DAY + 1)).may_go
    assert not judge(KeyFacts("tctoken", "x", written_age=YEARS)).may_go
    assert not judge(KeyFacts("tctoken", "x", written_age=YEARS, own_age=28 * DAY)).may_go
    assert not judge(KeyFacts("tctoken", "__index", own_age=YEARS, sender_age=YEARS)).may_go
    assert not judge(KeyFacts("tctoken", "x", own_age=YEARS, sender_age=DAY)).may_go


def test_a_key_that_may_go_may_go_at_any_later_time_too() -> None:
    numbers = random.Random(6)
    names = [*KNOWN_TYPES, "invented"]
    for _each in range(2000):
        ages = [numbers.choice([None, numbers.uniform(0, 60 * DAY)]) for _age in range(3)]
        younger = KeyFacts(numbers.choice(names), numbers.choice(["1", "__index"]), *ages)
        older = KeyFacts(younger.key_type, younger.key_id, *(each and each + DAY for each in ages))
        assert judge(older).may_go >= judge(younger).may_go, younger


def test_a_type_of_tomorrow_stays() -> None:
    assert (rule_for("passkey").retention_days, rule_for("passkey").counts) == (None, False)
