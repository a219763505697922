# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror follows PostgreSQL: what is written, updated, deleted, and what commits late. In both modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.failover.mirror import Mirror, open_mirror
from tests.integration.mirror.conftest import MakeMirror, install_log, without
from tests.support.databases import Database
from tests.support.synthetic import MIX, Company, make_companies, make_company, stored

GivesBack = Callable[[Company], None]


@pytest.fixture(params=["versions", "log"])
def followed(request: pytest.FixtureRequest, database: Database, make_mirror: MakeMirror) -> Mirror:
    """A mirror that has made its first scans of one company, so that the next one is in the wanted mode."""
    database.fill(make_company("962301"))
    if request.param == "versions":
        mirror = make_mirror()
        mirror.scan_once()
        return mirror
    install_log(database)
    mirror = make_mirror(use_change_log=True)
    mirror.scan_once()
    database.run("CREATE TABLE unrelated ()")
    assert mirror.scan_once().mode == "log"
    return mirror


def test_an_export_from_the_mirror_is_the_whole_session(
    database: Database, mirror: Mirror, assert_gives_back: GivesBack
) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    assert mirror.scan_once().keys_read == sum(len(each.keys) for each in companies)
    for company in companies:
        assert_gives_back(company)


def test_an_update_is_followed_and_only_the_changed_row_is_read(
    database: Database, followed: Mirror, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    name = next(name for name in company.keys if name[0] == "lid-mapping")
    database.run("UPDATE whatsapp_keys SET value = '\"4917000\"' WHERE (key_type, key_id) = (%s, %s)", *name)
    assert followed.scan_once().keys_read == 1
    assert_gives_back(replace(company, keys={**company.keys, name: "4917000"}))


def test_pre_keys_that_are_used_up_one_by_one_leave_the_mirror(
    database: Database, followed: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    for key_id in [key_id for key_type, key_id in company.keys if key_type == "pre-key"][:8]:
        company = without(company, ("pre-key", key_id))
        database.run("DELETE FROM whatsapp_keys WHERE key_type = 'pre-key' AND key_id = %s", key_id)
        followed.scan_once()
        with open_mirror(directory) as reader:
            assert reader.incidents() == []
    assert_gives_back(company)


def test_a_key_that_gets_another_id_is_not_kept_under_the_old_one(
    database: Database, followed: Mirror, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    old = next(name for name in company.keys if name[0] == "session")
    database.run("UPDATE whatsapp_keys SET key_id = 'new.0' WHERE (key_type, key_id) = (%s, %s)", *old)
    followed.scan_once()
    keys = {name: value for name, value in company.keys.items() if name != old}
    assert_gives_back(replace(company, keys={**keys, ("session", "new.0"): company.keys[old]}))


def test_a_transaction_that_commits_late_is_followed_when_it_commits(
    database: Database, followed: Mirror, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    name = next(name for name in company.keys if name[0] == "lid-mapping")
    with database.open() as late, late.cursor() as cursor:
        cursor.execute("UPDATE whatsapp_keys SET value = '\"1\"' WHERE (key_type, key_id) = (%s, %s)", name)
        for n in range(3):  # later transactions commit and are scanned before it
            database.run("INSERT INTO whatsapp_keys VALUES ('962301', 'lid-mapping', %s, '\"2\"')", f"late{n}")
            assert followed.scan_once().keys_read == 1
        late.commit()
    assert followed.scan_once().keys_read == 1
    added: dict[tuple[str, str], str] = {("lid-mapping", f"late{n}"): "2" for n in range(3)}
    assert_gives_back(replace(company, keys={**company.keys, **added, name: "1"}))


def test_what_was_rolled_back_is_never_seen(database: Database, followed: Mirror, assert_gives_back: GivesBack) -> None:
    with database.open() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM whatsapp_keys")
        cursor.execute("SELECT pg_current_xact_id()")
        followed.scan_once()
        connection.rollback()
    assert followed.scan_once().keys_read == 0
    assert_gives_back(make_company("962301"))


def test_a_new_company_appears_whole_once_its_creds_are_there(
    database: Database, followed: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    new = make_company("962302", 7)
    database.fill(new)
    with database.open() as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM whatsapp_auth WHERE company_id = '962302'")
        connection.commit()
        followed.scan_once()
        with open_mirror(directory) as reader:
            assert reader.companies() == ["962301"]
        cursor.execute("INSERT INTO whatsapp_auth VALUES ('962302', %s)", (stored(new.creds, "array"),))
        connection.commit()
    followed.scan_once()
    assert_gives_back(new)


def test_tables_that_were_rewritten_are_read_again_quietly(
    database: Database, mirror: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    mirror.scan_once()
    with database.open() as connection:
        connection.autocommit = True
        connection.cursor().execute(
            "DELETE FROM whatsapp_keys WHERE key_type = 'device-list' AND key_id LIKE '%%1'", ()
        )
        connection.cursor().execute("VACUUM FULL whatsapp_keys")
    mirror.scan_once()
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    database.fill(company)
    assert mirror.scan_once().keys_read == len(company.keys)
    with open_mirror(directory) as reader:
        assert reader.incidents() == []
        assert reader.company_state("962301").good
    assert_gives_back(company)


def test_a_scan_without_a_commit_in_between_asks_nothing_but_the_snapshot(database: Database, mirror: Mirror) -> None:
    database.fill(make_company("962301", 0, {**MIX, "pre-key": 20}))
    mirror.scan_once()
    assert mirror.scan_once().mode == "unchanged"
    database.run("CREATE TABLE unrelated ()")
    report = mirror.scan_once()
    assert (report.mode, report.companies_changed, report.keys_read) == ("versions", 0, 0)


def test_a_reader_keeps_its_scan_while_the_mirror_goes_on(database: Database, mirror: Mirror, directory: Path) -> None:
    database.fill(make_company("962301"))
    mirror.scan_once()
    with open_mirror(directory) as reader:
        before = reader.company_state("962301").keys
        database.run("INSERT INTO whatsapp_keys VALUES ('962301', 'lid-mapping', 'x', '\"1\"')")
        mirror.scan_once()
        assert reader.company_state("962301").keys == before
    with open_mirror(directory) as reader:
        assert reader.company_state("962301").keys == before + 1


def test_a_thorough_scan_heals_what_the_mirror_has_wrong(
    database: Database, mirror: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    mirror.scan_once()
    with mirror._locked_store() as store:
        store.connection.execute("DELETE FROM keys WHERE type = 'session'")
        store.connection.execute("UPDATE keys SET content = 'x' WHERE type = 'pre-key'")
    mirror.scan_once(thorough=True)
    assert_gives_back(company)
