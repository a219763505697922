# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories back into PostgreSQL: the tables end equal to the files, or as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import to_iso, utc_now
from baileys_resilience.errors import (
    Conflict,
    CredsInvalid,
    KeyUndecodable,
    ReadOnly,
    Refused,
    ResilienceError,
    VerificationFailed,
)
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.import_guard import ImportOptions
from baileys_resilience.sessions.importing import ImportReport, import_companies
from baileys_resilience.sessions.manifest import MANIFEST_FILE
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.record import FILES, StoreOfRecord
from baileys_resilience.sessions.verify import compare, inspect_company
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.synthetic import (
    SMALL_MIX,
    Company,
    expected_content,
    expected_file_name,
    make_companies,
    make_company,
)

OVERWRITE = ImportOptions(newer_rows="overwrite")


def import_all(
    database: Database, home: SessionsHome, options: ImportOptions | None = None, companies: list[str] | None = None
) -> ImportReport:
    source = DirectorySource(home, require_manifest=False)
    return import_companies(source, database.params, TableMapping(), companies or home.companies(), options)


def write_file(home: SessionsHome, company: Company, key_type: str, key_id: str, value: Any) -> None:
    """As Baileys does: in place, without the manifest."""
    (home.directory(company.id) / expected_file_name(key_type, key_id)).write_bytes(expected_content(value))


def change_creds(home: SessionsHome, company: Company, **values: Any) -> None:
    path = home.directory(company.id) / "creds.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


def assert_equal(database: Database, home: SessionsHome, company: str) -> None:
    with open_snapshot(database.params, TableMapping()) as snapshot:
        rows = inspect_company(snapshot, company)
    files = inspect_company(DirectorySource(home, require_manifest=False), company)
    assert rows.problems == files.problems == []
    assert not compare(files.digests, rows.digests)


@pytest.fixture
def company(database: Database, home: SessionsHome) -> Company:
    """One company in the database and, exported, in the home."""
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    assert export_all(database.params, home).failed == {}
    return company


def a_key(company: Company, key_type: str, number: int = 0) -> str:
    return [key_id for each, key_id in company.keys if each == key_type][number]


# What is written, and what is not


def test_files_equal_to_the_rows_write_nothing(database: Database, home: SessionsHome, company: Company) -> None:
    before = database.everything(versions=True)
    report = import_all(database, home)
    assert (report.failed, report.changed) == ({}, False)
    assert report.imported[0].unchanged == len(company.keys)
    assert database.everything(versions=True) == before


def test_new_changed_and_consumed_keys_are_added_updated_and_deleted(
    database: Database, home: SessionsHome, company: Company
) -> None:
    before = {row[3:5]: row for row in database.everything(versions=True) if row[1] == "key"}
    used = a_key(company, "pre-key", 3)
    (home.directory(company.id) / expected_file_name("pre-key", used)).unlink()
    session = a_key(company, "session")
    write_file(home, company, "session", session, {**company.keys["session", session], "version": "v2"})
    write_file(home, company, "sender-key-memory", "new@g.us", {"a@lid": True})
    change_creds(home, company, accountSyncCounter=2)
    report = import_all(database, home)
    assert report.failed == {}
    (result,) = report.imported
    assert (result.added, result.updated, result.deleted) == ({"sender-key-memory": 1}, {"session": 1}, {"pre-key": 1})
    assert result.creds == "updated"
    assert result.unchanged == len(company.keys) - 2
    assert_equal(database, home, company.id)
    after = {row[3:5]: row for row in database.everything(versions=True) if row[1] == "key"}
    assert before.keys() - after.keys() == {("pre-key", used)}
    assert after.keys() - before.keys() == {("sender-key-memory", "new@g.us")}
    assert [name for name in before.keys() & after.keys() if before[name] != after[name]] == [("session", session)]


def test_columns_that_we_do_not_know_keep_their_values(
    database: Database, home: SessionsHome, company: Company
) -> None:
    session = a_key(company, "session")
    database.run(
        "UPDATE whatsapp_keys SET expires_at = '2031-01-01', created_at = '2020-01-01' WHERE key_id = %s", session
    )
    database.run(
        "ALTER TABLE whatsapp_auth ADD note text; UPDATE whatsapp_auth SET note = 'ours', created_at = '2020-01-01'"
    )
    write_file(home, company, "session", session, {**company.keys["session", session], "version": "v2"})
    change_creds(home, company, accountSyncCounter=2)
    assert import_all(database, home).failed == {}
    assert database.run(
        "SELECT expires_at::date::text, created_at::date::text, updated_at > now() - interval '1 minute'"
        " FROM whatsapp_keys WHERE key_type = 'session' AND key_id = %s", session,
    ) == [("2031-01-01", "2020-01-01", True)]  # fmt: skip
    query = "SELECT note, created_at::date::text, updated_at > now() - interval '1 minute' FROM whatsapp_auth"
    assert database.run(query) == [("ours", "2020-01-01", True)]


