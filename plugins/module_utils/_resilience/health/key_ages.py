# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How old keys are, by company and type; how many of them may go under the policy; how much room they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

from .._thirdparty import require
from ..cleanup.counting import gently, removable
from ..cleanup.policy import rule_for
from ..clock import from_iso
from ..errors import UsageError
from ..postgres import ConnectParams
from ..sessions.info import age_bucket, days_ago
from ..sessions.model import TableMapping
from ..sessions.postgres_store import PostgresSnapshot, open_snapshot, table_identifier
from ..sessions.published import published_in
from ..sessions.record import FILES, StoreRecord
from ..sessions.sizes import TableSize, table_sizes
from .findings import OK, UNKNOWN, WARNING, Finding
from .thresholds import KeyThresholds, check, check_deadline

AGES_FIGURE, REMOVABLE_FIGURE, OLD_FIGURE, CREDS_FIGURE = "key ages", "removable keys", "old keys", "creds"
_SHOWN_COMPANIES = 5
#: further back than PostgreSQL's own times of rows go
_LONGEST_DAYS = 36500.0


@dataclass
class TypeAges:
    """Keys of one type: ``older`` is written longer ago than the days asked for, ``removable`` may go."""

    count: int = 0
    older: int = 0
    removable: int = 0
    ages: Dict[str, int] = field(default_factory=dict)


@dataclass
class CompanyAges:
    """``store`` is where the company lives: on files, its rows are a copy of before, and none of them is removable."""

    keys: Dict[str, TypeAges] = field(default_factory=dict)
    has_creds: bool = True
    store: str = "postgres"


@dataclass(frozen=True)
class Previous:
    """Figures of an earlier run, for growth."""

    snapshot_at: str
    key_count: int
    total_bytes: int


@dataclass
class KeyAges:
    companies: Dict[str, CompanyAges]
    sizes: Dict[str, TableSize]
    snapshot_at: str
    dated: bool

    def total(self, what: str) -> int:
        """The sum of ``count``, ``older`` or ``removable``."""
        return sum(getattr(kind, what) for each in self.companies.values() for kind in each.keys.values())

    @property
    def total_bytes(self) -> int:
        return sum(each.total for each in self.sizes.values())

    @property
    def ages(self) -> Dict[str, int]:
        return _summed(kind for each in self.companies.values() for kind in each.keys.values())

    @property
    def by_type(self) -> Dict[str, TypeAges]:
        kinds: Dict[str, List[TypeAges]] = {}
        for each in self.companies.values():
            for name, kind in each.keys.items():
                kinds.setdefault(name, []).append(kind)
        return {
            name: TypeAges(
                sum(each.count for each in found),
                sum(each.older for each in found),
                sum(each.removable for each in found),
                _summed(found),
            )
            for name, found in sorted(kinds.items())
        }


def _summed(kinds: Any) -> Dict[str, int]:
    total: Dict[str, int] = {}
    for kind in kinds:
        for bucket, number in kind.ages.items():
            total[bucket] = total.get(bucket, 0) + number
    return total


def read_key_ages(
    params: ConnectParams,
    tables: TableMapping,
    record: StoreRecord,
    *,
    companies: Optional[Sequence[str]] = None,
    older_than_days: float = 30.0,
    seconds: float = 30.0,
) -> KeyAges:
    """Count in one snapshot; all companies when ``companies`` is None. Raises typed errors. ``seconds`` bound
    connecting and each answer.
    """
    check("older_than", older_than_days, 0.0, _LONGEST_DAYS)
    check_deadline("deadline", seconds)
    with open_snapshot(params, tables, deadline_seconds=seconds, connect_seconds=seconds) as snapshot:
        found = _counted(snapshot, tables, companies, older_than_days)
        with_creds = set(snapshot.companies())
        for company in [*(companies or with_creds)]:
            found.setdefault(company, CompanyAges())
        for company, each in found.items():
            each.has_creds = company in with_creds
        _on_files(snapshot, found, record)
        sizes = table_sizes(snapshot.query, tables)
        return KeyAges(dict(sorted(found.items())), sizes, snapshot.info.snapshot_at, bool(tables.keys.updated_at))


