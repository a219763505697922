# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror does not follow the database into ruin: garbage, tampered creds, mass deletions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.failover.mirror import CompanyState, Mirror, open_mirror
from tests.integration.mirror.conftest import MakeMirror, install_log, without
from tests.support.databases import Database
from tests.support.synthetic import SMALL_MIX, Company, make_company, stored

GivesBack = Callable[[Company], None]

HALF = "DELETE FROM whatsapp_keys WHERE hashtext(key_id) % 2 = 0"


@pytest.fixture(params=["versions", "log"])
def mirrored(request: pytest.FixtureRequest, database: Database, make_mirror: MakeMirror) -> Mirror:
    database.fill(make_company("962301"), make_company("962302", 1))
    if request.param == "log":
        install_log(database)
    mirror = make_mirror(use_change_log=request.param == "log")
    mirror.scan_once()
    database.run("CREATE TABLE unrelated ()")
    assert mirror.scan_once().mode == request.param
    return mirror


def state_of(directory: Path, company: str = "962301") -> CompanyState:
    with open_mirror(directory) as reader:
        return reader.company_state(company)


def test_values_that_are_no_keys_leave_the_last_good_ones(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    database.run("UPDATE whatsapp_keys SET value = '{\"garbage\": 1}' WHERE key_type IN ('session', 'pre-key')")
    mirrored.scan_once()
    assert_gives_back(make_company("962301"))
    state = state_of(directory)
    assert state.good
    assert state.bad_keys == state.counts["session"] + state.counts["pre-key"]
    assert "cannot be decoded" in state.problems[0]


def test_a_key_that_becomes_good_again_is_followed_and_no_longer_flagged(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    name = next(name for name in company.keys if name[0] == "device-list")
    place = "company_id = '962301' AND key_type = %s AND key_id = %s"
    database.run(f"UPDATE whatsapp_keys SET value = 'null' WHERE {place}", *name)
    mirrored.scan_once()
    assert state_of(directory).bad_keys == 1
    database.run(f'UPDATE whatsapp_keys SET value = \'["0", "9"]\' WHERE {place}', *name)
    mirrored.scan_once()
    assert state_of(directory).problems == []
    assert_gives_back(replace(company, keys={**company.keys, name: ["0", "9"]}))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE whatsapp_auth SET creds = NULL",
        "UPDATE whatsapp_auth SET creds = '{}'",
        "UPDATE whatsapp_auth SET creds = creds #- '{noiseKey,private}'",
        "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{registrationId}', '99999')",
        "UPDATE whatsapp_auth SET creds = creds - 'me'",
        "ALTER TABLE whatsapp_auth DROP CONSTRAINT whatsapp_auth_pkey;"
        " INSERT INTO whatsapp_auth SELECT company_id, jsonb_set(creds, '{me,name}', '\"OLD\"') FROM whatsapp_auth",
    ],
    ids=["null", "emptied", "key removed", "tampered", "never paired", "twice"],
)
def test_creds_that_are_not_usable_leave_the_last_good_ones(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack, damage: str
) -> None:
    database.run(damage + " WHERE company_id = '962301'")
    mirrored.scan_once()
    mirrored.scan_once()
    assert_gives_back(make_company("962301"))
    state = state_of(directory)
    assert state.good
    assert "the last good ones are kept" in state.problems[0]
    assert state_of(directory, "962302").problems == []
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962301'")
    with database.open() as connection, connection.cursor() as cursor:
        creds = stored(make_company("962301").creds, "base64")
        cursor.execute("INSERT INTO whatsapp_auth VALUES ('962301', %s)", (creds,))
        connection.commit()
    mirrored.scan_once()
    assert state_of(directory).problems == []