def test_an_import_into_empty_tables_adds_everything(database: Database, home: SessionsHome) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    export_all(database.params, home)
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    report = import_all(database, home)
    assert report.failed == {}
    assert [each.creds for each in report.imported] == ["added"] * 3
    for company in companies:
        assert_equal(database, home, company.id)


def test_awkward_texts_survive_the_way_there_and_back(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    strange = {
        ("a-new-type", 'ta\tb\\back"quote\nline\rü🙂'): {"x": "\t\\n\n\r\b\f\"'\u2028ü🙂\\N", "b": b"\x00\xff"},
        ("lid-mapping", r"\N"): r"\N",
        ("lid-mapping", r"\."): r"\.",
    }
    company = Company(company.id, company.creds, {**company.keys, **strange})
    database.fill(company)
    assert export_all(database.params, home).failed == {}
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    assert import_all(database, home).failed == {}
    assert_equal(database, home, company.id)
    assert len(database.run("SELECT 1 FROM whatsapp_keys")) == len(company.keys)
    write_file(home, company, "lid-mapping", r"\N", "back\\slash\ttab")
    assert import_all(database, home).failed == {}
    assert_equal(database, home, company.id)


def test_values_that_baileys_cannot_have_written_in_rows_are_repaired_by_the_files(
    database: Database, home: SessionsHome, company: Company
) -> None:
    database.run(
        "UPDATE whatsapp_keys SET value = '{}' WHERE key_type = 'session'; UPDATE whatsapp_auth SET creds = NULL"
    )
    assert import_all(database, home, OVERWRITE).failed == {}
    assert_equal(database, home, company.id)


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    database: Database, home: SessionsHome, company: Company
) -> None:
    write_file(home, company, "sender-key-memory", "new@g.us", {"a@lid": True})
    before = database.everything(versions=True)
    report = import_all(database, home, ImportOptions(dry_run=True))
    assert report.imported[0].added == {"sender-key-memory": 1}
    assert database.everything(versions=True) == before


def test_other_companies_rows_are_not_touched(database: Database, home: SessionsHome, company: Company) -> None:
    other = make_company("962399", 5, SMALL_MIX)
    database.fill(other)
    before = [row for row in database.everything(versions=True) if row[2] == other.id]
    write_file(home, company, "sender-key-memory", "new@g.us", {"a@lid": True})
    assert import_all(database, home).changed
    assert [row for row in database.everything(versions=True) if row[2] == other.id] == before


# Without a manifest


def test_files_without_a_manifest_are_taken_by_their_names(
    database: Database, home: SessionsHome, company: Company
) -> None:
    (home.directory(company.id) / MANIFEST_FILE).unlink()
    before = database.everything(versions=True)
    assert import_all(database, home).failed == {}
    assert database.everything(versions=True) == before


def test_a_missing_manifest_is_refused_where_one_is_required(
    database: Database, home: SessionsHome, company: Company
) -> None:
    (home.directory(company.id) / MANIFEST_FILE).unlink()
    report = import_companies(DirectorySource(home), database.params, TableMapping(), [company.id])
    assert isinstance(report.failed[company.id], VerificationFailed)
    assert "accept_without_manifest" in report.failed[company.id].hint


def test_left_over_files_of_crash_safe_writes_are_no_keys(
    database: Database, home: SessionsHome, company: Company
) -> None:
    for name in ("session-1.json.tmp", "creds.json.bak", "session-2.json.bak"):
        (home.directory(company.id) / name).write_text("{}")
    assert not import_all(database, home).changed


# What is refused


def _broken_creds(home: SessionsHome, company: Company) -> None:
    (home.directory(company.id) / "creds.json").write_text("{")


def _no_creds(home: SessionsHome, company: Company) -> None:
    (home.directory(company.id) / "creds.json").unlink()


def _tampered_creds(home: SessionsHome, company: Company) -> None:
    change_creds(home, company, registrationId=70000)