def _counted(
    snapshot: PostgresSnapshot, tables: TableMapping, companies: Optional[Sequence[str]], older_than_days: float
) -> Dict[str, CompanyAges]:
    sql = require("psycopg2.sql")
    keys = tables.keys
    older = sql.SQL("false")
    if keys.updated_at:
        older = sql.SQL("{}::timestamptz < {}").format(
            sql.Identifier(keys.updated_at), days_ago(sql.Literal(older_than_days))
        )
    chosen = sql.SQL("")
    if companies is not None:
        chosen = sql.SQL("WHERE {}::text = ANY({})").format(sql.Identifier(keys.company), sql.Literal(list(companies)))
    query = sql.SQL(
        "SELECT {company}::text, {type}::text, {bucket}, count(*), count(*) FILTER (WHERE {older}),"
        " count(*) FILTER (WHERE {removable}) FROM {table} {chosen} GROUP BY 1, 2, 3"
    ).format(
        company=sql.Identifier(keys.company),
        type=sql.Identifier(keys.type),
        bucket=age_bucket(keys),
        older=older,
        removable=removable(tables),
        table=table_identifier(keys.table),
        chosen=chosen,
    )
    found: Dict[str, CompanyAges] = {}
    with gently(snapshot.query):
        counted = snapshot.query(query)
    for company, key_type, bucket, number, old, may_go in counted:
        kind = found.setdefault(company, CompanyAges()).keys.setdefault(key_type, TypeAges())
        kind.count += number
        kind.older += old
        kind.removable += may_go
        kind.ages[bucket] = kind.ages.get(bucket, 0) + number
    return found


def _on_files(snapshot: PostgresSnapshot, found: Dict[str, CompanyAges], record: StoreRecord) -> None:
    """Companies that live on files, by this host's record or by PostgreSQL's copy of another host's: the newer of the
    two, and of two equal ones that which says files.
    """
    ours, published = record.all(), published_in(snapshot, sorted(found))
    for company, each in found.items():
        said = [
            (where[company].epoch, where[company].store == FILES) for where in (ours, published) if company in where
        ]
        if said and max(said)[1]:
            each.store = FILES
        if each.store == FILES or not each.has_creds:
            for kind in each.keys.values():
                kind.removable = 0


def growth(found: KeyAges, previous: Previous) -> Dict[str, float]:
    """How keys and bytes have changed since. Raises UsageError for a time that is none, or not in the past."""
    seconds = (from_iso(found.snapshot_at) - from_iso(previous.snapshot_at)).total_seconds()
    if seconds <= 0:
        raise UsageError(
            "is not before this run",
            operation="read",
            subject=f"previous.snapshot_at {previous.snapshot_at}",
            hint="give what an earlier run of this module returned",
        )
    keys, size, days = (
        found.total("count") - previous.key_count,
        found.total_bytes - previous.total_bytes,
        seconds / 86400,
    )
    return {
        "seconds": round(seconds, 3),
        "keys": keys,
        "bytes": size,
        "keys_per_day": round(keys / days, 1),
        "bytes_per_day": round(size / days, 1),
    }


def judge_key_ages(found: KeyAges, thresholds: KeyThresholds, older_than_days: float) -> List[Finding]:
    judged = [Finding(AGES_FIGURE, OK)]
    if not found.dated:
        cause = "the keys have no time of their last change"
        judged = [
            Finding(AGES_FIGURE, UNKNOWN, cause, "set session_tables.keys.updated_at to the column that holds it")
        ]
    may_go, old = found.total("removable"), found.total("older")
    judged.append(Finding(REMOVABLE_FIGURE))
    if may_go > thresholds.removable_keys:
        cause = f"{may_go} keys may go, more than {thresholds.removable_keys}"
        advice = (
            "nothing breaks while they stay; baileys-resilience cleanup --apply deletes them. Delete no other key by"
            " its age alone (docs/cleanup.md)"
        )
        judged[-1] = Finding(REMOVABLE_FIGURE, WARNING, cause, advice)
    if thresholds.old_keys and old > thresholds.old_keys:
        cause = f"{old} keys were written more than {older_than_days:g} days ago, more than {thresholds.old_keys}"
        advice = "old is not expired: see removable and policy for which of them may go"
        judged.append(Finding(OLD_FIGURE, WARNING, cause, advice))
    judged.append(_judge_creds(found))
    return judged


def _judge_creds(found: KeyAges) -> Finding:
    without = [name for name, each in found.companies.items() if each.keys and not each.has_creds]
    if not without:
        return Finding(CREDS_FIGURE)
    shown = ", ".join(without[:_SHOWN_COMPANIES]) + (", ..." if len(without) > _SHOWN_COMPANIES else "")
    return Finding(
        CREDS_FIGURE,
        WARNING,
        f"keys but no creds: {shown}. None of their keys counts as removable, since creds can be lost by accident",
        "look with session_info; put lost creds back from a copy, or delete the keys of a company that is gone",
    )


def policy_of(found: KeyAges) -> Dict[str, Dict[str, Any]]:
    """The rule of each type that is there, and why none of it is counted where that is so."""
    rules = {}
    for name in found.by_type:
        rule = rule_for(name)
        rules[name] = {
            "retention_days": rule.retention_days,
            "clock": rule.clock,
            "counted": rule.counts,
            "not_judged": list(rule.unjudged),
            "reason": rule.reason,
            "source": rule.source,
        }
    return rules
