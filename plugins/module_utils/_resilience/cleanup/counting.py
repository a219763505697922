# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The policy as SQL, for whoever counts. :func:`policy.judge` says the same of one key."""

from __future__ import annotations

from typing import Any

from .._thirdparty import require
from ..sessions.model import KeysTable
from .policy import GUARD_NOT_THE_INDEX, GUARD_SENDER_QUIET, OWN_TIMESTAMP, SAFE, TCTOKEN_INDEX, Rule


def removable(keys: KeysTable) -> Any:
    """A boolean expression over the keys' table: may this row go? Never null, and false where anything is unknown."""
    sql = require("psycopg2.sql")
    cases = [
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(rule.key_type), _conditions(rule, keys))
        for rule in SAFE.values()
        if rule.counts and (keys.updated_at or rule.clock == OWN_TIMESTAMP)
    ]
    return sql.SQL("coalesce(CASE {}::text {} ELSE false END, false)").format(
        sql.Identifier(keys.type), sql.SQL(" ").join(cases)
    )


def _conditions(rule: Rule, keys: KeysTable) -> Any:
    sql = require("psycopg2.sql")
    limit = sql.Literal(rule.retention_days)
    if rule.clock == OWN_TIMESTAMP:
        conditions = [_older("timestamp", keys, limit)]
    else:
        conditions = [
            sql.SQL("{}::timestamptz < now() - {} * interval '1 day'").format(sql.Identifier(keys.updated_at), limit)
        ]
    if GUARD_NOT_THE_INDEX in rule.guards:
        conditions.append(sql.SQL("{}::text <> {}").format(sql.Identifier(keys.id), sql.Literal(TCTOKEN_INDEX)))
    if GUARD_SENDER_QUIET in rule.guards:
        # What is named but cannot be read is no proof of silence.
        conditions.append(
            sql.SQL("({older} OR position({name} in {value}::text) = 0)").format(
                older=_older("senderTimestamp", keys, limit),
                name=sql.Literal("senderTimestamp"),
                value=sql.Identifier(keys.value),
            )
        )
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions))


def _older(field: str, keys: KeysTable, days: Any) -> Any:
    """Whether the key's own time (seconds since 1970, as a number or a text) is further back than ``days``. Null where
    there is none: also where an adapter has stored JSON inside of a JSON text.
    """
    sql = require("psycopg2.sql")
    pattern = f'"{field}": ?"?([0-9]{{9,11}})"?[,}} ]'
    return sql.SQL(
        "to_timestamp(substring({value}::text from {pattern})::float8) < now() - {days} * interval '1 day'"
    ).format(value=sql.Identifier(keys.value), pattern=sql.Literal(pattern), days=days)
