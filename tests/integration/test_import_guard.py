# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose rows the files may replace: what the store of record says, and rows of which no time tells how old they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from baileys_resilience.clock import now_iso
from baileys_resilience.errors import Conflict, ResilienceError
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.import_guard import ImportOptions
from baileys_resilience.sessions.importing import ImportReport, import_companies
from baileys_resilience.sessions.manifest import MANIFEST_FILE, read_manifest
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreRecord
from baileys_resilience.sessions.transfer import ExportRequest, run_export
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.synthetic import SMALL_MIX, expected_content, expected_file_name, make_company

ONE = make_company(mix=SMALL_MIX)
TIMES: dict[str, TableMapping] = {
    "with times": TableMapping(),
    "without times": TableMapping.from_option({"auth": {"updated_at": ""}, "keys": {"updated_at": ""}}),
}
UNTIMED = TIMES["without times"]


@pytest.fixture
def record(tmp_path: Path) -> StoreRecord:
    return StoreRecord(tmp_path / "state")


def importing(
    database: Database, home: SessionsHome, tables: TableMapping, options: ImportOptions | None = None
) -> ImportReport:
    source = DirectorySource(home, require_manifest=False)
    return import_companies(source, database.params, tables, [ONE.id], options)


def refusal(report: ImportReport) -> ResilienceError:
    assert report.imported == []
    error = report.failed[ONE.id]
    assert type(error) is Conflict
    return error


def a_key(key_type: str) -> str:
    return next(key_id for each, key_id in ONE.keys if each == key_type)


def live_on_files(home: SessionsHome) -> None:
    """What Baileys does in a day: a key is consumed, one changed, one made."""
    place = home.directory(ONE.id)
    min(place.glob("pre-key-*.json")).unlink()
    session = a_key("session")
    changed = expected_content({**ONE.keys["session", session], "version": "v2"})
    (place / expected_file_name("session", session)).write_bytes(changed)
    (place / expected_file_name("sender-key-memory", "new@g.us")).write_bytes(expected_content({"a@lid": True}))


def a_second_writer(database: Database, what: str) -> None:
    database.run(
        {
            "creds": "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{accountSyncCounter}', '9')",
            "a changed key": "UPDATE whatsapp_keys SET value = jsonb_set(value, '{version}', '\"v9\"')"
            f" WHERE key_type = 'session' AND key_id = '{a_key('session')}'",
            "a new key": "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
            f" VALUES ('{ONE.id}', 'tctoken', 'x', '{{}}')",
        }[what]
    )


# Rows of which no time tells when they were written


@pytest.mark.parametrize("tables", TIMES.values(), ids=TIMES)
def test_rows_as_exported_are_taken_over_with_times_and_without(
    database: Database, home: SessionsHome, tables: TableMapping
) -> None:
    database.fill(ONE)
    export_all(database.params, home, tables=tables)
    live_on_files(home)
    report = importing(database, home, tables)
    assert report.failed == {}
    (result,) = report.imported
    assert (result.added, result.updated, result.deleted) == ({"sender-key-memory": 1}, {"session": 1}, {"pre-key": 1})


@pytest.mark.parametrize("what", ["creds", "a changed key", "a new key"])
def test_without_times_what_a_second_writer_wrote_is_refused_until_told(
    database: Database, home: SessionsHome, what: str
) -> None:
    database.fill(ONE)
    export_all(database.params, home, tables=UNTIMED)
    live_on_files(home)
    a_second_writer(database, what)
    before = database.everything(versions=True)
    error = refusal(importing(database, home, UNTIMED))
    assert error.cause.startswith("1 rows in PostgreSQL are neither what was exported nor what the files hold")
    assert "session_tables names no updated_at" in error.hint
    assert "set newer_rows to overwrite" in error.hint
    assert database.everything(versions=True) == before
    assert importing(database, home, UNTIMED, ImportOptions(newer_rows="overwrite")).failed == {}


def test_a_row_whose_time_is_null_counts_as_newer(database: Database, home: SessionsHome) -> None:
    database.fill(ONE)
    export_all(database.params, home)
    a_second_writer(database, "a new key")
    database.run(
        "ALTER TABLE whatsapp_keys ALTER updated_at DROP NOT NULL;"
        "UPDATE whatsapp_keys SET updated_at = NULL WHERE key_type = 'tctoken' AND key_id = 'x'"
    )
    assert "no time tells" in refusal(importing(database, home, TableMapping())).cause


# Without a manifest


def test_without_a_manifest_no_row_is_overwritten_unless_a_time_or_an_option_says_so(
    database: Database, home: SessionsHome
) -> None:
    database.fill(ONE)
    export_all(database.params, home)
    (home.directory(ONE.id) / MANIFEST_FILE).unlink()
    live_on_files(home)
    error = refusal(importing(database, home, TableMapping()))
    assert error.cause.startswith("2 rows in PostgreSQL would be overwritten or deleted, and without a manifest")
    assert "set reference_time" in error.hint
    assert importing(database, home, TableMapping(), ImportOptions(reference_time=now_iso())).failed == {}


def test_without_a_manifest_empty_tables_are_filled(database: Database, home: SessionsHome) -> None:
    database.fill(ONE)
    export_all(database.params, home)
    (home.directory(ONE.id) / MANIFEST_FILE).unlink()
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    assert importing(database, home, TableMapping()).failed == {}


# What the store of record says


