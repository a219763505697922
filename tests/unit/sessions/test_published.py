# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host's record stands to what PostgreSQL says: who follows whom, and where nobody may."""

from __future__ import annotations

import pytest

from baileys_resilience.sessions.published import (
    ADOPT,
    AGREE,
    CONFLICT,
    OUTGROW,
    PUBLISH,
    PublishedStore,
    contradiction,
    judge,
)
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreOfRecord

EARLY, LATE = "2026-01-31T03:00:00.000000Z", "2026-02-01T03:00:00.000000Z"


def mine(store: str, epoch: int, since: str = EARLY) -> StoreOfRecord:
    return StoreOfRecord(store, epoch, since, "run", "", epoch)


def theirs(store: str, epoch: int, host: str = "app1", since: str = EARLY) -> PublishedStore:
    return PublishedStore(store, epoch, since.replace("Z", "+00"), host)


@pytest.mark.parametrize(
    ("own", "published", "verdict"),
    [
        (StoreOfRecord(), None, AGREE),
        (mine(FILES, 1), None, PUBLISH),
        (mine(FILES, 1), theirs(FILES, 1), AGREE),
        (mine(FILES, 3), theirs(POSTGRES, 2), PUBLISH),
        (mine(POSTGRES, 2), theirs(FILES, 1), PUBLISH),
        (StoreOfRecord(), theirs(POSTGRES, 4, "app2"), ADOPT),
        (mine(FILES, 1), theirs(FILES, 3), ADOPT),
        # A host that never knew of the other's epochs moved the company while PostgreSQL was dead.
        (mine(FILES, 1, LATE), theirs(POSTGRES, 4, "app2"), OUTGROW),
        # A record put back from a backup.
        (mine(FILES, 1, EARLY), theirs(POSTGRES, 2, "app1", LATE), CONFLICT),
        # A record that was lost.
        (StoreOfRecord(), theirs(FILES, 1), CONFLICT),
        (mine(POSTGRES, 2), theirs(FILES, 3), CONFLICT),
        # Another host has the files: whatever this one says.
        (StoreOfRecord(), theirs(FILES, 1, "app2"), CONFLICT),
        (mine(FILES, 9, LATE), theirs(FILES, 1, "app2"), CONFLICT),
        (mine(POSTGRES, 9, LATE), theirs(FILES, 1, "app2"), CONFLICT),
    ],
)
def test_each_pair_of_statements_has_one_verdict(
    own: StoreOfRecord, published: PublishedStore | None, verdict: str
) -> None:
    assert judge(own, published, "app1") == verdict


def test_files_on_another_host_are_named_with_the_two_ways_out() -> None:
    error = contradiction("962301", StoreOfRecord(), theirs(FILES, 3, "app2"), "app1")
    assert "company 962301 lives in files on app2 since 2026-01-31T03:00:00.000000+00 (epoch 3)" in error.cause
    assert "fail it back on app2, or take it from this host's list" in error.hint
    assert "store set --company 962301 --to postgres" in error.hint


def test_a_lost_record_is_told_as_one() -> None:
    error = contradiction("962301", StoreOfRecord(), theirs(FILES, 3), "app1")
    assert "this host's record was lost or is an old one" in error.hint
    assert "store set --company 962301 --to files" in error.hint
