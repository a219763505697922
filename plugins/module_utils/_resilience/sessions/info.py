# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What is there: companies with their user, keys by type and age, sizes, creds, and store of record. Reads only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .._thirdparty import require
from ..errors import CredsInvalid, ResilienceError
from ..files import translate_os_error
from .codec import encode_creds
from .creds import CredsAudit, paired_user
from .directory_source import DirectorySource
from .model import KeysTable, RawCreds, TableMapping
from .postgres_store import PostgresSnapshot, table_identifier
from .published import CONFLICT, PublishedStore, contradiction, judge, published_in
from .record import StoreOfRecord, StoreRecord

#: (name, upper limit in days) of the age buckets, youngest first
AGE_BUCKETS: Tuple[Tuple[str, float], ...] = (("<1d", 1), ("1-7d", 7), ("7-14d", 14), ("14-30d", 30))
OLDEST_BUCKET = ">30d"
UNKNOWN_AGE = "unknown"
_DAY_SECONDS = 86400.0
_AUDITED_TYPES = ("pre-key", "app-state-sync-key")


@dataclass
class TypeInfo:
    """Keys of one type: ``bytes`` is the size of their JSON text, ``ages`` the number of keys by age bucket."""

    count: int = 0
    bytes: int = 0
    ages: Dict[str, int] = field(default_factory=dict)


@dataclass
class CompanyInfo:
    company: str
    user: Optional[str] = None
    keys: Dict[str, TypeInfo] = field(default_factory=dict)
    creds_bytes: int = 0
    creds_updated_at: Optional[str] = None
    creds_problems: List[str] = field(default_factory=list)
    store: StoreOfRecord = field(default_factory=StoreOfRecord)
    published: Optional[PublishedStore] = None

    @property
    def key_count(self) -> int:
        return sum(each.count for each in self.keys.values())

    @property
    def bytes(self) -> int:
        return self.creds_bytes + sum(each.bytes for each in self.keys.values())

    @property
    def store_problem(self) -> str:
        """How PostgreSQL contradicts this host's record; empty where it does not."""
        # Whose record this is, nobody said: files of the publishing host itself are the least that can be claimed.
        theirs = self.published
        if theirs is None or judge(self.store, theirs, theirs.host) != CONFLICT:
            return ""
        return contradiction(self.company, self.store, theirs, theirs.host).cause

    def ages(self) -> Dict[str, int]:
        total: Dict[str, int] = {}
        for each in self.keys.values():
            for bucket, number in each.ages.items():
                total[bucket] = total.get(bucket, 0) + number
        return total


class _Numbers(NamedTuple):
    type: str
    bucket: str
    number: int
    size: int


def database_info(
    snapshot: PostgresSnapshot, tables: TableMapping, companies: Optional[Sequence[str]], record: StoreRecord
) -> List[CompanyInfo]:
    """The companies of a database; all of them, also those with keys and no creds, when ``companies`` is None."""
    if companies is None:
        companies = sorted({*snapshot.companies(), *snapshot.companies_with_keys()})
    stores, published = record.all(), published_in(snapshot, companies)
    found = []
    for company in companies:
        info = CompanyInfo(company, store=stores.get(company, StoreOfRecord()), published=published.get(company))
        _add_numbers(info, _database_numbers(snapshot, tables, company))
        _add_creds(info, snapshot.creds(company), _database_names(snapshot, tables, company))
        found.append(info)
    return found


def directory_info(
    source: DirectorySource, companies: Optional[Sequence[str]], record: StoreRecord
) -> List[CompanyInfo]:
    """The companies of a sessions' home. A file that has no known type counts as ``unknown``."""
    stores = record.all()
    found = []
    for company in source.companies() if companies is None else companies:
        info = CompanyInfo(company, store=stores.get(company, StoreOfRecord()))
        names: List[Tuple[str, str]] = []
        try:
            _add_numbers(info, _directory_numbers(source, company, names))
            _add_creds(info, source.creds(company), names)
        except ResilienceError as exc:  # one company that cannot be read is news, not the end
            info.creds_problems.append(exc.cause)
        found.append(info)
    return found


def _add_numbers(info: CompanyInfo, numbers: Iterator[_Numbers]) -> None:
    for each in numbers:
        of_type = info.keys.setdefault(each.type, TypeInfo())
        of_type.count += each.number
        of_type.bytes += each.size
        of_type.ages[each.bucket] = of_type.ages.get(each.bucket, 0) + each.number


