# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a cleanup would do: how many keys of each company and type, who is passed over, and why it would stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .._thirdparty import require
from ..errors import CredsInvalid, Misconfigured, ReadOnly, ResilienceError, UsageError
from ..postgres import ConnectParams, server_now
from ..sessions.codec import bytes_of, encode_creds, sha256
from ..sessions.info import age_bucket
from ..sessions.model import TableMapping
from ..sessions.postgres_store import check_tables, table_identifier
from ..sessions.published import PublishedStore, published_readable
from ..sessions.record import CLEANUP_ARCHIVES, FILES, StoreRecord
from .counting import gently, known_next_pre_keys, removable
from .keyfile import ArchiveKeys, read_keys
from .orphans import ORPHAN_DAYS, SHORTEST_ORPHAN_DAYS, orphans_among
from .policy import SAFE_POLICY, Policy
from .room import Room, in_order, read_room

#: Up to here a loss is no loss to the mirror and to a failover (failover/mirror/policy.py, failover/source_reports.py):
#: what is more would make both refuse PostgreSQL as a source of this company. A few of what Baileys never deletes is
#: enough for them.
SMALL_NUMBER = 10
MAX_SHARE = 0.2
NEVER_DELETED = ("app-state-sync-key", "identity-key", "lid-mapping")
FEW_NEVER_DELETED = 3
CAP = 10000


@dataclass(frozen=True)
class CleanupSettings:
    """``companies`` None: all. ``cap``: at most so many keys a run. ``max_share``: of a company's keys, above which a
    run stops. ``keep_days``: how long archives stay. ``orphan_days``: how long no key of a company without creds was
    written before all of them go; 0: they stay. ``archive_key_file``: the keys with which archives are encrypted.
    """

    database: ConnectParams
    tables: TableMapping
    state_dir: Path
    policy: Policy = SAFE_POLICY
    companies: Optional[Sequence[str]] = None
    cap: int = CAP
    max_share: float = MAX_SHARE
    keep_days: float = 90.0
    archive_dir: Optional[Path] = None
    orphan_days: float = ORPHAN_DAYS
    archive_key_file: Optional[Path] = None

    @property
    def archives(self) -> Path:
        return self.archive_dir or self.state_dir / CLEANUP_ARCHIVES

    def archive_keys(self) -> ArchiveKeys:
        """Raises Misconfigured for a key file that is missing, or is none."""
        return read_keys(self.archive_key_file)

    def keys_for_reading(self) -> ArchiveKeys:
        """Without a file that is right none, and why: what is in the clear is read all the same."""
        try:
            return self.archive_keys()
        except ResilienceError as exc:
            return ArchiveKeys(problem=f"{exc.subject}: {exc.cause}; {exc.hint}")

    def check(self) -> None:
        """Raises UsageError for numbers that cannot be meant."""
        _check("cap", self.cap, 1, 10**9, "keys")
        _check("max_share", self.max_share, 0.0, 1.0, "of a company's keys")
        _check("keep_days", self.keep_days, 1.0, 36500.0, "days")
        if self.orphan_days != 0:
            _check("orphan_days", self.orphan_days, SHORTEST_ORPHAN_DAYS, 36500.0, "days, or 0 for never")
        if self.companies is not None and not self.companies:
            raise UsageError(
                "the list is empty",
                operation="read",
                subject="companies",
                hint="name at least one company, or leave the option out to mean all",
            )


def _check(name: str, value: float, lowest: float, highest: float, what: str) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not lowest <= value <= highest:
        raise UsageError(
            f"{value!r} is not possible", operation="read", subject=name, hint=f"give {lowest:g} to {highest:g} {what}"
        )


@dataclass
class CompanyPlan:
    """``counts``: keys that may go by type, of ``total``. ``ages``: all its keys by age bucket. ``passed_over``: why
    none of them goes. ``identity``: a digest of the company's public identity key, which tells a company that was
    paired anew. ``is_orphan``: it has no creds, and all its keys go.
    """

    company: str
    total: int = 0
    counts: Dict[str, int] = field(default_factory=dict)
    ages: Dict[str, int] = field(default_factory=dict)
    passed_over: str = ""
    identity: str = ""
    epoch: int = 0
    is_orphan: bool = False

    @property
    def number(self) -> int:
        return 0 if self.passed_over else sum(self.counts.values())

    @property
    def share(self) -> float:
        return self.number / self.total if self.total else 0.0

    @property
    def never_deleted(self) -> int:
        """Of those that go, what Baileys itself never deletes."""
        return 0 if self.passed_over else sum(self.counts.get(each, 0) for each in NEVER_DELETED)

    def is_too_much(self, max_share: float) -> bool:
        """Whoever raises the share has said that the mirror and a failover need not believe it. No failover believes
        that an orphan is a session.
        """
        if self.is_orphan:
            return False
        if self.never_deleted > FEW_NEVER_DELETED and max_share <= MAX_SHARE:
            return True
        return self.number > SMALL_NUMBER and self.share > max_share

    def too_much_of(self, max_share: float) -> str:
        """In words, behind ``would go``."""
        if self.share > max_share:
            return f"more than {max_share:.0%}"
        return (
            f"{self.never_deleted} of them of types that Baileys never deletes, which looks like a loss to a failover"
        )


