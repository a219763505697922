# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ages of keys in a real database; what counts as removable is what the policy says of each single key."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup.policy import KeyFacts, judge
from baileys_resilience.errors import SchemaMismatch, UsageError
from baileys_resilience.health.findings import OK, UNKNOWN, WARNING, Finding
from baileys_resilience.health.key_ages import (
    KeyAges,
    Previous,
    growth,
    judge_key_ages,
    policy_of,
    read_key_ages,
)
from baileys_resilience.health.thresholds import KeyThresholds
from baileys_resilience.sessions.model import KNOWN_TYPES, TableMapping
from baileys_resilience.sessions.published import create_schema
from baileys_resilience.sessions.record import StoreRecord
from lab import Lab
from tests.support.databases import Database, new_database
from tests.support.synthetic import make_companies

TABLES = TableMapping()
DAY = 86400.0
#: in the middle of each bucket
AGES = {"<1d": 0.5, "1-7d": 3, "7-14d": 10, "14-30d": 20, ">30d": 45}


@pytest.fixture
def record(tmp_path: Path) -> StoreRecord:
    return StoreRecord(tmp_path / "state")


def read(database: Database, record: StoreRecord, tables: TableMapping = TABLES, **options: Any) -> KeyAges:
    return read_key_ages(database.params, tables, record, **options)


def judged(found: KeyAges, thresholds: KeyThresholds | None = None) -> dict[str, Finding]:
    return {each.figure: each for each in judge_key_ages(found, thresholds or KeyThresholds(), 30)}


def add_key(
    database: Database, company: str, key_type: str, key_id: str, days: float | None, value: str = "{}"
) -> None:
    database.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)"
        " VALUES (%s, %s, %s, %s, now() - %s * interval '1 day')",
        company, key_type, key_id, value, days,
    )  # fmt: skip


def add_creds(database: Database, company: str) -> None:
    database.run("INSERT INTO whatsapp_auth (company_id, creds) VALUES (%s, '{}')", company)


def test_keys_are_counted_by_company_type_and_age(database: Database, record: StoreRecord) -> None:
    for company in ("1", "2"):
        add_creds(database, company)
    for number, (_bucket, days) in enumerate(AGES.items(), 1):
        for each in range(number):
            add_key(database, "1", "session", f"{days}-{each}", days)
    add_key(database, "2", "pre-key", "1", 40)
    before = database.everything(versions=True)
    found = read(database, record)
    assert database.everything(versions=True) == before
    assert found.companies["1"].keys["session"].ages == {"<1d": 1, "1-7d": 2, "7-14d": 3, "14-30d": 4, ">30d": 5}
    assert found.by_type["session"].count == 15
    assert (found.ages[">30d"], found.total("count"), found.total("older"), found.total("removable")) == (6, 16, 6, 0)
    assert read(database, record, older_than_days=15).total("older") == 10
    assert list(read(database, record, companies=["2", "3"]).companies) == ["2", "3"]
    assert policy_of(found)["pre-key"]["not_judged"]


def random_value(numbers: random.Random, key_type: str) -> tuple[str, float | None, float | None]:
    """JSON of a tctoken as adapters store it, with its own age and that of the last token that was sent."""
    if key_type != "tctoken" or numbers.random() < 0.1:
        return json.dumps({"token": "x"}), None, None
    own, sender = (numbers.choice([None, numbers.uniform(20, 36)]) for _each in range(2))
    content: dict[str, Any] = {"token": {"type": "Buffer", "data": "AQ=="}}
    for name, days in (("timestamp", own), ("senderTimestamp", sender)):
        if days is not None:
            moment = NOW - round(days * DAY)
            content[name] = str(moment) if numbers.random() < 0.5 else moment
    return json.dumps(content), own and own * DAY, sender and sender * DAY


NOW = 0  # set by the test: the server's clock