def _add_creds(info: CompanyInfo, raw: Optional[RawCreds], names: List[Tuple[str, str]]) -> None:
    if raw is None:
        info.creds_problems.append("there are no creds")
        return
    info.creds_bytes = len(raw.value or b"")
    info.creds_updated_at = raw.updated_at
    try:
        _content, creds = encode_creds(raw.value, company=info.company)
    except CredsInvalid as exc:
        info.creds_problems.append(exc.cause)
        return
    info.user = paired_user(creds)
    audit = CredsAudit(creds)
    for key_type, key_id in names:
        audit.see(key_type, key_id)
    info.creds_problems.extend(audit.problems())


def bucket_of(age_seconds: float) -> str:
    for name, limit_days in AGE_BUCKETS:
        if age_seconds < limit_days * _DAY_SECONDS:
            return name
    return OLDEST_BUCKET


def days_ago(days: Any) -> Any:
    """SQL: the time so many days ago, by the server's clock. A query of its own, so that PostgreSQL asks the calendar
    once and not for each row, which takes longer than all else that it does to count one. ``days``: an expression.
    """
    return require("psycopg2.sql").SQL("(SELECT now() - {} * interval '1 day')").format(days)


def age_bucket(keys: KeysTable) -> Any:
    """SQL: the age bucket of a row of the keys' table, by the server's clock."""
    sql = require("psycopg2.sql")
    if not keys.updated_at:
        return sql.Literal(UNKNOWN_AGE)
    column = sql.SQL("{}::timestamptz").format(sql.Identifier(keys.updated_at))
    cases = [
        sql.SQL("WHEN {} > {} THEN {}").format(column, days_ago(sql.Literal(limit)), sql.Literal(name))
        for name, limit in AGE_BUCKETS
    ]
    return sql.SQL("CASE WHEN {} IS NULL THEN {} {} ELSE {} END").format(
        column, sql.Literal(UNKNOWN_AGE), sql.SQL(" ").join(cases), sql.Literal(OLDEST_BUCKET)
    )


def _database_numbers(snapshot: PostgresSnapshot, tables: TableMapping, company: str) -> Iterator[_Numbers]:
    sql = require("psycopg2.sql")
    keys = tables.keys
    query = sql.SQL(
        "SELECT {type}::text, {bucket}, count(*), coalesce(sum(octet_length({value}::text)), 0)"
        " FROM {table} WHERE {company} = {id} GROUP BY 1, 2 ORDER BY 1, 2"
    ).format(
        type=sql.Identifier(keys.type),
        bucket=age_bucket(keys),
        value=sql.Identifier(keys.value),
        table=table_identifier(keys.table),
        company=sql.Identifier(keys.company),
        id=sql.Literal(company),
    )
    for key_type, name, count, size in snapshot.query(query):
        yield _Numbers(key_type, name, int(count), int(size))


def _database_names(snapshot: PostgresSnapshot, tables: TableMapping, company: str) -> List[Tuple[str, str]]:
    """(type, id) of the keys that creds are checked against."""
    sql = require("psycopg2.sql")
    keys = tables.keys
    query = sql.SQL("SELECT {type}::text, {id_column}::text FROM {table} WHERE {company} = {id} AND {type} IN {types}")
    values: Dict[str, Any] = {
        "type": sql.Identifier(keys.type),
        "id_column": sql.Identifier(keys.id),
        "table": table_identifier(keys.table),
        "company": sql.Identifier(keys.company),
        "id": sql.Literal(company),
        "types": sql.Literal(_AUDITED_TYPES),
    }
    return [(row[0], row[1]) for row in snapshot.query(query.format(**values))]


def _directory_numbers(source: DirectorySource, company: str, names: List[Tuple[str, str]]) -> Iterator[_Numbers]:
    directory = source.home.directory(company)
    now = time.time()
    if not directory.is_dir():
        return
    for name, key_type, key_id in source.key_names(company):
        try:
            status = os.stat(directory / name)
        except FileNotFoundError:  # Baileys works there: a key that is consumed meanwhile is none
            continue
        except OSError as exc:
            raise translate_os_error(exc, "look at file", name) from exc
        names.append((key_type, key_id))
        yield _Numbers(key_type, bucket_of(now - status.st_mtime), 1, status.st_size)
