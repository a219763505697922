# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules call: export as one operation with its plan, audits of stores, and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from baileys_resilience.errors import CredsInvalid, SessionDataError, UsageError
from baileys_resilience.sessions.audit import AuditRequest, run_audit
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.info import bucket_of, database_info, directory_info
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.record import FILES, StoreRecord
from baileys_resilience.sessions.transfer import ExportRequest, plan_export, run_export
from tests.support.databases import Database
from tests.support.synthetic import SMALL_MIX, Company, make_companies

TABLES = TableMapping()
ONE, TWO = make_companies(2, SMALL_MIX)


@pytest.fixture
def filled(database: Database) -> Database:
    database.fill(ONE, TWO)
    return database


def request_of(database: Database, home: SessionsHome, **more: object) -> ExportRequest:
    return ExportRequest(database.params, TABLES, home, **more)  # type: ignore[arg-type]


def tree(path: Path) -> set[str]:
    return {str(each) for each in path.rglob("*")} if path.exists() else set()


def test_a_plan_says_what_the_run_then_does_and_writes_nothing(filled: Database, home: SessionsHome) -> None:
    planned = plan_export(request_of(filled, home))
    assert tree(home.path) == set()
    ran = run_export(request_of(filled, home), with_changes=True)
    assert planned.changes == ran.changes
    assert planned.report.counts() == ran.report.counts() == {ONE.id: counts(ONE), TWO.id: counts(TWO)}
    assert planned.report.changed
    assert ran.changes[ONE.id].as_dict()["added"] == {**counts(ONE), "creds": 1}


def counts(company: Company) -> dict[str, int]:
    found: dict[str, int] = {}
    for key_type, _key_id in company.keys:
        found[key_type] = found.get(key_type, 0) + 1
    return found


def test_a_plan_names_what_was_updated_and_removed_since(filled: Database, home: SessionsHome) -> None:
    run_export(request_of(filled, home))
    assert not plan_export(request_of(filled, home)).report.changed
    filled.run(
        "UPDATE whatsapp_keys SET value = '\"12345\"' WHERE company_id = %s AND key_type = 'lid-mapping'"
        " AND key_id = (SELECT min(key_id) FROM whatsapp_keys WHERE company_id = %s AND key_type = 'lid-mapping')",
        ONE.id,
        ONE.id,
    )
    filled.run(
        "DELETE FROM whatsapp_keys WHERE company_id = %s AND key_type = 'device-list' AND key_id ="
        " (SELECT min(key_id) FROM whatsapp_keys WHERE company_id = %s AND key_type = 'device-list')",
        ONE.id,
        ONE.id,
    )
    before = tree(home.path)
    changes = plan_export(request_of(filled, home)).changes
    assert tree(home.path) == before
    assert changes[ONE.id].as_dict() == {"added": {}, "updated": {"lid-mapping": 1}, "removed": {"device-list": 1}}
    assert not changes[TWO.id]
    assert run_export(request_of(filled, home), with_changes=True).changes == changes


def test_two_processes_export_what_one_does(filled: Database, home: SessionsHome, tmp_path: Path) -> None:
    other = SessionsHome(tmp_path / "other")
    one, two = run_export(request_of(filled, home)), run_export(request_of(filled, other, jobs=2))
    assert one.report.counts() == two.report.counts()
    assert sorted(each.company for each in two.report.exported) == [ONE.id, TWO.id]


def test_keys_without_creds_are_an_error_of_that_company_alone(filled: Database, home: SessionsHome) -> None:
    filled.run("DELETE FROM whatsapp_auth WHERE company_id = %s", ONE.id)
    for report in (plan_export(request_of(filled, home)).report, run_export(request_of(filled, home)).report):
        assert list(report.failed) == [ONE.id]
        assert isinstance(report.failed[ONE.id], CredsInvalid)
        assert [each.company for each in report.exported] == [TWO.id]


def test_an_empty_table_is_an_error_and_no_empty_export(database: Database, home: SessionsHome) -> None:
    with pytest.raises(SessionDataError, match="holds no company"):
        run_export(request_of(database, home))


def test_a_company_that_lives_on_files_is_not_overwritten(filled: Database, home: SessionsHome, tmp_path: Path) -> None:
    record = StoreRecord(tmp_path / "state")
    record.move([ONE.id], FILES, by="a test", places={ONE.id: str(home.directory(ONE.id))})
    report = run_export(request_of(filled, home, record=record)).report
    assert "lives on files here since" in str(report.failed[ONE.id])
    assert [each.company for each in report.exported] == [TWO.id]