@dataclass
class Plan:
    """``at``: the server's clock. ``number``: how many keys go in this run, at most ``cap`` of ``may_go``. ``room``:
    what the tables take now.
    """

    policy: str
    at: str
    cap: int
    max_share: float
    companies: List[CompanyPlan]
    room: Room = field(default_factory=Room)

    @property
    def may_go(self) -> int:
        return sum(each.number for each in self.companies)

    @property
    def number(self) -> int:
        return min(self.cap, self.may_go)

    @property
    def total(self) -> int:
        return sum(each.total for each in self.companies)

    @property
    def by_type(self) -> Dict[str, int]:
        found: Dict[str, int] = {}
        for each in self.companies:
            for key_type, count in each.counts.items() if not each.passed_over else ():
                found[key_type] = found.get(key_type, 0) + count
        return dict(sorted(found.items()))

    @property
    def ages(self) -> Dict[str, int]:
        """All keys by age bucket, youngest first, also of those who are passed over."""
        found: Dict[str, int] = {}
        for each in self.companies:
            for bucket, count in each.ages.items():
                found[bucket] = found.get(bucket, 0) + count
        return in_order(found)

    @property
    def too_much(self) -> List[CompanyPlan]:
        return [each for each in self.companies if each.is_too_much(self.max_share)]

    def refuse_too_much(self) -> None:
        """Raises Misconfigured when a company would lose more than its share: then nobody loses anything."""
        if not self.too_much:
            return
        worst = max(self.too_much, key=lambda each: each.share)
        others = f" (and so it is with {len(self.too_much) - 1} more)" if len(self.too_much) > 1 else ""
        raise Misconfigured(
            f"{worst.number} of {worst.total} keys ({worst.share:.0%}) would go, {worst.too_much_of(self.max_share)}"
            f"{others}, so nothing is deleted",
            operation="clean up company",
            subject=worst.company,
            hint="look at what would go with --dry-run and --explain: a wrong time column or days that are too few look"
            " like this; where it is meant, raise the limit (--max-share) for this company alone (--company)",
        )

    def as_dict(self) -> Dict[str, Any]:
        return {
            "policy": self.policy,
            "at": self.at,
            "keys": self.total,
            "may_go": self.may_go,
            "number": self.number,
            "cap": self.cap,
            "max_share": self.max_share,
            "types": self.by_type,
            "ages": self.ages,
            "sizes": self.room.as_dict(),
            "companies": {
                each.company: {
                    "keys": each.total,
                    "types": dict(sorted(each.counts.items())) if not each.passed_over else {},
                    "number": each.number,
                    "share": round(each.share, 4),
                    "passed_over": each.passed_over,
                    "orphan": each.is_orphan and not each.passed_over,
                }
                for each in self.companies
            },
            "stopped": [each.company for each in self.too_much],
        }


def make_plan(cursor: Any, settings: CleanupSettings, *, will_write: bool) -> Plan:
    """Count, in a transaction of the caller's; writes nothing. Raises ReadOnly where ``will_write`` cannot be."""
    settings.check()
    check_tables(cursor, settings.tables, settings.database.where)
    if will_write:
        _refuse_unfit(cursor, settings.database.where)
    found = _counted(cursor, settings)
    _judge_creds(cursor, settings, found)
    for company, (epoch, is_on_files) in standing(cursor, settings, sorted(found)).items():
        found[company].epoch = epoch
        if is_on_files:
            found[company].passed_over = "it lives on files: its rows are a copy of before"
    companies, room = [found[name] for name in sorted(found)], read_room(cursor, settings.tables)
    return Plan(settings.policy.name, server_now(cursor), settings.cap, settings.max_share, companies, room)


