# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the mirror holds back."""

from __future__ import annotations

import pytest

from baileys_resilience.failover.mirror.policy import (
    DeletionLimits,
    creds_rejection,
    deletion_incident,
    paired_anew,
)
from baileys_resilience.sessions.codec import encode_creds
from tests.support.synthetic import SMALL_MIX, make_company, stored


def creds(seed: int = 0) -> dict[str, object]:
    _content, value = encode_creds(stored(make_company("962301", seed, SMALL_MIX).creds, "array").encode())
    return value


@pytest.mark.parametrize(
    ("gone", "total", "expected"),
    [
        ({"pre-key": 1}, 1333, None),
        ({"pre-key": 10}, 12, None),
        ({"pre-key": 11}, 12, "mass-deletion"),
        ({"pre-key": 266}, 1333, None),
        ({"pre-key": 267}, 1333, "mass-deletion"),
        ({"session": 200, "pre-key": 200}, 1333, "mass-deletion"),
        ({"identity-key": 3}, 1333, None),
        ({"identity-key": 2, "lid-mapping": 2}, 1333, "never-deleted-gone"),
        ({"app-state-sync-key": 4}, 1333, "never-deleted-gone"),
    ],
)
def test_a_loss_is_told_from_consumption(gone: dict[str, int], total: int, expected: str | None) -> None:
    assert deletion_incident(gone, total, DeletionLimits()) == expected


def test_whole_creds_are_taken_over() -> None:
    assert creds_rejection(creds(), None) == []
    assert creds_rejection(creds(), creds(1)) == []


def test_an_unpaired_identity_does_not_replace_a_paired_one() -> None:
    unpaired = {name: value for name, value in creds(1).items() if name != "me"}
    assert creds_rejection(unpaired, None) == []
    assert "never paired" in creds_rejection(unpaired, creds())[0]


def test_only_another_identity_with_a_user_is_a_new_pairing() -> None:
    assert paired_anew(creds(1), creds(0))
    assert not paired_anew(creds(0), creds(0))
    assert not paired_anew(creds(1), None)
    assert not paired_anew({name: value for name, value in creds(1).items() if name != "me"}, creds(0))
