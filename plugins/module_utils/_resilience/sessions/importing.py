# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Import: a home of directories into PostgreSQL, so that the tables end equal to the files, key by key.

Only what differs is written: new keys are added, changed ones updated (extra columns stay), and those that Baileys
consumed are deleted. All in one transaction, read back inside it; a company that cannot be taken over is rolled back
to its savepoint and reported.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from ..errors import (
    Conflict,
    CredsInvalid,
    KeyUndecodable,
    ReadOnly,
    ResilienceError,
    VerificationFailed,
)
from ..postgres import ConnectParams, session, translated
from ..progress import Progress, Silent
from .codec import encode_creds, encode_key, sha256
from .creds import CredsAudit
from .directory_source import CanonicalKey, DirectorySource
from .export import OF_ONE_COMPANY
from .import_guard import ImportGuard, ImportOptions, Row
from .manifest import CREDS_TYPE
from .model import RawKey, SourceInfo, TableMapping
from .postgres_store import PostgresSnapshot, check_tables
from .table_writer import TableWriter
from .verify import KeyName, compare

_CREDS: KeyName = (CREDS_TYPE, "")


@dataclass
class CompanyImport:
    """Numbers of keys by type; ``creds`` is one of added, updated, unchanged."""

    company: str
    added: Dict[str, int] = field(default_factory=dict)
    updated: Dict[str, int] = field(default_factory=dict)
    deleted: Dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    creds: str = "unchanged"

    @property
    def changed(self) -> bool:
        return bool(self.added or self.updated or self.deleted) or self.creds != "unchanged"


@dataclass
class ImportReport:
    target: str
    imported: List[CompanyImport] = field(default_factory=list)
    failed: Dict[str, ResilienceError] = field(default_factory=dict)
    duration_seconds: float = 0.0

    @property
    def changed(self) -> bool:
        return any(each.changed for each in self.imported)


@dataclass
class _Changes:
    """``wanted`` is what the table should hold in the end: digests by (type, id)."""

    wanted: Dict[KeyName, str] = field(default_factory=dict)
    added: List[CanonicalKey] = field(default_factory=list)
    updated: List[CanonicalKey] = field(default_factory=list)
    deleted: List[KeyName] = field(default_factory=list)
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.deleted)

    def overwritten(self) -> List[KeyName]:
        return [(key.type, key.id) for key in self.updated] + self.deleted


def import_companies(
    source: DirectorySource,
    params: ConnectParams,
    tables: TableMapping,
    companies: Sequence[str],
    options: Optional[ImportOptions] = None,
    *,
    all_or_nothing: bool = False,
    progress: Optional[Progress] = None,
) -> ImportReport:
    """Make the tables equal to the files for ``companies``. Errors of single companies land in the report.

    With ``all_or_nothing`` one such error rolls back every company.
    """
    options = options or ImportOptions()
    progress = progress or Silent()
    started = time.monotonic()
    report = ImportReport(params.where)
    with session(params, operation="import sessions") as (connection, deadline):
        connection.set_session(isolation_level="REPEATABLE READ")
        with connection.cursor() as cursor:
            check_tables(cursor, tables, params.where)
            _check_writable(cursor, params.where)
            importer = _Importer(
                cursor, PostgresSnapshot(cursor, deadline, tables, _info(params), ""), tables, source, options
            )
            for company in companies:
                _import_in_savepoint(cursor, importer, company, report)
                progress.note("imported", company=company)
        if options.dry_run or (all_or_nothing and report.failed):
            connection.rollback()
        else:
            connection.commit()
    report.duration_seconds = time.monotonic() - started
    return report


def _info(params: ConnectParams) -> SourceInfo:
    return SourceInfo("primary", params.where, "")