def _stale_creds(home: SessionsHome, company: Company) -> None:
    change_creds(home, company, nextPreKeyId=1, firstUnuploadedPreKeyId=1)


def _broken_key(home: SessionsHome, company: Company) -> None:
    write_file(home, company, "session", a_key(company, "session"), {"garbage": 1})


def _empty_key(home: SessionsHome, company: Company) -> None:
    (home.directory(company.id) / expected_file_name("session", a_key(company, "session"))).write_bytes(b"")


def _unknown_file(home: SessionsHome, company: Company) -> None:
    (home.directory(company.id) / "a-new-type-1.json").write_text("{}")


def _others_manifest(home: SessionsHome, company: Company) -> None:
    home.directory(company.id).rename(home.directory("962302"))
    home.directory("962302").rename(home.directory(company.id))
    path = home.manifest(company.id)
    path.write_bytes(path.read_bytes().replace(b"962301", b"962302", 1))


@pytest.mark.parametrize(
    ("damage", "kind", "cause", "hint"),
    [
        (_broken_creds, CredsInvalid, "creds cannot be read", "another source"),
        (_no_creds, CredsInvalid, "no creds.json", "nothing is imported"),
        (_tampered_creds, CredsInvalid, "registrationId", "not a whole session"),
        (_stale_creds, CredsInvalid, "older than the keys", "not a whole session"),
        (_broken_key, KeyUndecodable, "session #", "another source"),
        (_empty_key, KeyUndecodable, "session #", "another source"),
        (_unknown_file, VerificationFailed, "no known key type", "remove it"),
        (_others_manifest, VerificationFailed, "changed after it was written", "export again"),
    ],
)
def test_files_that_are_no_whole_session_change_nothing_and_leave_the_others(
    database: Database,
    home: SessionsHome,
    company: Company,
    damage: Callable[[SessionsHome, Company], None],
    kind: type[ResilienceError],
    cause: str,
    hint: str,
) -> None:
    good = make_company("962303", 3, SMALL_MIX)
    database.fill(good)
    export_all(database.params, home)
    before = [row for row in database.everything(versions=True) if row[2] == company.id]
    damage(home, company)
    write_file(home, good, "sender-key-memory", "new@g.us", {"a@lid": True})
    report = import_all(database, home, companies=[company.id, good.id])
    error = report.failed[company.id]
    assert type(error) is kind
    assert cause in error.cause
    assert hint in error.hint
    assert [row for row in database.everything(versions=True) if row[2] == company.id] == before
    assert [each.company for each in report.imported] == [good.id]
    assert_equal(database, home, good.id)


def test_a_company_without_a_directory_is_refused(database: Database, home: SessionsHome, company: Company) -> None:
    report = import_all(database, home, companies=["962399"])
    assert isinstance(report.failed["962399"], ResilienceError)
    assert database.run("SELECT count(*) FROM whatsapp_auth") == [(1,)]


def later(database: Database, company: Company, **seconds: float) -> None:
    """Somebody writes to PostgreSQL after the export."""
    database.run(
        "UPDATE whatsapp_keys SET value = jsonb_set(value, '{version}', '\"v9\"'), updated_at = now() + %s"
        " WHERE key_type = 'session' AND key_id = %s", timedelta(**seconds), a_key(company, "session"),
    )  # fmt: skip


def test_rows_newer_than_the_files_are_refused_unless_told(
    database: Database, home: SessionsHome, company: Company
) -> None:
    later(database, company, seconds=1)
    before = database.everything(versions=True)
    error = import_all(database, home).failed[company.id]
    assert type(error) is Conflict
    assert error.cause.startswith("1 rows in PostgreSQL are newer than the files (session #")
    assert "set newer_rows to overwrite" in error.hint
    assert database.everything(versions=True) == before
    assert import_all(database, home, OVERWRITE).failed == {}
    assert_equal(database, home, company.id)


def test_a_row_that_somebody_added_since_is_newer_too(database: Database, home: SessionsHome, company: Company) -> None:
    database.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) VALUES ('962301', 'tctoken', 'x', '{}')"
    )
    assert type(import_all(database, home).failed[company.id]) is Conflict


def test_rows_written_before_the_files_became_the_store_are_not_newer(
    database: Database, home: SessionsHome, company: Company
) -> None:
    """The application's last writes before the switch come after the snapshot, and the files know better."""
    later(database, company, seconds=0)
    options = ImportOptions(reference_time=to_iso(utc_now() + timedelta(seconds=5)))
    assert import_all(database, home, options).failed == {}
    assert_equal(database, home, company.id)