def _refuse_unfit(cursor: Any, where: str) -> None:
    cursor.execute(
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',"
        " current_setting('server_encoding')"
    )
    is_read_only, encoding = cursor.fetchone()
    if is_read_only:
        raise ReadOnly(
            "the server takes no writes",
            operation="clean up keys",
            subject=where,
            hint="connect to the primary, or end its read-only mode",
        )
    if encoding == "SQL_ASCII":
        raise Misconfigured(
            "the database has the encoding SQL_ASCII, so text in it has no known meaning and cannot be archived",
            operation="clean up keys",
            subject=where,
            hint="convert the database to UTF8",
        )


def _counted(cursor: Any, settings: CleanupSettings) -> Dict[str, CompanyPlan]:
    sql = require("psycopg2.sql")
    keys = settings.tables.keys
    chosen = sql.SQL("WHERE {} IS NOT NULL").format(sql.Identifier(keys.company))
    if settings.companies is not None:
        chosen = sql.SQL("WHERE {}::text = ANY({})").format(
            sql.Identifier(keys.company), sql.Literal(list(settings.companies))
        )
    next_pre_key = known_next_pre_keys(cursor, settings.tables, settings.policy)
    with gently(cursor.execute):
        cursor.execute(
            sql.SQL(
                "SELECT {company}::text, {type}::text, {bucket}, count(*), count(*) FILTER (WHERE {may_go})"
                " FROM {table} {chosen} GROUP BY 1, 2, 3"
            ).format(
                company=sql.Identifier(keys.company),
                type=sql.Identifier(keys.type),
                bucket=age_bucket(keys),
                may_go=removable(settings.tables, settings.policy, next_pre_key),
                table=table_identifier(keys.table),
                chosen=chosen,
            )
        )
        counted = cursor.fetchall()
    found: Dict[str, CompanyPlan] = {}
    for company, key_type, bucket, count, may_go in counted:
        plan = found.setdefault(company, CompanyPlan(company))
        plan.total += count
        plan.ages[bucket] = plan.ages.get(bucket, 0) + count
        if may_go:
            plan.counts[key_type] = plan.counts.get(key_type, 0) + may_go
    for company in settings.companies or ():
        found.setdefault(company, CompanyPlan(company, passed_over="it has no keys"))
    return found


def _judge_creds(cursor: Any, settings: CleanupSettings, found: Mapping[str, CompanyPlan]) -> None:
    identities = read_identities(cursor, settings, sorted(found))
    for company, plan in found.items():
        identity, problem = identities.get(company, ("", "it has no creds, which can be lost by accident"))
        plan.identity = identity
        plan.passed_over = plan.passed_over or problem
    without = sorted(company for company in found if company not in identities)
    for company, counts in orphans_among(cursor, settings.tables, settings.orphan_days, without).items():
        plan = found[company]
        plan.is_orphan, plan.passed_over, plan.counts = True, "", counts


def read_identities(cursor: Any, settings: CleanupSettings, companies: Sequence[str]) -> Dict[str, Tuple[str, str]]:
    """For each company with creds: a digest of its public identity key, or in words why there is none."""
    sql = require("psycopg2.sql")
    auth = settings.tables.auth
    cursor.execute(
        sql.SQL(
            "SELECT {company}::text, convert_to({creds}::text, 'UTF8') FROM {table} WHERE {company}::text = ANY({})"
        ).format(
            sql.Literal(list(companies)),
            company=sql.Identifier(auth.company),
            creds=sql.Identifier(auth.creds),
            table=table_identifier(auth.table),
        )
    )
    found: Dict[str, Tuple[str, str]] = {}
    for company, content in cursor.fetchall():
        several = ("", "there are several rows of its creds: which of them is the session, only a human can say")
        found[company] = several if company in found else _identity(content, company)
    return found


def _identity(content: Any, company: str) -> Tuple[str, str]:
    try:
        creds = encode_creds(None if content is None else bytes(content), company=company)[1]
    except CredsInvalid as exc:
        return "", exc.cause
    pair = creds.get("signedIdentityKey")
    public = bytes_of(pair.get("public")) if isinstance(pair, dict) else None
    return (sha256(public), "") if public else ("", "its creds have no identity key")


def standing(cursor: Any, settings: CleanupSettings, companies: Sequence[str]) -> Dict[str, Tuple[int, bool]]:
    """The epoch of each company, and whether it lives on files: by this host's record or PostgreSQL's copy of
    another's, the newer of the two, and of two equal ones that which says files.
    """
    ours = StoreRecord(settings.state_dir).all()
    published: Mapping[str, PublishedStore] = published_readable(cursor, companies)
    found = {}
    for company in companies:
        said = [(each[company].epoch, each[company].store == FILES) for each in (ours, published) if company in each]
        found[company] = max(said) if said else (0, False)
    return found
