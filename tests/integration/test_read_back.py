# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was imported is looked at before it is committed: nothing stays of rows that something changed on their way."""

from __future__ import annotations

import json

import pytest

from baileys_resilience.errors import ResilienceError, VerificationFailed
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.model import TableMapping
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.synthetic import SMALL_MIX, expected_content, make_company

ONE = make_company(mix=SMALL_MIX)

CREDS_TRIGGER = """
    CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.creds := jsonb_set(NEW.creds, '{accountSyncCounter}', '4711'); RETURN NEW; END $$;
    CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON whatsapp_auth FOR EACH ROW EXECUTE FUNCTION meddle()"""
DEFERRED_TRIGGER = """
    CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE whatsapp_keys SET value = '"4711"' WHERE key_type = 'lid-mapping'; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER meddle AFTER INSERT OR UPDATE ON whatsapp_auth DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION meddle()"""
RULE = """
    CREATE RULE meddle AS ON UPDATE TO whatsapp_auth
    DO ALSO UPDATE whatsapp_keys SET value = '"4711"' WHERE key_type = 'lid-mapping'"""


@pytest.fixture
def moved(database: Database, home: SessionsHome) -> SessionsHome:
    """A company that lived on files: creds and one key are news."""
    database.fill(ONE)
    export_all(database.params, home)
    creds = home.directory(ONE.id) / "creds.json"
    creds.write_text(json.dumps({**json.loads(creds.read_bytes()), "accountSyncCounter": 2}))
    (home.directory(ONE.id) / "sender-key-memory-new@g.us.json").write_bytes(expected_content({"a@lid": True}))
    return home


def refusal(database: Database, home: SessionsHome) -> ResilienceError:
    before = database.everything(versions=True)
    report = import_companies(DirectorySource(home), database.params, TableMapping(), [ONE.id])
    assert report.imported == []
    assert database.everything(versions=True) == before
    error = report.failed[ONE.id]
    assert type(error) is VerificationFailed
    assert "a trigger or rule changes the rows" in error.hint
    return error


def test_a_trigger_that_changes_creds_is_found(database: Database, moved: SessionsHome) -> None:
    database.run(CREDS_TRIGGER)
    assert "1 different (creds" in refusal(database, moved).cause


def test_a_trigger_that_changes_creds_is_found_in_empty_tables_too(database: Database, moved: SessionsHome) -> None:
    database.run("TRUNCATE whatsapp_auth, whatsapp_keys")
    database.run(CREDS_TRIGGER)
    assert "1 different (creds" in refusal(database, moved).cause


@pytest.mark.parametrize("statement", [DEFERRED_TRIGGER, RULE], ids=["a trigger at the commit", "a rule"])
def test_what_the_table_of_creds_does_to_keys_is_found(database: Database, moved: SessionsHome, statement: str) -> None:
    database.run(statement)
    assert "different (lid-mapping #" in refusal(database, moved).cause


def test_a_key_with_two_rows_is_found(database: Database, moved: SessionsHome) -> None:
    database.run(
        "ALTER TABLE whatsapp_keys DROP CONSTRAINT whatsapp_keys_pkey; INSERT INTO whatsapp_keys SELECT * FROM"
        " whatsapp_keys WHERE key_type = 'tctoken' LIMIT 1"
    )
    assert "some keys have more than one row" in refusal(database, moved).cause


def test_a_trigger_that_keeps_the_time_of_a_change_is_no_obstacle(database: Database, moved: SessionsHome) -> None:
    """The commonest of all triggers: the rows are read back whole, and are equal."""
    database.run("""
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE UPDATE ON whatsapp_keys FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE TRIGGER touch BEFORE UPDATE ON whatsapp_auth FOR EACH ROW EXECUTE FUNCTION touch()""")
    assert import_companies(DirectorySource(moved), database.params, TableMapping(), [ONE.id]).failed == {}
