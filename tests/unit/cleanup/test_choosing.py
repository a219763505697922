# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that can be chosen: none takes what must never go, and none takes more than was accepted."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baileys_resilience.cleanup.choosing import choose
from baileys_resilience.cleanup.policy import PRE_KEYS_IN_USE, SAFE, SAFE_POLICY, KeyFacts, Policy, judge
from baileys_resilience.errors import UsageError
from baileys_resilience.sessions.model import KNOWN_TYPES

DAY = 86400.0
LOSSY = sorted(set(KNOWN_TYPES) - {"sender-key-memory", "tctoken", "app-state-sync-key"})

DAYS = st.floats(1, 1000)
AGES = st.none() | st.floats(0, 2000 * DAY)
KEYS = st.builds(
    KeyFacts,
    key_type=st.sampled_from([*KNOWN_TYPES, "invented", ""]),
    key_id=st.sampled_from(["1", "500", "1200", "2000", "__index", "g@g.us::u::0", "x"]),
    written_age=AGES,
    own_age=AGES,
    sender_age=AGES,
    has_memory=st.none() | st.booleans(),
    next_pre_key=st.none() | st.integers(1, 2500),
)
RETENTION = st.dictionaries(
    st.sampled_from(sorted(set(KNOWN_TYPES) - {"app-state-sync-key"})), st.floats(28, 1000), min_size=1
)
POLICIES = st.one_of(
    st.just(SAFE_POLICY),
    DAYS.map(lambda days: choose(older_than_days=days)),
    DAYS.map(lambda days: choose("age", older_than_days=days, accept_data_loss=True)),
    RETENTION.map(lambda retention: choose(retention=retention, accept_data_loss=True)),
)


@given(KEYS, POLICIES)
def test_no_policy_takes_what_a_session_cannot_do_without(key: KeyFacts, policy: Policy) -> None:
    if not judge(key, policy).may_go:
        return
    assert key.key_type in KNOWN_TYPES
    assert key.key_type != "app-state-sync-key"
    assert (key.key_type, key.key_id) != ("tctoken", "__index")
    if key.key_type == "pre-key":
        assert key.next_pre_key is not None
        assert int(key.key_id) < key.next_pre_key - PRE_KEYS_IN_USE
    if key.key_type == "sender-key":
        assert key.has_memory is False
    if key.key_type == "tctoken":
        assert (key.own_age or 0) > 28 * DAY
    else:
        assert (key.written_age or 0) > DAY


@given(KEYS, DAYS)
def test_without_accepted_loss_only_two_types_go(key: KeyFacts, days: float) -> None:
    for policy in (choose(), choose(older_than_days=days)):
        if judge(key, policy).may_go:
            assert key.key_type in ("sender-key-memory", "tctoken")


@given(KEYS, DAYS, st.floats(0, 500))
def test_more_days_never_take_a_key_that_fewer_days_keep(key: KeyFacts, days: float, more: float) -> None:
    def may_go(older_than: float) -> bool:
        return judge(key, choose("age", older_than_days=older_than, accept_data_loss=True)).may_go

    assert may_go(days) >= may_go(days + more)


@given(KEYS, POLICIES)
def test_each_verdict_says_why(key: KeyFacts, policy: Policy) -> None:
    assert judge(key, policy).why


def test_age_takes_the_old_chats_whose_loss_was_accepted() -> None:
    policy = choose("age", accept_data_loss=True)
    for key_type in ("session", "identity-key", "lid-mapping", "device-list", "app-state-sync-version"):
        assert judge(KeyFacts(key_type, "x", written_age=31 * DAY), policy).may_go
        assert not judge(KeyFacts(key_type, "x", written_age=29 * DAY), policy).may_go
    assert judge(KeyFacts("pre-key", "5", written_age=31 * DAY, next_pre_key=818), policy).may_go
    assert not judge(KeyFacts("pre-key", "5", written_age=31 * DAY, next_pre_key=817), policy).may_go
    assert judge(KeyFacts("sender-key", "g::u::0", written_age=31 * DAY, has_memory=False), policy).may_go
    assert not judge(KeyFacts("sender-key", "g::u::0", written_age=31 * DAY, has_memory=True), policy).may_go


def test_days_of_ones_own_touch_only_what_they_name() -> None:
    policy = choose(retention={"sender-key-memory": 7})
    assert judge(KeyFacts("sender-key-memory", "g", written_age=8 * DAY), policy).may_go
    assert not judge(KeyFacts("tctoken", "x", own_age=90 * DAY), policy).may_go
    assert {name for name, rule in policy.rules.items() if rule.counts} == {"sender-key-memory"}
    assert SAFE["sender-key-memory"].retention_days == 30


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "age"}, "loses messages", "accept_data_loss: true"),
    ({"name": "thirty"}, "is not known", "safe, age"),
    ({"older_than_days": 0}, "0 days are not possible", "1 to"),
    ({"older_than_days": -30}, "-30 days are not possible", "1 to"),
    ({"older_than_days": math.nan}, "is no number of days", "such as 30"),
    ({"retention": {"sender-key-memory": 0}}, "0 days are not possible", "1 to"),
    ({"retention": {"sender-key-memory": True}}, "is no number of days", "such as 30"),
    ({"retention": {"sender-key-memory": "30"}}, "is no number of days", "such as 30"),
    ({"retention": {"sessions": 30}}, "no type of key that is known", "tctoken"),
    ({"retention": {"app-state-sync-key": 900}, "accept_data_loss": True}, "never goes", "leave it out"),
    ({"retention": {"tctoken": 7}}, "too few", "28 days or more"),
    ({"retention": {}}, "names no type", "name types"),
    ({"retention": {"tctoken": 30}, "name": "age", "accept_data_loss": True}, "says the days itself", "either"),
    ({"retention": {"tctoken": 30}, "older_than_days": 30}, "says the days itself", "either"),
    *(({"retention": {each: 900}}, "old is not expired", "accept_data_loss") for each in LOSSY),
]


@pytest.mark.parametrize(("options", "cause", "hint"), REFUSED)
def test_what_cannot_be_meant_is_refused_with_what_to_do(options: dict[str, Any], cause: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose(**options)
    assert cause in refused.value.cause
    assert hint in refused.value.hint