def test_a_deleted_row_of_creds_opens_an_incident_and_the_session_stays(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962301'")
    mirrored.scan_once()
    database.run("DELETE FROM whatsapp_keys WHERE company_id = '962301'")
    mirrored.scan_once()
    assert [each.kind for each in state_of(directory).incidents] == ["creds-gone"]
    assert_gives_back(make_company("962301"))


def test_half_of_the_rows_deleted_is_an_incident_and_the_export_is_whole(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    database.run(HALF)
    mirrored.scan_once()
    for company in (make_company("962301"), make_company("962302", 1)):
        state = state_of(directory, company.id)
        assert [each.kind for each in state.incidents] == ["mass-deletion"]
        assert state.held_keys > 500
        assert_gives_back(company)
    assert mirrored.status().holding_back == ["962301", "962302"]


def test_everything_truncated_is_an_incident_and_the_export_is_whole(
    database: Database, mirrored: Mirror, assert_gives_back: GivesBack
) -> None:
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    mirrored.scan_once()
    mirrored.scan_once()
    assert_gives_back(make_company("962301"))


def test_while_an_incident_is_open_later_deletions_are_held_too_and_updates_are_followed(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.run(HALF)
    mirrored.scan_once()
    held = state_of(directory).held_keys
    left = database.run("SELECT key_type, key_id FROM whatsapp_keys WHERE key_type = 'lid-mapping' LIMIT 2")
    database.run("DELETE FROM whatsapp_keys WHERE (key_type, key_id) = (%s, %s)", *left[0])
    database.run("UPDATE whatsapp_keys SET value = '\"5\"' WHERE (key_type, key_id) = (%s, %s)", *left[1])
    mirrored.scan_once()
    assert state_of(directory).held_keys == held + 1
    assert_gives_back(replace(company, keys={**company.keys, left[1]: "5"}))


def test_an_incident_ends_when_the_rows_come_back(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    database.run(HALF)
    mirrored.scan_once()
    database.run("DELETE FROM whatsapp_keys; DELETE FROM whatsapp_auth")
    database.fill(make_company("962301"), make_company("962302", 1))
    mirrored.scan_once()
    assert state_of(directory).problems == []
    assert state_of(directory).held_keys == 0
    assert_gives_back(make_company("962301"))


def test_an_acknowledged_deletion_is_followed(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    gone = [name for name in make_company("962301").keys if name[0] == "identity-key"][:9]
    for name in gone:
        database.run("DELETE FROM whatsapp_keys WHERE company_id = '962301' AND key_type = %s AND key_id = %s", *name)
    mirrored.scan_once()
    assert [each.kind for each in state_of(directory).incidents] == ["never-deleted-gone"]
    assert mirrored.acknowledge("962301") == len(gone)
    mirrored.scan_once()
    assert state_of(directory).problems == []
    assert_gives_back(without(make_company("962301"), *gone))


def test_an_acknowledged_company_without_creds_leaves_the_mirror(
    database: Database, mirrored: Mirror, directory: Path
) -> None:
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962301'")
    database.run("DELETE FROM whatsapp_keys WHERE company_id = '962301'")
    mirrored.scan_once()
    mirrored.acknowledge("962301")
    mirrored.scan_once()
    with open_mirror(directory) as reader:
        assert reader.known_companies() == ["962302"]


def test_a_company_that_was_paired_again_takes_its_old_keys_with_it(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    paired_anew = make_company("962301", 5, SMALL_MIX)
    database.run("DELETE FROM whatsapp_auth WHERE company_id = '962301'")
    database.run("DELETE FROM whatsapp_keys WHERE company_id = '962301'")
    database.fill(paired_anew)
    mirrored.scan_once()
    assert state_of(directory).incidents == []
    assert_gives_back(paired_anew)


def test_creds_put_back_to_an_older_state_leave_the_last_good_ones(
    database: Database, mirrored: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    older = 'creds || \'{"nextPreKeyId": 2, "firstUnuploadedPreKeyId": 1}\''
    database.run(f"UPDATE whatsapp_auth SET creds = {older} WHERE company_id = '962301'")
    mirrored.scan_once()
    state = state_of(directory)
    assert state.good
    assert "creds are older than the keys" in state.problems[0]
    assert_gives_back(company)
    database.run("UPDATE whatsapp_auth SET creds = creds || '{\"nextPreKeyId\": 5000}' WHERE company_id = '962301'")
    mirrored.scan_once()
    assert state_of(directory).problems == []
    assert_gives_back(replace(company, creds={**company.creds, "nextPreKeyId": 5000, "firstUnuploadedPreKeyId": 1}))
