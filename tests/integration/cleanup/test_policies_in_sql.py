# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the SQL of a policy takes is what the policy says of each single key, whichever policy it is."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from psycopg2 import sql

from baileys_resilience.cleanup.choosing import choose
from baileys_resilience.cleanup.counting import facts, removable
from baileys_resilience.cleanup.policy import SAFE_POLICY, KeyFacts, Policy, judge
from baileys_resilience.sessions.model import KNOWN_TYPES, TableMapping
from tests.support.databases import Database

TABLES = TableMapping()
POLICIES = {
    "safe": SAFE_POLICY,
    "safe, older than 40 days": choose(older_than_days=40),
    "age": choose("age", accept_data_loss=True),
    "custom": choose(retention={"pre-key": 35, "sender-key": 50, "sender-key-memory": 5}, accept_data_loss=True),
}
#: company -> its creds as adapters store them, and the id of the next pre-key that they tell
CREDS: dict[str, tuple[Any, int | None]] = {
    "1": ({"nextPreKeyId": 1000, "x": 1}, 1000),
    "2": (json.dumps({"x": 1, "nextPreKeyId": 2000}), 2000),
    "3": ({"x": 1}, None),
}


def random_key(numbers: random.Random, number: int) -> tuple[str, str, str]:
    """Type, id and value."""
    key_type = numbers.choice([*KNOWN_TYPES, "pre-key", "sender-key", "sender-key-memory", "tctoken", "invented"])
    value = {"timestamp": 1700000000 + number} if key_type == "tctoken" and number % 3 else {}
    names = {
        "pre-key": numbers.choice([str(number), str(number), "x", "99999999999"]),
        "sender-key": f"{number % 90}@g.us::user::0",
        "sender-key-memory": f"{number % 90}@g.us",
        "tctoken": numbers.choice(["__index", str(number)]),
    }
    return key_type, names.get(key_type, f"k{number}"), json.dumps(value)


@pytest.mark.parametrize("schema", ["public", "other"])
def test_the_sql_of_a_policy_says_what_the_policy_says(database: Database, schema: str) -> None:
    numbers = random.Random(4)
    if schema != "public":
        database.run("CREATE SCHEMA other; ALTER TABLE whatsapp_keys SET SCHEMA other")
    keys = {}
    for number in range(1500):
        company = numbers.choice(list(CREDS))
        key_type, key_id, value = random_key(numbers, number)
        keys[company, key_type, key_id] = (value, numbers.choice([numbers.uniform(0, 70), 400]))
    with database.open() as connection, connection, connection.cursor() as cursor:
        for company, (creds, _next) in CREDS.items():
            cursor.execute(
                "INSERT INTO whatsapp_auth (company_id, creds) VALUES (%s, %s)", (company, json.dumps(creds))
            )
        cursor.execute(f"SET search_path TO {schema}, public")
        cursor.executemany(
            "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at)"
            " VALUES (%s, %s, %s, %s, now() - %s * interval '1 day')",
            [(*name, *content) for name, content in keys.items()],
        )
    mapping = TableMapping.from_option({"keys": {"table": f"{schema}.whatsapp_keys"}})
    for name, policy in POLICIES.items():
        gone = compared(database, mapping, policy)
        assert gone >= {"sender-key-memory"}, name
        if policy.name != "safe":
            assert gone >= {"pre-key", "sender-key"}, name


def compared(database: Database, tables: TableMapping, policy: Policy) -> set[str]:
    """The types of which something may go."""
    query = sql.SQL("SELECT company_id, key_type, key_id, {}, {} FROM {}").format(
        removable(tables, policy), sql.SQL(", ").join(facts(tables)), sql.Identifier(*tables.keys.table.split("."))
    )
    gone = set()
    with database.open() as connection, connection.cursor() as cursor:
        cursor.execute(query)
        for company, key_type, key_id, may_go, *known in cursor.fetchall():
            found = KeyFacts(key_type, key_id, *known)
            assert found.next_pre_key == CREDS[company][1]
            assert judge(found, policy).may_go == may_go, (found, policy.name)
            if may_go:
                gone.add(key_type)
    return gone