def audit(database: Database, home: SessionsHome | None, subject: str, against: str) -> dict[str, str]:
    found = run_audit(AuditRequest(subject, against, database.params, TABLES, home))
    error = found.error()
    assert bool(error) == bool(found.bad)
    return {each.company: each.summary() for each in found.verdicts}


@pytest.mark.parametrize(
    ("subject", "against"),
    [
        ("directory", "manifest"),
        ("directory", "database"),
        ("database", "directory"),
        ("database", "manifest"),
        ("database", "nothing"),
    ],
)
def test_what_was_just_exported_verifies_in_every_direction(
    filled: Database, home: SessionsHome, subject: str, against: str
) -> None:
    run_export(request_of(filled, home))
    assert audit(filled, home, subject, against) == {ONE.id: "", TWO.id: ""}


def test_a_difference_is_told_with_numbers_and_hashed_ids(filled: Database, home: SessionsHome) -> None:
    run_export(request_of(filled, home))
    victim = next(home.directory(ONE.id).glob("session-*.json"))
    victim.unlink()
    told = audit(filled, home, "directory", "database")
    assert "1 missing (session #" in told[ONE.id]
    assert victim.stem.removeprefix("session-") not in told[ONE.id]
    assert told[TWO.id] == ""
    assert "1 missing" in audit(filled, home, "directory", "manifest")[ONE.id]
    assert "1 extra" in audit(filled, home, "database", "directory")[ONE.id]


def test_bad_creds_fail_an_audit_that_compares_nothing(filled: Database) -> None:
    filled.run(
        "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{registrationId}', '99999') WHERE company_id = %s", ONE.id
    )
    told = audit(filled, None, "database", "nothing")
    assert "registrationId" in told[ONE.id]
    assert told[TWO.id] == ""


@pytest.mark.parametrize(
    ("subject", "against", "problem"),
    [
        ("directory", "nothing", "nothing to verify"),
        ("database", "manifest", "against manifest needs a directory"),
        ("directory", "database", "subject directory needs a directory"),
    ],
)
def test_an_audit_without_what_it_needs_is_refused(filled: Database, subject: str, against: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        audit(filled, None, subject, against)


def test_a_store_is_not_compared_with_itself(filled: Database, home: SessionsHome) -> None:
    with pytest.raises(UsageError, match="with itself"):
        audit(filled, home, "directory", "directory")


def test_info_counts_by_type_and_age_and_reports_bad_creds(filled: Database, tmp_path: Path) -> None:
    filled.run("UPDATE whatsapp_keys SET updated_at = now()")
    filled.run(
        "UPDATE whatsapp_keys SET updated_at = now() - interval '40 days'"
        " WHERE company_id = %s AND key_type = 'pre-key'",
        ONE.id,
    )
    filled.run("UPDATE whatsapp_auth SET creds = NULL WHERE company_id = %s", TWO.id)
    with open_snapshot(filled.params, TABLES) as snapshot:
        one, two = database_info(snapshot, TABLES, None, StoreRecord(tmp_path))
    assert one.key_count == len(ONE.keys)
    assert one.bytes > 1000
    assert one.ages()[">30d"] == counts(ONE)["pre-key"]
    assert one.creds_problems == []
    assert two.creds_problems
    assert (one.store.store, one.store.epoch) == ("postgres", 0)


def test_info_of_directories_says_what_that_of_the_database_says(
    filled: Database, home: SessionsHome, tmp_path: Path
) -> None:
    run_export(request_of(filled, home))
    record = StoreRecord(tmp_path / "state")
    record.move([TWO.id], FILES, by="a test", places={})
    one, two = directory_info(DirectorySource(home, require_manifest=False), None, record)
    assert one.key_count == len(ONE.keys)
    assert two.key_count == len(TWO.keys)
    assert two.ages()["<1d"] == len(TWO.keys)
    assert two.store.store == "files"
    (home.directory(TWO.id) / "creds.json").write_text("")
    assert directory_info(DirectorySource(home), [TWO.id], record)[0].creds_problems


@pytest.mark.parametrize(
    ("days", "bucket"), [(0.5, "<1d"), (1, "1-7d"), (6.9, "1-7d"), (7, "7-14d"), (14, "14-30d"), (30.1, ">30d")]
)
def test_ages_fall_into_buckets(days: float, bucket: str) -> None:
    assert bucket_of(days * 86400) == bucket
