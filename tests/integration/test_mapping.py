# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that exist already: other names, schemas and types of columns, and what is said when one is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from baileys_resilience.errors import CredsInvalid, SchemaMismatch, UsageError
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.import_guard import ImportOptions
from baileys_resilience.sessions.importing import import_companies
from baileys_resilience.sessions.manifest import read_manifest
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import check_tables
from lab import Lab
from tests.support.databases import Database, new_database
from tests.support.exports import export_all
from tests.support.sources import assert_holds
from tests.support.synthetic import FORMS, SMALL_MIX, Company, make_company, stored

UUID = "7d444840-9dc0-11d1-b245-5ffdce74fad2"

#: SQL for the two tables, the mapping to them, and a company id of the right type
LAYOUTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "other names, one of them awkward": (
        """CREATE TABLE "Sessions Auth" ("Tenant" text PRIMARY KEY, data jsonb, changed timestamptz DEFAULT now());
           CREATE TABLE signal_keys ("Tenant" text, kind text, "select" text, body jsonb, changed timestamptz,
           PRIMARY KEY ("Tenant", kind, "select"))""",
        {
            "auth": {"table": "Sessions Auth", "company": "Tenant", "creds": "data", "updated_at": "changed"},
            "keys": {
                "table": "signal_keys",
                "company": "Tenant",
                "type": "kind",
                "id": "select",
                "value": "body",
                "updated_at": "changed",
            },
        },
        "962301",
    ),
    "a schema": (
        """CREATE SCHEMA wa; CREATE TABLE wa.auth (company_id text PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE wa.keys (company_id text, key_type text, key_id text, value jsonb, updated_at timestamptz,
           PRIMARY KEY (company_id, key_type, key_id))""",
        {"auth": {"table": "wa.auth"}, "keys": {"table": "wa.keys"}},
        "962301",
    ),
    "integer ids": (
        """CREATE TABLE whatsapp_auth (company_id integer PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE whatsapp_keys (company_id integer, key_type varchar(40), key_id varchar(200), value jsonb,
           updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        "962301",
    ),
    "uuid ids": (
        """CREATE TABLE whatsapp_auth (company_id uuid PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE whatsapp_keys (company_id uuid, key_type text, key_id text, value jsonb,
           updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        UUID,
    ),
    "json columns": (
        """CREATE TABLE whatsapp_auth (company_id text PRIMARY KEY, creds json, updated_at timestamptz);
           CREATE TABLE whatsapp_keys (company_id text, key_type text, key_id text, value json,
           updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        "962301",
    ),
    "text columns": (
        """CREATE TABLE whatsapp_auth (company_id text PRIMARY KEY, creds text, updated_at timestamp);
           CREATE TABLE whatsapp_keys (company_id text, key_type text, key_id text, value text,
           updated_at timestamp, PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        "962301",
    ),
    "an enum of types and no times": (
        """CREATE TYPE key_kind AS ENUM ('pre-key', 'session', 'sender-key', 'sender-key-memory', 'identity-key',
           'app-state-sync-key', 'app-state-sync-version', 'lid-mapping', 'device-list', 'tctoken');
           CREATE TABLE whatsapp_auth (company_id text PRIMARY KEY, creds jsonb);
           CREATE TABLE whatsapp_keys (company_id text, key_type key_kind, key_id text, value jsonb,
           PRIMARY KEY (company_id, key_type, key_id))""",
        {"auth": {"updated_at": None}, "keys": {"updated_at": None}},
        "962301",
    ),
    "partitions": (
        """CREATE TABLE whatsapp_auth (company_id text PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE whatsapp_keys (company_id text, key_type text, key_id text, value jsonb,
           updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id)) PARTITION BY HASH (company_id);
           CREATE TABLE keys_0 PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
           CREATE TABLE keys_1 PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 1)""",
        {},
        "962301",
    ),
    "views": (
        """CREATE TABLE a (id text PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE k (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, company text, kind varchar(40), key text,
           value jsonb, changed timestamptz, UNIQUE (company, kind, key));
           CREATE VIEW whatsapp_auth AS SELECT id AS company_id, creds, updated_at FROM a;
           CREATE VIEW whatsapp_keys AS SELECT company AS company_id, kind AS key_type, key AS key_id, value,
           changed AS updated_at FROM k""",
        {},
        "962301",
    ),
    "views without times": (
        """CREATE TABLE a (id uuid PRIMARY KEY, creds jsonb);
           CREATE TABLE k (company uuid, kind text, key text, value json, PRIMARY KEY (company, kind, key));
           CREATE VIEW whatsapp_auth AS SELECT id AS company_id, creds FROM a;
           CREATE VIEW whatsapp_keys AS SELECT company AS company_id, kind AS key_type, key AS key_id, value FROM k""",
        {"auth": {"updated_at": ""}, "keys": {"updated_at": ""}},
        UUID,
    ),
    "generated columns": (
        """CREATE TABLE whatsapp_auth (n bigint GENERATED ALWAYS AS IDENTITY, company_id bigint PRIMARY KEY, creds json,
           updated_at timestamptz, size int GENERATED ALWAYS AS (octet_length(creds::text)) STORED);
           CREATE TABLE whatsapp_keys (n bigint GENERATED ALWAYS AS IDENTITY, company_id bigint, key_type text,
           key_id text, value jsonb, updated_at timestamptz, name text GENERATED ALWAYS AS (key_type || key_id) STORED,
           PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        "962301",
    ),
    "a column of a domain and one that pads": (
        """CREATE DOMAIN key_name AS text CHECK (value <> '');
           CREATE TABLE whatsapp_auth (company_id char(10) PRIMARY KEY, creds jsonb, updated_at timestamptz);
           CREATE TABLE whatsapp_keys (company_id char(10), key_type char(40), key_id key_name, value jsonb,
           updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id))""",
        {},
        "962301",
    ),
}


@pytest.fixture
def bare(lab: Lab) -> Iterator[Database]:
    with new_database(lab, schema="") as database:
        yield database


def quoted(*names: str) -> list[str]:
    return [".".join(f'"{part}"' for part in name.split(".")) for name in names]


def fill_mapped(database: Database, tables: TableMapping, company: Company) -> None:
    auth, keys = tables.auth, tables.keys
    with database.open() as connection:
        table, *columns = quoted(auth.table, auth.company, auth.creds)
        insert(connection, table, columns, [(company.id, stored(company.creds, "index"))])
        table, *columns = quoted(keys.table, keys.company, keys.type, keys.id, keys.value)
        rows = [
            (company.id, *name, stored(value, FORMS[n % 3])) for n, (name, value) in enumerate(company.keys.items())
        ]
        insert(connection, table, columns, rows)
        connection.commit()


def insert(connection: Connection, table: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
    """Not by COPY, which views do not take."""
    with connection.cursor() as cursor:
        execute_values(cursor, f"INSERT INTO {table} ({', '.join(columns)}) VALUES %s", rows)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_of_any_layout_are_exported_and_imported_back(bare: Database, home: SessionsHome, layout: str) -> None:
    statements, option, company_id = LAYOUTS[layout]
    tables = TableMapping.from_option(option)
    bare.run(statements)
    company = make_company(company_id, 0, SMALL_MIX)
    fill_mapped(bare, tables, company)
    assert export_all(bare.params, home, tables=tables).failed == {}
    assert_holds(home.directory(company_id), company)
    for table in quoted(tables.auth.table, tables.keys.table):
        bare.run(f"DELETE FROM {table}")
    report = import_companies(DirectorySource(home), bare.params, tables, [company_id])
    assert report.failed == {}
    assert report.imported[0].added == company.counts()
    change_by_hand(bare, tables)
    report = import_companies(
        DirectorySource(home), bare.params, tables, [company_id], ImportOptions(newer_rows="overwrite")
    )
    assert report.failed == {}
    (result,) = report.imported
    assert (result.added, result.updated, result.deleted) == ({"pre-key": 1}, {"device-list": 2}, {"tctoken": 1})
    again = export_all(bare.params, home, tables=tables)
    assert (again.failed, again.changed) == ({}, False)


def change_by_hand(database: Database, tables: TableMapping) -> None:
    """One key less, two different, one more than the files hold."""
    keys = tables.keys
    table, company, key_type, key_id, value = quoted(keys.table, keys.company, keys.type, keys.id, keys.value)
    database.run(f"DELETE FROM {table} WHERE {key_type} = 'pre-key' AND {key_id} = '3'")
    database.run(f"UPDATE {table} SET {value} = '[]' WHERE {key_type} = 'device-list'")
    database.run(
        f"INSERT INTO {table} ({company}, {key_type}, {key_id}, {value})"
        f" SELECT {company}, 'tctoken', 'new', '{{}}' FROM {table} LIMIT 1"
    )


def test_a_time_that_is_missing_is_null_in_the_manifest(bare: Database, home: SessionsHome) -> None:
    statements, option, company_id = LAYOUTS["an enum of types and no times"]
    bare.run(statements)
    tables = TableMapping.from_option(option)
    fill_mapped(bare, tables, make_company(company_id, 0, SMALL_MIX))
    export_all(bare.params, home, tables=tables)
    assert {entry.updated_at for entry in read_manifest(home.manifest(company_id)).entries()} == {None}


def test_a_time_without_a_zone_is_read_as_utc(bare: Database, home: SessionsHome) -> None:
    statements, _option, company_id = LAYOUTS["text columns"]
    bare.run(statements)
    fill_mapped(bare, TableMapping(), make_company(company_id, 0, SMALL_MIX))
    bare.run("UPDATE whatsapp_keys SET updated_at = '2026-01-05 06:07:08.5'")
    export_all(bare.params, home)
    times = {entry.updated_at for entry in read_manifest(home.manifest(company_id)).entries() if entry.type != "creds"}
    assert times == {"2026-01-05T06:07:08.5+00"}


def mismatch(database: Database, home: SessionsHome, option: dict[str, Any]) -> SchemaMismatch:
    with pytest.raises(SchemaMismatch) as caught:
        export_all(database.params, home, tables=TableMapping.from_option(option))
    assert not home.path.exists()
    return caught.value


@pytest.mark.parametrize(("part", "content"), [("auth", "creds"), ("keys", "keys")])
def test_a_missing_table_names_the_option_that_sets_it(
    database: Database, home: SessionsHome, part: str, content: str
) -> None:
    error = mismatch(database, home, {part: {"table": "nothing_here"}})
    assert error.cause == 'table "nothing_here" does not exist'
    assert error.hint.startswith(f"set session_tables.{part}.table to the table that holds the {content}; ")
    assert error.hint.endswith(
        "fail over first if sessions live there, then baileys-resilience init-db --session-tables"
    )


@pytest.mark.parametrize(
    ("part", "option"),
    [("auth", "company"), ("auth", "creds"), ("auth", "updated_at")]
    + [("keys", name) for name in ("company", "type", "id", "value", "updated_at")],
)
def test_a_missing_column_names_the_option_and_the_columns_there_are(
    database: Database, home: SessionsHome, part: str, option: str
) -> None:
    error = mismatch(database, home, {part: {option: "Value"}})
    assert error.cause == f'column "Value" missing in whatsapp_{part}'
    assert f"set session_tables.{part}.{option} to the column" in error.hint
    assert "company_id" in error.hint


def test_a_dropped_column_is_missing(database: Database, home: SessionsHome) -> None:
    database.run("ALTER TABLE whatsapp_keys DROP COLUMN updated_at")
    assert "session_tables.keys.updated_at" in mismatch(database, home, {}).hint


def test_a_company_id_of_another_type_than_its_column_is_the_callers_mistake(
    bare: Database, home: SessionsHome
) -> None:
    bare.run(LAYOUTS["integer ids"][0])
    with pytest.raises(UsageError) as caught:
        export_all(bare.params, home, ["not-a-number"])
    assert "type of its column" in caught.value.hint


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ({"key": {}}, "the names are auth, keys"),
        ({"keys": {"values": "x"}}, "the names are table, company, type, id, value, updated_at"),
        ({"auth": {"creds": ""}}, "give the name of a table or column"),
        ({"auth": {"table": 5}}, "give the name of a table or column"),
    ],
)
def test_a_mapping_with_a_wrong_name_is_refused(option: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        TableMapping.from_option(option)
    assert caught.value.hint == hint


def test_a_mapping_that_says_nothing_is_the_default() -> None:
    for option in (None, {}, {"auth": None}, {"keys": {"table": None}}):
        assert TableMapping.from_option(option) == TableMapping()
    assert TableMapping.from_option({"keys": {"updated_at": ""}}).keys.updated_at is None


def test_the_check_passes_on_the_tables_that_it_describes(database: Database) -> None:
    with database.open() as connection, connection.cursor() as cursor:
        check_tables(cursor, TableMapping(), "here")


# Rows as their adapter keeps them


@pytest.mark.parametrize("kind", ["jsonb", "json", "text"])
@pytest.mark.parametrize("emptied", [False, True])
def test_json_kept_as_a_json_text_is_written_back_as_one(
    bare: Database, home: SessionsHome, kind: str, emptied: bool
) -> None:
    """An adapter that stores JSON.stringify(...) reads with JSON.parse: an object would be an error to it."""
    bare.run(
        f"CREATE TABLE whatsapp_auth (company_id text PRIMARY KEY, creds {kind}, updated_at timestamptz);"
        f"CREATE TABLE whatsapp_keys (company_id text, key_type text, key_id text, value {kind},"
        " updated_at timestamptz, PRIMARY KEY (company_id, key_type, key_id))"
    )
    company, other = make_company("962301", 0, SMALL_MIX), make_company("962302", 1, SMALL_MIX)
    for each in (company, other):
        fill_mapped(bare, TableMapping(), each)
    text = f"to_json({{}}::text)::text::{kind}"
    bare.run(f"UPDATE whatsapp_auth SET creds = {text.format('creds')}")
    bare.run(f"UPDATE whatsapp_keys SET value = {text.format('value')}")
    assert export_all(bare.params, home).failed == {}
    assert_holds(home.directory(company.id), company)
    if emptied:
        bare.run("DELETE FROM whatsapp_auth WHERE company_id = '962301'")
        bare.run("DELETE FROM whatsapp_keys WHERE company_id = '962301'")
    for pattern in ("session-*", "lid-mapping-*"):
        path = sorted(home.directory(company.id).glob(f"{pattern}.json"))[0]
        path.write_text(path.read_text().replace("version", "_version").replace("4", "5"))
    creds = home.directory(company.id) / "creds.json"
    creds.write_text(json.dumps({**json.loads(creds.read_bytes()), "accountSyncCounter": 9}))
    options = ImportOptions(newer_rows="overwrite")
    report = import_companies(DirectorySource(home), bare.params, TableMapping(), [company.id], options)
    assert report.failed == {}
    assert report.changed
    first = "SELECT DISTINCT left({0}::text, 1), left({0}::text::json #>> '{{}}', 1) FROM {1}"
    assert bare.run(first.format("creds", "whatsapp_auth")) == [('"', "{")]
    assert {row[0] for row in bare.run(first.format("value", "whatsapp_keys"))} == {'"'}
    assert {row[1] for row in bare.run(first.format("value", "whatsapp_keys"))} <= {"{", "[", '"'}
    assert bare.run("SELECT (creds::text::json #>> '{}')::json ->> 'accountSyncCounter' FROM whatsapp_auth"
                    " WHERE company_id = '962301'") == [("9",)]  # fmt: skip


def test_objects_stay_objects_beside_values_that_are_texts_by_nature(bare: Database, home: SessionsHome) -> None:
    statements, _option, company_id = LAYOUTS["a schema"]
    tables = TableMapping.from_option(_option)
    bare.run(statements)
    company = make_company(company_id, 0, {**SMALL_MIX, "lid-mapping": 200})
    fill_mapped(bare, tables, company)
    export_all(bare.params, home, tables=tables)
    path = sorted(home.directory(company.id).glob("session-*.json"))[0]
    path.write_text(path.read_text().replace('"version":"v1"', '"version":"v2"'))
    assert import_companies(DirectorySource(home), bare.params, tables, [company_id]).changed
    assert bare.run("SELECT DISTINCT jsonb_typeof(value) FROM wa.keys WHERE key_type = 'session'") == [("object",)]


def test_two_rows_of_creds_are_refused_and_not_one_of_them_taken(bare: Database, home: SessionsHome) -> None:
    bare.run(
        "CREATE TABLE whatsapp_auth (company_id integer, creds jsonb, updated_at timestamptz);"
        "CREATE TABLE whatsapp_keys (company_id integer, key_type text, key_id text, value jsonb,"
        " updated_at timestamptz)"
    )
    fill_mapped(bare, TableMapping(), make_company("5", 0, SMALL_MIX))
    bare.run("INSERT INTO whatsapp_auth SELECT company_id, jsonb_set(creds, '{me,name}', '\"OLD\"') FROM whatsapp_auth")
    error = export_all(bare.params, home, companies=["5"]).failed["5"]
    assert isinstance(error, CredsInvalid)
    assert error.cause == "there are 2 rows of creds"
    assert "delete the others from whatsapp_auth, and give it a primary key on company_id" in error.hint


@pytest.mark.parametrize(("kind", "value"), [("bigint", "1700000000000"), ("text", "'1700000000000'")])
@pytest.mark.parametrize(("part", "table"), [("auth", "whatsapp_auth"), ("keys", "whatsapp_keys")])
def test_a_column_that_holds_no_times_is_named_with_its_option(
    database: Database, kind: str, value: str, part: str, table: str
) -> None:
    database.fill(make_company("962301", 0, SMALL_MIX))
    database.run(f"ALTER TABLE {table} DROP updated_at; ALTER TABLE {table} ADD updated_at {kind} DEFAULT {value}")
    with database.open() as connection, connection.cursor() as cursor, pytest.raises(SchemaMismatch) as caught:
        check_tables(cursor, TableMapping(), "db")
    assert f'column "updated_at" of {table} holds no times' in caught.value.cause
    assert f"set session_tables.{part}.updated_at to a column of type timestamptz, or to null" in caught.value.hint
