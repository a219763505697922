# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys before a drill against keys after it: what living sessions do is counted, what must not be is a problem."""

from __future__ import annotations

import pytest

from baileys_resilience.drill.keys import Taken, from_content, judge, to_content


def taken(**changes: object) -> Taken:
    digests = {
        "session": {f"s{n}": "a" for n in range(50)},
        "pre-key": {f"p{n}": "a" for n in range(50)},
        "lid-mapping": {f"l{n}": "a" for n in range(10)},
    }
    made = Taken(digests, "maria", [])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_sessions_that_moved_on_are_counted_and_good() -> None:
    now = taken()
    now.digests["session"]["s1"] = "b"
    del now.digests["pre-key"]["p3"]
    now.digests["pre-key"]["p99"] = "c"
    now.digests["device-list"] = {"d1": "a"}
    found = judge(taken(), now)
    assert (found.same, found.moved, found.new, found.gone, found.problems) == (108, 1, 2, 1, [])
    assert (found.keys_before, found.keys) == (110, 111)
    assert found.as_dict()["good"]


def test_keys_that_are_gone_are_a_loss() -> None:
    now = taken()
    now.digests["session"] = {}
    assert any(
        "50 of 110 keys that were there before the drill are gone" in each for each in judge(taken(), now).problems
    )


def test_keys_that_baileys_never_deletes_are_a_loss_already_when_they_are_few() -> None:
    now = taken()
    now.digests["lid-mapping"] = {f"l{n}": "a" for n in range(5)}
    assert judge(taken(), now).problems == ["keys that Baileys never deletes are gone: 5 lid-mapping"]


@pytest.mark.parametrize("key_type", ["pre-key", "app-state-sync-key"])
def test_content_that_is_written_once_must_not_change(key_type: str) -> None:
    before, now = taken(), taken()
    before.digests[key_type], now.digests[key_type] = {"x": "a"}, {"x": "b"}
    assert f"1 keys of type {key_type} hold other content" in judge(before, now).problems[0]


def test_another_user_is_a_problem() -> None:
    assert judge(taken(), taken(user="paul")).problems == ["the creds are another user's than before"]


def test_only_what_was_not_wrong_before_is_held_against_the_drill() -> None:
    old, new = "creds: no account", "session #1: is no object"
    assert judge(taken(problems=[old]), taken(problems=[old, new])).problems == [new]


def test_what_was_taken_is_read_back_as_it_was() -> None:
    assert from_content(to_content({"962301": taken()})) == {"962301": taken()}
