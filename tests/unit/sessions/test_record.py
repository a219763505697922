# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of record: exactly one store a company, an epoch that only grows, and no guess when it cannot be read."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from baileys_resilience.clock import age_seconds
from baileys_resilience.errors import StoreError, UsageError
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreOfRecord, StoreRecord


@pytest.fixture
def record(tmp_path: Path) -> StoreRecord:
    return StoreRecord(tmp_path / "state")


def test_a_company_without_an_entry_lives_in_postgresql(record: StoreRecord) -> None:
    assert record.get("962301") == StoreOfRecord(POSTGRES, 0)
    assert record.all() == {}
    assert record.version() is None


def test_a_move_is_on_disk_with_who_when_and_where(record: StoreRecord) -> None:
    moved = record.move(["962301"], FILES, by="run-1", places={"962301": "/srv/sessions/company_962301"})
    entry = StoreRecord(record.path.parent).get("962301")
    assert moved == {"962301": entry}
    assert (entry.store, entry.epoch, entry.by, entry.place) == (FILES, 1, "run-1", "/srv/sessions/company_962301")
    assert age_seconds(entry.since) < 60
    assert record.path.stat().st_mode & 0o777 == 0o600


def test_a_second_move_to_the_same_store_keeps_the_epoch(record: StoreRecord) -> None:
    first = record.move(["962301"], FILES, by="run-1", places={})
    assert record.move(["962301"], FILES, by="run-2", places={}) == first


def test_each_change_grows_the_epoch_and_leaves_others_alone(record: StoreRecord) -> None:
    record.move(["962301", "962302"], FILES, by="run-1", places={})
    record.move(["962301"], POSTGRES, by="run-2", places={})
    assert {name: (entry.store, entry.epoch) for name, entry in record.all().items()} == {
        "962301": (POSTGRES, 2),
        "962302": (FILES, 1),
    }


def test_a_move_that_nobody_was_told_of_leaves_no_trace(record: StoreRecord) -> None:
    before = {"962301": record.get("962301")}
    record.move(["962301"], FILES, by="run-1", places={})
    record.restore(before, by="run-1", told=False)
    assert (record.get("962301").store, record.get("962301").epoch) == (POSTGRES, 0)


def test_a_move_that_is_taken_back_grows_the_epoch_and_keeps_the_lineage_of_the_data(record: StoreRecord) -> None:
    before = {"962301": record.get("962301")}
    record.move(["962301"], FILES, by="run-1", places={})
    record.restore(before, by="run-1")
    entry = record.get("962301")
    assert (entry.store, entry.epoch, entry.lineage) == (POSTGRES, 2, 0)


def test_files_are_of_the_lineage_of_the_copy_that_they_were_made_from(record: StoreRecord) -> None:
    for store in (FILES, POSTGRES):
        record.move(["962301", "962302"], store, by="run", places={})
    record.move(["962301", "962302"], FILES, by="run", places={}, copied_from={"962301": 1})
    assert (record.get("962301").epoch, record.get("962301").lineage) == (3, 1)
    assert record.get("962302").lineage == 2, "nobody said from which copy: from the store as it was"


def test_rows_belong_to_the_epoch_that_postgresql_was_left_in(record: StoreRecord) -> None:
    for store in (FILES, POSTGRES):
        record.move(["962301", "962302"], store, by="run", places={})
    record.move(["962301"], FILES, by="run", places={})
    assert record.epochs_of_rows() == {"962301": 2, "962302": 2}


def test_every_change_of_the_record_is_visible_from_outside(record: StoreRecord) -> None:
    seen = {record.version()}
    for store in (FILES, POSTGRES, FILES):
        record.move(["962301"], store, by="run", places={})
        seen.add(record.version())
    assert len(seen) == 4


def test_two_writers_at_once_lose_nothing_of_each_other(record: StoreRecord) -> None:
    """The mirror's service writes here too, while a failover may record a move."""
    begin = threading.Barrier(2)

    def write(first: int) -> None:
        begin.wait()
        for company in range(first, first + 40):
            StoreRecord(record.path.parent).move([str(company)], FILES, by="run", places={})

    writers = [threading.Thread(target=write, args=(first,)) for first in (100, 200)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(record.all()) == 80


def test_an_entry_is_replaced_only_as_it_was_seen(record: StoreRecord) -> None:
    seen = record.get("962301")
    moved = record.move(["962301"], FILES, by="run-1", places={})["962301"]
    assert record.replace("962301", seen, StoreOfRecord(POSTGRES, 7)) is False
    assert record.get("962301") == moved
    assert record.replace("962301", moved, StoreOfRecord(FILES, 7)) is True
    assert record.get("962301").epoch == 7


def test_an_unknown_store_is_refused(record: StoreRecord) -> None:
    with pytest.raises(UsageError) as caught:
        record.move(["962301"], "redis", by="run", places={})
    assert caught.value.hint == "the stores are postgres and files"
    assert record.version() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '{"format": "other", "version": 1}', '{"companies": []}'])
def test_a_record_that_cannot_be_read_is_never_taken_for_an_empty_one(record: StoreRecord, text: str) -> None:
    record.path.parent.mkdir()
    record.path.write_text(text)
    with pytest.raises(StoreError) as caught:
        record.get("962301")
    assert "find out where the sessions live" in caught.value.hint
    with pytest.raises(StoreError):
        record.move(["962301"], FILES, by="run", places={})
    assert record.path.read_text() == text


def test_a_record_of_a_later_version_is_refused(record: StoreRecord) -> None:
    record.move(["962301"], FILES, by="run-1", places={})
    content = json.loads(record.path.read_text())
    record.path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(StoreError):
        record.all()
    record.path.write_text(json.dumps({**content, "companies": []}))
    with pytest.raises(StoreError):
        record.all()