def _check_writable(cursor: Any, where: str) -> None:
    cursor.execute("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
    if cursor.fetchone()[0]:
        raise ReadOnly(
            "the server takes no writes",
            operation="import sessions",
            subject=where,
            hint="connect to the primary, or end its read-only mode",
        )


def _import_in_savepoint(cursor: Any, importer: _Importer, company: str, report: ImportReport) -> None:
    cursor.execute("SAVEPOINT company")
    try:
        with translated("import company", company):
            report.imported.append(importer.run(company))
    except (*OF_ONE_COMPANY, Conflict) as exc:
        cursor.execute("ROLLBACK TO SAVEPOINT company")
        report.failed[company] = exc
    cursor.execute("RELEASE SAVEPOINT company")


class _Importer:
    def __init__(
        self, cursor: Any, rows: PostgresSnapshot, tables: TableMapping, source: DirectorySource, options: ImportOptions
    ) -> None:
        self._cursor = cursor
        self._rows = rows
        self._writer = TableWriter(cursor, tables)
        self._source = source
        self._options = options
        self._guard = ImportGuard(cursor, source, options)

    def run(self, company: str) -> CompanyImport:
        content, creds = self._read_creds(company)
        present = self._lock_and_read_creds(company)
        rows = self._read_rows(company)
        result = CompanyImport(company, creds=_creds_change(present, content))
        overwritten = {_CREDS: present} if present and result.creds == "updated" else {}
        changes = _Changes()
        if rows:
            changes = self._plan(company, rows, creds)
            overwritten.update({name: rows[name] for name in changes.overwritten()})
        if changes or not rows or result.creds != "unchanged":
            self._guard.check(company, overwritten)
        if result.creds != "unchanged":
            self._writer.write_creds(company, content, insert=present is None)
        if not rows:
            changes.wanted = self._fill(company, creds, result)
        else:
            self._write(company, changes, result)
        if result.changed:
            self._read_back(company, sha256(content), changes.wanted)
            self._remember(company, content, changes, everything=not rows)
        return result

    def _remember(self, company: str, content: bytes, changes: _Changes, *, everything: bool) -> None:
        if self._options.imported is None or self._options.dry_run:
            return
        written = {(key.type, key.id): key.sha256 for key in (*changes.added, *changes.updated)}
        self._options.imported.remember(
            company, {**(changes.wanted if everything else written), _CREDS: sha256(content)}
        )

    def _read_creds(self, company: str) -> Tuple[bytes, Dict[str, Any]]:
        raw = self._source.creds(company)
        if raw is None:
            raise CredsInvalid(
                "there is no creds.json",
                operation="import company",
                subject=company,
                hint="nothing is imported: without creds the keys are of no use",
            )
        return encode_creds(raw.value, company=company)

    def _lock_and_read_creds(self, company: str) -> Optional[Row]:
        """What PostgreSQL holds, locked against a second writer; None without a row."""
        self._writer.lock(company)
        return self._creds_row(company)

    def _creds_row(self, company: str) -> Optional[Row]:
        raw = self._rows.creds(company)
        if raw is None:
            return None
        try:
            return Row(sha256(encode_creds(raw.value, company=company)[0]), raw.updated_at)
        except CredsInvalid:
            return Row(None, raw.updated_at)

    def _read_rows(self, company: str) -> Dict[KeyName, Row]:
        rows: Dict[KeyName, Row] = {}

        def see(key: RawKey) -> None:
            try:
                digest: Optional[str] = sha256(encode_key(key.type, key.id, key.value, company=company))
            except KeyUndecodable:
                digest = None
            rows[key.type, key.id] = Row(digest, key.updated_at)

        self._rows.stream_keys(company, see)
        return rows

    def _fill(self, company: str, creds: Dict[str, Any], result: CompanyImport) -> Dict[KeyName, str]:
        """Into a company without keys: each goes into COPY as it is read, so that the server works meanwhile."""
        wanted: Dict[KeyName, str] = {}
        audit = CredsAudit(creds)

        def keys() -> Iterator[CanonicalKey]:
            for key in self._source.canonical_keys(company):
                wanted[key.type, key.id] = key.sha256
                audit.see(key.type, key.id)
                yield key

        self._writer.add(company, keys())
        _refuse_problems(company, audit)
        result.added = _by_type(wanted)
        return wanted

    def _write(self, company: str, changes: _Changes, result: CompanyImport) -> None:
        if changes.added:
            self._writer.add(company, changes.added)
        self._writer.update(company, changes.updated)
        self._writer.delete(company, changes.deleted)
        result.added = _by_type((key.type, key.id) for key in changes.added)
        result.updated = _by_type((key.type, key.id) for key in changes.updated)
        result.deleted = _by_type(changes.deleted)
        result.unchanged = changes.unchanged

    def _plan(self, company: str, rows: Dict[KeyName, Row], creds: Dict[str, Any]) -> _Changes:
        changes = _Changes()
        audit = CredsAudit(creds)
        for key in self._source.canonical_keys(company):
            name = (key.type, key.id)
            changes.wanted[name] = key.sha256
            audit.see(key.type, key.id)
            row = rows.get(name)
            if row is None:
                changes.added.append(key)
            elif row.sha256 != key.sha256:
                changes.updated.append(key)
            else:
                changes.unchanged += 1
        changes.deleted = [name for name in rows if name not in changes.wanted]
        _refuse_problems(company, audit)
        return changes

    def _read_back(self, company: str, creds_sha256: str, wanted: Dict[KeyName, str]) -> None:
        """Compare the rows with the files before they are committed. Creds are read again always. Keys are only
        counted where nothing in the tables could change a row on its way; whoever wants every key compared afterwards
        has session_verify.
        """
        self._writer.fire_deferred_triggers()
        creds = self._creds_row(company)
        actual = {_CREDS: creds.sha256 or ""} if creds else {}
        counted = self._rows.count_keys_of(company) == _by_type(wanted)
        if self._writer.stores_as_sent and counted:
            actual.update(wanted)
        else:
            actual.update({name: row.sha256 or "" for name, row in self._read_rows(company).items()})
        difference = compare({_CREDS: creds_sha256, **wanted}, actual)
        if difference or not counted:
            found = difference.summary() if difference else "some keys have more than one row"
            raise VerificationFailed(
                f"after the import the table is not equal to the files: {found}",
                operation="import company",
                subject=company,
                hint="a trigger or rule changes the rows, or the table lacks its primary key; nothing was imported",
            )


def _creds_change(present: Optional[Row], content: bytes) -> str:
    if present is None:
        return "added"
    return "unchanged" if present.sha256 == sha256(content) else "updated"


def _by_type(names: Iterable[KeyName]) -> Dict[str, int]:
    return dict(Counter(key_type for key_type, _id in names))


def _refuse_problems(company: str, audit: CredsAudit) -> None:
    problems = audit.problems()
    if problems:
        raise CredsInvalid(
            "; ".join(problems),
            operation="import company",
            subject=company,
            hint="these files are not a whole session: repair them, or import an older copy"
            " (baileys-resilience copies)",
        )
