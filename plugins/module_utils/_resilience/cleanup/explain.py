# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Why one key stays, or goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional

from .._thirdparty import require
from ..clock import in_words
from ..errors import UsageError
from ..postgres import session
from ..sessions.postgres_store import check_tables, table_identifier
from .counting import facts
from .orphans import orphans_among
from .plan import CleanupSettings, read_identities, standing
from .policy import KeyFacts, Verdict, judge, rule_for

_OPERATION = "explain key"


@dataclass(frozen=True)
class Explanation:
    """``age_seconds``: since it was written, by the database's clock. ``source``: where the rule comes from."""

    company: str
    key_type: str
    key_id: str
    may_go: bool
    why: str
    source: str
    age_seconds: Optional[float]

    def sentence(self) -> str:
        verb = "may go" if self.may_go else "stays"
        age = "" if self.age_seconds is None else f", written {in_words(self.age_seconds)} ago"
        return f"company {self.company}: {self.key_type} {self.key_id}{age}: {verb}: {self.why} ({self.source})"


def explain(settings: CleanupSettings, key: str) -> List[Explanation]:
    """``key`` is ``type/id``. One explanation for each company that has it. Raises UsageError where none does."""
    settings.check()
    key_type, slash, key_id = key.partition("/")
    if not slash:
        raise _refusal(key, "is no key", "write it as type/id, such as pre-key/17 or session/962790000001.0")
    with session(settings.database, operation=_OPERATION) as (connection, _deadline):
        cursor = connection.cursor()
        check_tables(cursor, settings.tables, settings.database.where)
        found = _facts_of(cursor, settings, key_type, key_id)
        if not found:
            raise _refusal(
                key, "is not there", "look with session_info which types there are; ids are as Baileys gives them"
            )
        companies = [company for company, _facts in found]
        creds, stores = read_identities(cursor, settings, companies), standing(cursor, settings, companies)
        without = [company for company in companies if company not in creds]
        orphans = orphans_among(cursor, settings.tables, settings.orphan_days, without)
    rule = rule_for(key_type, settings.policy)
    explained = []
    for company, each in found:
        verdict = judge(each, settings.policy)
        _identity, passed_over = creds.get(company, ("", "the company has no creds, which can be lost by accident"))
        if stores[company][1]:
            passed_over = "the company lives on files: its rows are a copy of before"
        elif company in orphans:
            passed_over, verdict = "", Verdict(True, f"no creds, and no key written for {settings.orphan_days:g} days")
        may_go, why = (False, passed_over) if passed_over else (verdict.may_go, verdict.why)
        explained.append(Explanation(company, key_type, key_id, may_go, why, rule.source, each.written_age))
    return explained


def _facts_of(cursor: Any, settings: CleanupSettings, key_type: str, key_id: str) -> List[Any]:
    sql = require("psycopg2.sql")
    keys = settings.tables.keys
    cursor.execute(
        sql.SQL(
            "SELECT {company}::text, {facts} FROM {table} WHERE {type}::text = {} AND {id}::text = {} ORDER BY 1"
        ).format(
            sql.Literal(key_type),
            sql.Literal(key_id),
            company=sql.Identifier(keys.company),
            type=sql.Identifier(keys.type),
            id=sql.Identifier(keys.id),
            facts=sql.SQL(", ").join(facts(settings.tables)),
            table=table_identifier(keys.table),
        )
    )
    chosen = settings.companies
    return [
        (company, KeyFacts(key_type, key_id, *values))
        for company, *values in cursor.fetchall()
        if chosen is None or company in chosen
    ]


def _refusal(key: str, cause: str, hint: str) -> UsageError:
    return UsageError(cause, operation=_OPERATION, subject=repr(key), hint=hint)
