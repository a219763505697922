# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the mirror's service does beside mirroring: it publishes the store of record and removes what has expired."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.failover.mirror import Mirror, mirror_status, open_mirror
from baileys_resilience.failover.mirror.chores import Chores
from baileys_resilience.failover.mirror.commands import mirror_for
from baileys_resilience.failover.mirror.store import MirrorStore
from baileys_resilience.failover.settings import FailoverSettings
from baileys_resilience.progress import Silent
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies
from baileys_resilience.sessions.published import create_schema, reconcile
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreRecord
from tests.support.databases import Database
from tests.support.sources import assert_holds
from tests.support.synthetic import make_companies

A, B = "962301", "962302"
WEEK = 7 * 24 * 3600.0


@pytest.fixture
def settings(database: Database, directory: Path, make_settings: Callable[..., FailoverSettings]) -> FailoverSettings:
    database.fill(*make_companies(2))
    return make_settings(mirror_dir=str(directory))


@pytest.fixture
def record(settings: FailoverSettings) -> StoreRecord:
    return StoreRecord(settings.state)


def make_schema(database: Database) -> None:
    with database.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)


def with_chores(settings: FailoverSettings) -> tuple[Mirror, Chores]:
    mirror = mirror_for(settings, Silent(), 0.05)
    mirror.chores = chores = Chores(settings, mirror, Silent())
    return mirror, chores


@contextmanager
def running(settings: FailoverSettings) -> Iterator[Mirror]:
    mirror, _chores = with_chores(settings)
    stop = threading.Event()
    service = threading.Thread(target=mirror.run, args=(stop,))
    service.start()
    try:
        yield mirror
    finally:
        stop.set()
        service.join()


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def published(database: Database) -> list[tuple[Any, ...]]:
    return database.run("SELECT company, store, epoch, host FROM baileys_resilience.stores ORDER BY company")


def test_the_service_publishes_what_was_recorded_before_and_while_it_runs(
    settings: FailoverSettings, database: Database, record: StoreRecord
) -> None:
    make_schema(database)
    record.move([A], FILES, by="failover with a dead database", places={})
    with running(settings):
        wait_for(lambda: published(database) == [(A, FILES, 1, "host")], "what was recorded before")
        record.move([A], POSTGRES, by="failback", places={})
        wait_for(lambda: published(database) == [(A, POSTGRES, 2, "host")], "what was recorded meanwhile")


def test_a_missing_schema_is_part_of_the_mirrors_status_until_it_is_made(
    settings: FailoverSettings, directory: Path, database: Database, record: StoreRecord
) -> None:
    record.move([A], FILES, by="r1", places={})
    with running(settings):
        wait_for(lambda: "baileys_resilience is not in" in mirror_status(directory).attempt.note, "the note")
        make_schema(database)
        record.move([B], FILES, by="r2", places={})  # a change does not wait for the minute to pass
        both = [(A, FILES, 1, "host"), (B, FILES, 1, "host")]
        wait_for(lambda: published(database) == both, "the publication")
        wait_for(lambda: mirror_status(directory).attempt.note == "", "the end of the note")


def test_an_epoch_of_another_host_leaves_the_mirror_usable(
    settings: FailoverSettings, directory: Path, database: Database, record: StoreRecord, tmp_path: Path
) -> None:
    make_schema(database)
    other = StoreRecord(tmp_path / "other")
    other.move([A], FILES, by="r1", places={})
    other.move([A], POSTGRES, by="r2", places={})
    reconcile(other, database.params, "other", [A])
    mirror, chores = with_chores(settings)
    mirror.scan_once()
    assert chores.after_scan(answered=True) is True  # scan again at once: the copy says epoch 0 still
    mirror.scan_once()
    assert record.get(A).lineage == 2
    with open_mirror(directory) as reader:
        assert (reader.company_state(A).epoch, reader.company_state(A).good) == (2, True)
    assert chores.after_scan(answered=True) is False