def test_what_counts_as_removable_is_what_the_policy_says_of_each_key(database: Database, record: StoreRecord) -> None:
    global NOW
    NOW = int(database.run("SELECT extract(epoch FROM now())::bigint")[0][0])
    numbers = random.Random(5)
    add_creds(database, "1")
    expected: dict[str, int] = {}
    rows = []
    for number in range(600):
        key_type = numbers.choice(["tctoken"] * 4 + ["sender-key-memory"] * 2 + [*KNOWN_TYPES, "invented"])
        key_id = "__index" if key_type == "tctoken" and number % 5 == 0 else f"k{number}"
        written = numbers.choice([None, numbers.uniform(20, 40)])
        value, own, sender = random_value(numbers, key_type)
        rows.append(("1", key_type, f"{key_id}", value, written))
        facts = KeyFacts(key_type, key_id, written and written * DAY, own, sender)
        expected[key_type] = expected.get(key_type, 0) + judge(facts).may_go
    database.run("ALTER TABLE whatsapp_keys ALTER updated_at DROP NOT NULL, DROP CONSTRAINT whatsapp_keys_pkey")
    with database.open() as connection, connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)"
            " VALUES (%s, %s, %s, %s, now() - %s * interval '1 day')",
            rows,
        )
    found = read(database, record)
    assert {name: kind.removable for name, kind in found.by_type.items()} == expected
    assert expected["tctoken"] > 10
    assert expected["sender-key-memory"] > 10
    # The same in a column of text.
    database.run("ALTER TABLE whatsapp_keys ALTER value TYPE text")
    assert {name: kind.removable for name, kind in read(database, record).by_type.items()} == expected
    unknown = sum(1 for row in rows if row[4] is None)
    assert found.ages["unknown"] == unknown > 0


def test_a_time_that_cannot_be_read_keeps_the_key(database: Database, record: StoreRecord) -> None:
    add_creds(database, "1")
    old = {"timestamp": "1600000000"}
    inside_a_text = json.dumps(json.dumps(old))
    values = [inside_a_text, json.dumps({"timestamp": "soon"}), json.dumps({**old, "senderTimestamp": "soon"}), "{}"]
    for number, value in enumerate(values):
        add_key(database, "1", "tctoken", str(number), 100, value)
    assert read(database, record).total("removable") == 0
    add_key(database, "1", "tctoken", "readable", 100, json.dumps(old))
    assert read(database, record).total("removable") == 1


def removable_memory(database: Database, companies: list[str], number: int = 1) -> None:
    for company in companies:
        for each in range(number):
            add_key(database, company, "sender-key-memory", f"g{each}", 31)


def test_a_company_on_files_has_nothing_that_may_go(database: Database, record: StoreRecord) -> None:
    for company in ("1", "2", "3"):
        add_creds(database, company)
    removable_memory(database, ["1", "2", "3"])
    record.move(["1"], "files", by="r", places={"1": "/srv/1"})
    with database.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
        cursor.execute("INSERT INTO baileys_resilience.stores VALUES ('2', 'files', 3, now(), 'elsewhere', 'r')")
    found = read(database, record)
    assert {name: (each.store, each.keys["sender-key-memory"].removable) for name, each in found.companies.items()} == {
        "1": ("files", 0),
        "2": ("files", 0),
        "3": ("postgres", 1),
    }


def test_a_company_without_creds_is_a_warning_and_loses_nothing(database: Database, record: StoreRecord) -> None:
    add_creds(database, "1")
    removable_memory(database, ["1", "2"])
    found = read(database, record)
    assert (found.companies["2"].has_creds, found.total("removable")) == (False, 1)
    creds = judged(found)["creds"]
    assert (creds.status, "no creds: 2." in creds.cause) == (WARNING, True)
    assert "session_info" in creds.advice