def test_rows_newer_than_a_reference_of_this_hosts_clock_are_refused(
    database: Database, home: SessionsHome, company: Company
) -> None:
    later(database, company, seconds=60)
    since = StoreOfRecord(FILES, 1, to_iso(utc_now()), place=str(home.directory(company.id)))
    options = ImportOptions(record={company.id: since})
    assert type(import_all(database, home, options).failed[company.id]) is Conflict


def test_a_row_that_the_files_hold_as_well_is_never_in_the_way(
    database: Database, home: SessionsHome, company: Company
) -> None:
    database.run("UPDATE whatsapp_keys SET updated_at = now() + interval '1 hour'")
    assert import_all(database, home).failed == {}


def test_newer_creds_in_postgresql_are_refused_like_newer_keys(
    database: Database, home: SessionsHome, company: Company
) -> None:
    database.run(
        "UPDATE whatsapp_auth SET updated_at = now() + interval '1 s',"
        " creds = jsonb_set(creds, '{accountSyncCounter}', '9')"
    )
    assert type(import_all(database, home).failed[company.id]) is Conflict
    assert import_all(database, home, OVERWRITE).failed == {}
    assert_equal(database, home, company.id)


# One transaction


def test_a_trigger_that_changes_rows_is_found_by_reading_back_and_nothing_stays(
    database: Database, home: SessionsHome, company: Company
) -> None:
    database.run("""
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.value := '{"meddled": true}'; RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE INSERT ON whatsapp_keys FOR EACH ROW EXECUTE FUNCTION meddle()""")
    write_file(home, company, "sender-key-memory", "new@g.us", {"a@lid": True})
    before = database.everything(versions=True)
    error = import_all(database, home).failed[company.id]
    assert type(error) is VerificationFailed
    assert "not equal to the files" in error.cause
    assert "a trigger or rule changes the rows" in error.hint
    assert database.everything(versions=True) == before


def test_an_error_of_the_server_half_way_leaves_the_database_as_it_was(database: Database, home: SessionsHome) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    export_all(database.params, home)
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    database.run("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.company_id = '962303' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER die BEFORE INSERT ON whatsapp_keys FOR EACH ROW EXECUTE FUNCTION die()""")
    with pytest.raises(ResilienceError) as caught:
        import_all(database, home)
    assert caught.value.retryable
    assert database.everything() == []


def test_a_second_writer_in_the_middle_of_a_transaction_is_a_conflict(
    database: Database, home: SessionsHome, company: Company
) -> None:
    change_creds(home, company, accountSyncCounter=2)
    with database.open() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM whatsapp_auth FOR UPDATE")
        error = import_all(database, home).failed[company.id]
    assert type(error) is Conflict
    assert "stop the second writer" in error.hint
    assert import_all(database, home).failed == {}


def test_a_read_only_server_is_said_before_anything_is_read(
    database: Database, home: SessionsHome, company: Company
) -> None:
    params = database.params
    read_only = ConnectParams(
        params.host, params.port, params.dbname, params.user, params.password,
        extra={"options": "-c default_transaction_read_only=on"},
    )  # fmt: skip
    with pytest.raises(ReadOnly):
        import_companies(DirectorySource(home), read_only, TableMapping(), [company.id])


def test_a_missing_right_is_refused_with_what_to_grant(
    database: Database, home: SessionsHome, company: Company
) -> None:
    server = database.lab.need_postgres()
    with database.lab.connect(superuser=True, direct=True, database=database.name) as admin, admin.cursor() as cursor:
        cursor.execute(f"ALTER TABLE whatsapp_keys OWNER TO postgres; GRANT SELECT ON whatsapp_keys TO {server.user}")
    admin.close()
    write_file(home, company, "sender-key-memory", "new@g.us", {"a@lid": True})
    with pytest.raises(Refused):
        import_all(database, home)


def test_no_message_holds_a_raw_key_id(database: Database, home: SessionsHome, company: Company) -> None:
    later(database, company, seconds=1)
    assert a_key(company, "session") not in str(import_all(database, home).failed[company.id])


def test_the_home_is_only_read(database: Database, home: SessionsHome, company: Company, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    write = [path for path in before if path[0].name != "lock"]
    database.run("TRUNCATE whatsapp_keys")
    assert import_all(database, home).failed == {}
    assert [
        each for each in sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) if each[0].name != "lock"
    ] == write