def test_a_database_that_does_not_answer_is_not_asked_by_the_chores(
    settings: FailoverSettings, database: Database, record: StoreRecord
) -> None:
    make_schema(database)
    record.move([A], FILES, by="r1", places={})
    _mirror, chores = with_chores(settings)
    chores.after_scan(answered=False)
    assert published(database) == []
    chores.after_scan(answered=True)
    assert published(database) == [(A, FILES, 1, "host")]


def expired_copy(settings: FailoverSettings) -> Path:
    name = f"company_{A}.{time.time_ns() - int((WEEK + 60) * 1e9)}"
    place = Path(settings.sessions_dir) / ".resilience" / "previous" / name
    place.mkdir(parents=True)
    return place


def test_what_has_expired_goes_at_most_once_an_hour_also_with_a_dead_database(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("baileys_resilience.failover.mirror.chores.time.monotonic", lambda: now[0])
    _mirror, chores = with_chores(settings)
    first = expired_copy(settings)
    chores.after_scan(answered=False)
    assert not first.exists()
    second = expired_copy(settings)
    now[0] += 3599.0
    chores.after_scan(answered=False)
    assert second.exists()
    now[0] += 1.0
    chores.after_scan(answered=False)
    assert not second.exists()


def test_what_cannot_be_removed_is_part_of_the_status_and_ends_nothing(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = expired_copy(settings)
    monkeypatch.setattr("shutil.rmtree", lambda *_arguments, **_options: None)
    _mirror, chores = with_chores(settings)
    chores.after_scan(answered=False)
    assert f"{place} has expired and cannot be removed" in chores.problem


def test_a_home_in_use_is_looked_at_again_after_the_next_scan(settings: FailoverSettings) -> None:
    place = expired_copy(settings)
    _mirror, chores = with_chores(settings)
    with settings.home().locked():
        chores.after_scan(answered=False)
    assert place.exists()
    chores.after_scan(answered=False)
    assert not place.exists()


def test_a_mirrored_company_on_files_is_forgotten_after_a_week_and_read_anew_when_it_returns(
    settings: FailoverSettings, directory: Path, record: StoreRecord, home: SessionsHome
) -> None:
    mirror, chores = with_chores(settings)
    mirror.scan_once()
    record.move([A], FILES, by="r1", places={})
    mirror.scan_once()
    assert mirror.expire_aside(WEEK) == []
    pretend_aside_since(directory, A, WEEK + 60)
    chores.after_scan(answered=False)
    with open_mirror(directory) as reader:
        assert (reader.companies(), reader.company_state(A).keys, reader.company_state(A).good) == ([B], 0, False)
    assert mirror.expire_aside(WEEK) == []
    mirror.scan_once()
    record.move([A], POSTGRES, by="r2", places={})
    mirror.scan_once()
    with open_mirror(directory) as reader:
        assert export_companies(reader, home, [A]).failed == {}
    assert_holds(home.directory(A), make_companies(2)[0])


def test_what_an_incident_holds_is_never_forgotten_by_itself(
    settings: FailoverSettings, directory: Path, database: Database, record: StoreRecord
) -> None:
    mirror, _chores = with_chores(settings)
    mirror.scan_once()
    database.run("DELETE FROM whatsapp_keys WHERE company_id = %s", A)
    database.run("DELETE FROM whatsapp_auth WHERE company_id = %s", A)
    mirror.scan_once()
    record.move([A], FILES, by="r1", places={})
    mirror.scan_once()
    pretend_aside_since(directory, A, 10 * WEEK)
    assert mirror.expire_aside(WEEK) == []
    with open_mirror(directory) as reader:
        assert reader.company_state(A).keys == 39


def pretend_aside_since(directory: Path, company: str, seconds: float) -> None:
    moment = to_iso(utc_now() - timedelta(seconds=seconds))
    with MirrorStore(directory) as store:
        store.begin()
        store.set_company(company, aside_at=moment)
        store.commit()