def test_thresholds_are_met_and_passed(database: Database, record: StoreRecord) -> None:
    add_creds(database, "1")
    removable_memory(database, ["1"], 3)
    found = read(database, record)
    at, above = KeyThresholds(removable_keys=3, old_keys=3), KeyThresholds(removable_keys=2, old_keys=2)
    assert {each.status for each in judged(found, at).values()} == {OK}
    warned = judged(found, above)
    assert (warned["removable keys"].status, warned["old keys"].status) == (WARNING, WARNING)
    assert warned["removable keys"].cause == "3 keys may go, more than 2"
    assert {each.status for each in judged(found, KeyThresholds(removable_keys=3)).values()} == {OK}


def test_empty_tables_are_ok(database: Database, record: StoreRecord) -> None:
    found = read(database, record)
    assert (found.companies, found.ages, found.total("count")) == ({}, {}, 0)
    assert found.total_bytes > 0, "the indexes have a page"
    assert {each.status for each in judged(found).values()} == {OK}


def test_without_a_column_for_the_time_ages_are_unknown_and_only_what_keeps_its_own_may_go(
    database: Database, record: StoreRecord
) -> None:
    add_creds(database, "1")
    removable_memory(database, ["1"])
    add_key(database, "1", "tctoken", "x", 1, '{"timestamp": 1600000000}')
    database.run("ALTER TABLE whatsapp_keys DROP COLUMN updated_at")
    found = read(database, record, replace(TABLES, keys=replace(TABLES.keys, updated_at=None)))
    assert (found.ages, found.total("removable"), found.total("older")) == ({"unknown": 2}, 1, 0)
    ages = judged(found)["key ages"]
    assert (ages.status, "session_tables.keys.updated_at" in ages.advice) == (UNKNOWN, True)


def test_tables_that_are_missing_are_named(lab: Lab, record: StoreRecord) -> None:
    with new_database(lab, schema="") as empty, pytest.raises(SchemaMismatch) as missing:
        read(empty, record)
    assert 'table "whatsapp_auth" does not exist' in missing.value.cause


def test_sizes_are_of_rows_and_indexes_and_of_all_partitions(database: Database, record: StoreRecord) -> None:
    database.fill(*make_companies(2))
    plain = read(database, record).sizes["whatsapp_keys"]
    total = database.run("SELECT pg_total_relation_size('whatsapp_keys')")[0][0]
    assert plain.total == total
    database.run(
        "ALTER TABLE whatsapp_keys RENAME TO old; CREATE TABLE whatsapp_keys (LIKE old) PARTITION BY HASH (company_id);"
        "CREATE TABLE one PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE two PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO whatsapp_keys SELECT * FROM old"
    )
    parts = database.run("SELECT pg_total_relation_size('one') + pg_total_relation_size('two')")[0][0]
    assert read(database, record).sizes["whatsapp_keys"].total == parts > 0
    database.run("ALTER TABLE whatsapp_keys RENAME TO parted; CREATE VIEW whatsapp_keys AS SELECT * FROM parted")
    assert read(database, record).sizes["whatsapp_keys"].total == 0


def test_growth_is_since_the_figures_that_were_given(database: Database, record: StoreRecord) -> None:
    add_creds(database, "1")
    first = read(database, record)
    removable_memory(database, ["1"], 4)
    second = read(database, record)
    grown = growth(second, Previous(first.snapshot_at, first.total("count"), first.total_bytes))
    assert (grown["keys"], grown["bytes"]) == (4, second.total_bytes - first.total_bytes)
    assert grown["keys_per_day"] > 4
    day_ago = growth(second, Previous("2020-01-01T00:00:00Z", 0, 0))
    assert 0 <= day_ago["keys_per_day"] < 1
    for wrong in (second.snapshot_at, "2999-01-01T00:00:00Z", "yesterday"):
        with pytest.raises(UsageError) as refused:
            growth(second, Previous(wrong, 0, 0))
        assert refused.value.hint


@pytest.mark.parametrize("options", [{"older_than_days": -1}, {"older_than_days": float("nan")}, {"seconds": 0}])
def test_numbers_that_cannot_be_meant_are_refused(
    database: Database, record: StoreRecord, options: dict[str, float]
) -> None:
    with pytest.raises(UsageError):
        read(database, record, **options)
