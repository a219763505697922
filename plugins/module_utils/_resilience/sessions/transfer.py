# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Export from PostgreSQL as one operation: choose companies, guard live files, plan or run.

The plan reads what the run would read and compares it with what is in place; it writes nothing at all.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ContextManager, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..errors import (
    CredsInvalid,
    NameCollision,
    NotWritable,
    ResilienceError,
    StoreError,
    UsageError,
)
from ..postgres import ConnectParams
from ..progress import Progress
from .changes import Changes, PlaceComparison, changes_between
from .codec import short_id
from .creds import paired_user
from .directory_store import SessionsHome
from .export import (
    OF_ONE_COMPANY,
    CompanyExport,
    ExportReport,
    encode_company,
    export_companies,
    export_in_processes,
)
from .manifest import Entry, Totals
from .model import SessionSource, TableMapping
from .postgres_store import PostgresSnapshot, open_snapshot
from .record import FILES, StoreRecord


@dataclass(frozen=True)
class ExportRequest:
    """What to export where. ``companies`` None means all; ``record`` keeps us off files that are the live session."""

    params: ConnectParams
    tables: TableMapping
    home: SessionsHome
    companies: Optional[Sequence[str]] = None
    jobs: int = 1
    record: Optional[StoreRecord] = None


@dataclass
class ExportOutcome:
    """``changes`` is filled by a plan, and by a run that was asked for them."""

    report: ExportReport
    changes: Dict[str, Changes] = field(default_factory=dict)


def run_export(
    request: ExportRequest, *, with_changes: bool = False, progress: Optional[Progress] = None
) -> ExportOutcome:
    """Export. Errors of single companies are in the report; errors of the database or the home are raised."""
    epochs = _epochs(request)
    with open_snapshot(request.params, request.tables, epochs=epochs) as snapshot:
        companies, failed = _choose(snapshot, request)
        report = _export(request, snapshot, companies, epochs, progress)
    report.failed.update(failed)
    outcome = ExportOutcome(report)
    if with_changes:
        for each in report.exported:
            before = each.previous if each.changed else each.directory
            outcome.changes[each.company] = changes_between(before, each.directory)
    return outcome


def plan_export(request: ExportRequest) -> ExportOutcome:
    """What :func:`run_export` would do, without writing. Its ``manifest_sha256`` are empty."""
    started = time.monotonic()
    _check_writable(request.home.path)
    with open_snapshot(request.params, request.tables) as snapshot:
        companies, failed = _choose(snapshot, request)
        outcome = ExportOutcome(ExportReport(snapshot.info))
        outcome.report.failed.update(failed)
        for company in companies:
            try:
                planned, changes = _plan_company(snapshot, request.home, company)
                outcome.report.exported.append(planned)
                outcome.changes[company] = changes
            except OF_ONE_COMPANY as exc:
                outcome.report.failed[company] = exc
    outcome.report.duration_seconds = time.monotonic() - started
    return outcome


def _epochs(request: ExportRequest) -> Dict[str, int]:
    return request.record.epochs_of_rows() if request.record else {}


def _export(
    request: ExportRequest,
    snapshot: PostgresSnapshot,
    companies: Sequence[str],
    epochs: Mapping[str, int],
    progress: Optional[Progress],
) -> ExportReport:
    jobs = min(request.jobs, len(companies))
    if jobs <= 1:
        return export_companies(snapshot, request.home, companies, progress=progress)

    def open_same() -> ContextManager[SessionSource]:
        return open_snapshot(request.params, request.tables, export_id=snapshot.export_id, epochs=epochs)

    report = export_in_processes(open_same, request.home, companies, jobs, progress=progress)
    report.source = snapshot.info
    return report


def _choose(snapshot: PostgresSnapshot, request: ExportRequest) -> Tuple[List[str], Dict[str, ResilienceError]]:
    """The companies to export, and those that cannot be, with the reason. Company ids that were asked for are taken as
    they are; among all, one whose creds row is gone while its keys are there is an error and not an absence.
    """
    if request.companies is not None:
        wanted = list(request.companies)
    else:
        wanted = sorted({*snapshot.companies(), *snapshot.companies_with_keys()})
    if not wanted:
        raise CredsInvalid(
            f"table {request.tables.auth.table} holds no company",
            operation="export sessions",
            subject=request.params.where,
            hint="nothing is exported; check login_db and session_tables, or use another source (mirror or backup)",
        )
    companies: List[str] = []
    failed: Dict[str, ResilienceError] = {}
    for company in wanted:
        try:
            _refuse_live_files(request, company)
            companies.append(company)
        except UsageError as exc:
            failed[company] = exc
    return companies, failed


def _refuse_live_files(request: ExportRequest, company: str) -> None:
    """A company that lives on files must not be overwritten by its rows, which are older."""
    place = request.home.directory(company)
    entry = request.record.get(company) if request.record else None
    if entry is None or entry.store != FILES:
        return
    recorded = os.path.realpath(entry.place) if entry.place else ""
    if recorded in ("", os.path.realpath(place), os.path.realpath(request.home.path)):
        raise UsageError(
            f"lives on files here since {entry.since}, and PostgreSQL holds an older state",
            operation="export company",
            subject=company,
            hint="fail back first, or name another dest",
        )


def _plan_company(source: SessionSource, home: SessionsHome, company: str) -> Tuple[CompanyExport, Changes]:
    home.check_replaceable(company)
    place = home.directory(company)
    planner = _CompanyPlan(company, place)
    creds = encode_company(source, company, planner.add)
    changes = planner.comparison.finish()
    changed = bool(changes) or not home.manifest(company).exists() or not home.owned(company)
    totals = planner.totals
    user = paired_user(creds)
    return CompanyExport(company, place, totals.counts, totals.keys, totals.bytes, "", user, changed), changes


class _CompanyPlan:
    """Takes the files of one company where a run's CompanyWriter does."""

    def __init__(self, company: str, place: Path) -> None:
        self.comparison = PlaceComparison(place)
        self.totals = Totals()
        self._company = company
        self._names: Set[str] = set()

    def add(
        self, key_type: str, key_id: str, name: str, content: bytes, digest: str, updated_at: Optional[str]
    ) -> None:
        if name in self._names:
            raise NameCollision(
                f"{key_type} {short_id(key_id)} and another key have the same file name",
                operation="export company",
                subject=self._company,
                hint="one of the two rows is not a key of Baileys: delete it, then export again",
            )
        self._names.add(name)
        self.totals.add(Entry(key_type, key_id, name, digest, len(content), updated_at))
        self.comparison.see(key_type, name, digest)


def _check_writable(path: Path) -> None:
    """What a run's first act would find out, without writing."""
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir():
        raise StoreError(
            "is not a directory", operation="make directory", subject=str(path), hint="move the file out of the way"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise NotWritable(
            "no permission",
            operation="write to sessions' home",
            subject=str(path),
            hint="check owner, mode and mount, or run as root",
        )
