# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The change log: what it costs, when it cannot be trusted, and who may do what to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from baileys_resilience.failover.mirror import Mirror, MirrorTuning, install_change_log, remove_change_log
from baileys_resilience.failover.mirror import change_log as log
from baileys_resilience.sessions.model import TableMapping
from tests.integration.mirror.conftest import MakeMirror, install_log
from tests.support.databases import Database
from tests.support.synthetic import Company, make_companies, make_company

GivesBack = Callable[[Company], None]


@pytest.fixture
def logged(database: Database, make_mirror: MakeMirror) -> Mirror:
    database.fill(make_company("962301"))
    install_log(database)
    mirror = make_mirror(use_change_log=True)
    mirror.scan_once()
    commit(database)
    assert mirror.scan_once().mode == "log"
    return mirror


def commit(database: Database) -> None:
    """Something that is no business of the mirror, so that the snapshot changes."""
    database.run("CREATE TABLE IF NOT EXISTS unrelated (n int); INSERT INTO unrelated VALUES (1)")


def entries(database: Database) -> int:
    return int(database.run("SELECT count(*) FROM baileys_resilience.change_log")[0][0])


def administer(database: Database, statement: str) -> None:
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin:
        admin.autocommit = True
        admin.cursor().execute(statement)


def test_the_cost_follows_what_changed_and_not_what_is_there(database: Database, logged: Mirror) -> None:
    database.fill(*make_companies(20, first=970000))
    logged.scan_once()
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE company_id = '970003' AND key_type = 'session'")
    report = logged.scan_once()
    assert (report.mode, report.companies_changed, report.keys_read) == ("log", 1, 6)


def test_an_entry_is_read_once(database: Database, logged: Mirror) -> None:
    with database.open() as old:  # an open transaction keeps the horizon back, and so the position
        old.cursor().execute("SELECT pg_current_xact_id()")
        database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'lid-mapping'")
        assert logged.scan_once().keys_read == 120
        commit(database)
        assert logged.scan_once().keys_read == 0


def test_the_log_is_not_used_without_its_triggers(database: Database, logged: Mirror) -> None:
    administer(database, "ALTER TABLE whatsapp_keys DISABLE TRIGGER baileys_resilience_log_update")
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'lid-mapping'")
    report = logged.scan_once()
    assert (report.mode, report.keys_read) == ("versions", 120)
    assert "init-db" in report.note
    assert logged.status().attempt.note == report.note


def test_a_mirror_that_fell_behind_the_pruned_log_compares_versions(database: Database, logged: Mirror) -> None:
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'lid-mapping'")
    administer(database, "UPDATE baileys_resilience.change_log SET at = now() - interval '2 hours'")
    commit(database)
    snapshot = database.run("SELECT pg_current_snapshot()::text")[0][0]
    assert log.prune(database.params, snapshot, 5.0) == 120
    assert entries(database) == 0
    report = logged.scan_once()
    assert (report.mode, report.keys_read) == ("versions", 120)
    commit(database)
    assert logged.scan_once().mode == "log"


def test_entries_that_another_mirror_may_still_need_are_kept(database: Database, logged: Mirror) -> None:
    database.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'lid-mapping'")
    commit(database)
    snapshot = database.run("SELECT pg_current_snapshot()::text")[0][0]
    assert log.prune(database.params, snapshot, 5.0) == 0
    assert entries(database) >= 120


def test_a_log_that_may_not_be_pruned_is_told(database: Database, logged: Mirror, make_mirror: MakeMirror) -> None:
    user = database.lab.need_postgres().user
    administer(database, f'REVOKE DELETE ON baileys_resilience.change_log FROM "{user}"')
    mirror = make_mirror(use_change_log=True)
    commit(database)
    mirror.scan_once()
    commit(database)
    assert "grows" in mirror.scan_once().note


def test_versions_are_compared_all_the_same_from_time_to_time(database: Database, make_mirror: MakeMirror) -> None:
    database.fill(make_company("962301"))
    install_log(database)
    mirror = make_mirror(use_change_log=True, tuning=MirrorTuning(versions_every_seconds=0.0))
    mirror.scan_once()
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin, admin:
        cursor = admin.cursor()
        cursor.execute("SET LOCAL session_replication_role = replica")  # past every trigger
        cursor.execute("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'lid-mapping'")
    assert mirror.scan_once().keys_read == 120


def test_an_application_without_rights_on_the_schema_goes_on_writing(database: Database, logged: Mirror) -> None:
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin:
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute("CREATE ROLE writes_only; GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_keys TO writes_only")
        try:
            cursor.execute("SET ROLE writes_only")
            cursor.execute("UPDATE whatsapp_keys SET updated_at = now() WHERE key_type = 'device-list'")
            cursor.execute("SELECT has_schema_privilege('baileys_resilience', 'USAGE')")
            assert cursor.fetchone() == (False,)
        finally:
            cursor.execute("RESET ROLE; DROP OWNED BY writes_only; DROP ROLE writes_only")
    assert logged.scan_once().keys_read == 40


def test_installing_twice_changes_nothing_and_removing_leaves_nothing(database: Database, logged: Mirror) -> None:
    tables = TableMapping()
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin, admin:
        cursor = admin.cursor()
        install_change_log(cursor, tables)
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'whatsapp_keys'::regclass")
        assert cursor.fetchone() == (4,)
        remove_change_log(cursor, tables)
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'whatsapp_keys'::regclass")
        assert cursor.fetchone() == (0,)
    database.run("DELETE FROM whatsapp_keys WHERE key_type = 'tctoken'")
    report = logged.scan_once()
    assert report.mode == "versions"
    assert "not installed" in report.note