def from_record(record: StoreRecord, *, accept_old_copy: bool = False) -> ImportOptions:
    return ImportOptions(record=record.all(), accept_old_copy=accept_old_copy)


def fail_over(database: Database, home: SessionsHome, record: StoreRecord) -> int:
    """Export and record, as a failover does. Returns the epoch in the manifest."""
    run_export(ExportRequest(database.params, TableMapping(), home, record=record))
    epoch = read_manifest(home.manifest(ONE.id)).header.source.epoch
    place = str(home.directory(ONE.id))
    record.move([ONE.id], FILES, by="a test", places={ONE.id: place}, copied_from={ONE.id: epoch})
    return epoch


def fail_back(database: Database, home: SessionsHome, record: StoreRecord) -> None:
    assert importing(database, home, TableMapping(), from_record(record)).failed == {}
    record.move([ONE.id], POSTGRES, by="a test", places={})


def test_a_copy_carries_the_epoch_of_the_store_that_it_was_read_from(
    database: Database, home: SessionsHome, record: StoreRecord
) -> None:
    database.fill(ONE)
    assert fail_over(database, home, record) == 0
    live_on_files(home)
    fail_back(database, home, record)
    assert fail_over(database, home, record) == 2
    assert (record.get(ONE.id).epoch, record.get(ONE.id).lineage) == (3, 2)
    live_on_files(home)
    fail_back(database, home, record)


def test_two_processes_write_the_epoch_too(database: Database, home: SessionsHome, record: StoreRecord) -> None:
    other = make_company("962302", 1, SMALL_MIX)
    database.fill(ONE, other)
    for store in (FILES, POSTGRES):
        record.move([ONE.id], store, by="a test", places={})
    report = run_export(ExportRequest(database.params, TableMapping(), home, record=record, jobs=2)).report
    assert {each.company: each.epoch for each in report.exported} == {ONE.id: 2, other.id: 0}
    assert read_manifest(home.manifest(ONE.id)).header.source.epoch == 2


def test_a_directory_of_an_earlier_epoch_in_the_place_is_refused_until_told(
    database: Database, home: SessionsHome, record: StoreRecord
) -> None:
    database.fill(ONE)
    fail_over(database, home, record)
    old = home.directory(ONE.id).rename(home.path / "old")
    record.move([ONE.id], POSTGRES, by="a test", places={})
    fail_over(database, home, record)
    home.directory(ONE.id).rename(home.path / "new")
    old.rename(home.directory(ONE.id))
    live_on_files(home)
    before = database.everything(versions=True)
    error = refusal(importing(database, home, TableMapping(), from_record(record)))
    assert error.cause == "was exported in epoch 0, and the session has lived elsewhere since (epoch 2)"
    assert "set accept_old_copy (for a failback: failover_accept_data_loss)" in error.hint
    assert database.everything(versions=True) == before
    told = from_record(record, accept_old_copy=True)
    assert importing(database, home, TableMapping(), told).failed == {}


def test_files_of_a_company_that_lives_in_postgresql_are_refused_until_told(
    database: Database, home: SessionsHome, record: StoreRecord
) -> None:
    database.fill(ONE)
    fail_over(database, home, record)
    fail_back(database, home, record)
    assert importing(database, home, TableMapping(), from_record(record)).failed == {}, "they are equal still"
    live_on_files(home)
    error = refusal(importing(database, home, TableMapping(), from_record(record)))
    assert error.cause.startswith(f"lives in PostgreSQL since {record.get(ONE.id).since} (epoch 2)")
    assert "only if a human has decided" in error.hint
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    refusal(importing(database, home, TableMapping(), from_record(record)))
    told = from_record(record, accept_old_copy=True)
    assert importing(database, home, TableMapping(), told).failed == {}


def test_another_directory_than_the_one_that_the_session_lives_in_is_refused(
    database: Database, home: SessionsHome, record: StoreRecord, tmp_path: Path
) -> None:
    database.fill(ONE)
    other = SessionsHome(tmp_path / "of-monday")
    export_all(database.params, other)
    live_on_files(other)
    fail_over(database, home, record)
    error = refusal(importing(database, other, TableMapping(), from_record(record)))
    assert f"lives on files in {home.directory(ONE.id)} since" in error.cause
    assert "accept_old_copy" in error.hint


def test_a_taken_back_failover_leaves_earlier_copies_good(
    database: Database, home: SessionsHome, record: StoreRecord
) -> None:
    """The data never left PostgreSQL, so a mirror that has not looked since still has a copy of this session."""
    database.fill(ONE)
    export_all(database.params, home)
    before = {ONE.id: record.get(ONE.id)}
    record.move([ONE.id], FILES, by="a test", places={})
    record.restore(before, by="a test")
    place = str(home.directory(ONE.id))
    record.move([ONE.id], FILES, by="a test", places={ONE.id: place}, copied_from={ONE.id: 0})
    live_on_files(home)
    fail_back(database, home, record)


def test_a_company_without_an_entry_is_restored_into_an_empty_database(
    database: Database, home: SessionsHome, record: StoreRecord
) -> None:
    database.fill(ONE)
    for store in (FILES, POSTGRES):
        record.move([ONE.id], store, by="a test", places={})
    run_export(ExportRequest(database.params, TableMapping(), home, record=record))
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    record.path.unlink()
    report = importing(database, home, TableMapping(), from_record(record))
    assert report.failed == {}
    assert report.imported[0].creds == "added"
