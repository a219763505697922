# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The steps of the failback: files -> PostgreSQL, with the ratchets that moved while the sessions lived on files.

No emergency drives this, so it is stricter than the failover: when one company cannot be taken over, nothing is,
because its application would go on from rows as old as the failover.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from ..errors import Misconfigured, StepFailed, UsageError, VerificationFailed
from ..sessions.directory_source import DirectorySource
from ..sessions.import_guard import ImportOptions
from ..sessions.importing import CompanyImport, ImportReport, import_companies
from ..sessions.postgres_store import open_snapshot
from ..sessions.verify import compare, inspect_company
from ..steps.engine import Notes, Result, Step
from .client_memory import discard_copies
from .common_steps import (
    RecordStore,
    StartApplication,
    SwitchCode,
    SwitchEnv,
    check_service,
    preflight_service,
)
from .connection_step import VerifyConnection
from .context import FailoverContext
from .readiness import Check, check_env, check_home, check_state, require
from .settings import FailoverSettings
from .sources import bring_mirror_up_to_date
from .staging import first_error
from .stop_step import StopApplication

_REHEARSALS = 3
_BETWEEN_REHEARSALS_SECONDS = 0.2


class FailbackPreflight(Step[FailoverContext]):
    """PostgreSQL answers and takes writes, and a dry run of the import finds nothing that would be refused."""

    name = "preflight"
    title = "check what the failback needs, and rehearse the import"
    budget_seconds = 120.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        require(context, failback_checks(context))
        rehearsal = _rehearse(context)
        return {**preflight_service(context), "rehearsal": _numbers(rehearsal)}


def failback_checks(_context: FailoverContext) -> List[Check]:
    """What costs no time: a run asks this before it begins, too."""
    return [check_env, check_state, _refuse_to_leave_behind, _check_origin, check_home]


def failback_rehearsals(_context: FailoverContext) -> List[Check]:
    """What asks PostgreSQL and starts programs. A run leaves this to its preflight, which does the same a moment
    later.
    """
    return [_rehearse, check_service]


def _check_origin(context: FailoverContext) -> None:
    if context.switches_code and not context.code.origin().is_dir():
        raise Misconfigured(
            "the code that runs on PostgreSQL is not there",
            operation="check code",
            subject=str(context.code.origin()),
            hint="put the application's own directory back, or deploy it anew, then run again",
        )


def _refuse_to_leave_behind(context: FailoverContext) -> None:
    """One application has one store: of a company that is not on the list it would read rows as old as the failover."""
    left = sorted(set(context.on_files()) - set(context.moving()))
    if left:
        raise UsageError(
            f"company {left[0]} lives on files and is not on the list of this failback ({len(left)} such)",
            operation="check companies",
            subject=f"session_companies of {context.settings.host}",
            hint="put it on the list; then, only to give up what it did on files: baileys-resilience store set --to"
            f" postgres --company {left[0]}",
        )


def _rehearse(context: FailoverContext) -> ImportReport:
    """The application still runs, and Baileys rewrites files in place: one that is read in that moment is cut short.
    So a rehearsal that fails is repeated before it counts; the import itself comes after the stop.
    """
    for _attempt in range(_REHEARSALS - 1):
        try:
            return import_sessions(context, list(context.moving()), dry_run=True)
        except StepFailed:
            time.sleep(_BETWEEN_REHEARSALS_SECONDS)
    return import_sessions(context, list(context.moving()), dry_run=True)


def import_sessions(context: FailoverContext, companies: List[str], *, dry_run: bool) -> ImportReport:
    """One transaction for all companies. Raises StepFailed when any of them cannot be taken over, before it commits."""
    # The files are the store of record since the switch; rows written later were written by a second writer.
    policy = context.settings.policy
    options = ImportOptions(
        record=context.record.all(),
        newer_rows=policy.newer_rows,
        accept_old_copy=policy.accept_data_loss,
        dry_run=dry_run,
        imported=context.imported,
    )
    database, tables = context.settings.database, context.settings.tables
    report = import_companies(_source(context), database, tables, companies, options, all_or_nothing=True)
    if report.failed:
        failed = {company: str(error) for company, error in report.failed.items()}
        raise StepFailed(
            f"{len(failed)} of {len(companies)} companies cannot be taken over ({first_error(failed)})",
            operation="import",
            subject=context.settings.host,
            hint="PostgreSQL is as it was. Mend that company (baileys-resilience copies lists older ones); to give up"
            " what it did on files: baileys-resilience store set --to postgres --company",
        )
    return report


def _source(context: FailoverContext) -> DirectorySource:
    return DirectorySource(context.home)


def _numbers(report: ImportReport) -> Dict[str, Any]:
    return {each.company: _company_numbers(each) for each in report.imported}


def _company_numbers(each: CompanyImport) -> Dict[str, Any]:
    return {
        "added": each.added,
        "updated": each.updated,
        "deleted": each.deleted,
        "unchanged": each.unchanged,
        "creds": each.creds,
    }


class Import(Step[FailoverContext]):
    """Safe to repeat: what is equal is not written again. Undoing needs nothing, since the files stay the store of
    record until recorded, and the next import knows the rows of this one.
    """

    name = "import"
    title = "import every session into PostgreSQL in one transaction"
    budget_seconds = 300.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return result.get("of_stop") == _stop_of(context)

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        report = import_sessions(context, list(context.moving()), dry_run=False)
        numbers = {"companies": _numbers(report), "duration_seconds": round(report.duration_seconds, 3)}
        return {**numbers, "of_stop": _stop_of(context)}


def _stop_of(context: FailoverContext) -> Dict[str, Any]:
    """The holds behind which the files were read: a client that was let go meanwhile has written to them since."""
    return dict(context.result("stop").get("drained", {}))


class VerifyImport(Step[FailoverContext]):
    name = "verify"
    title = "verify that PostgreSQL equals the files, key by key"
    budget_seconds = 120.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        return result.get("of_stop") == _stop_of(context)

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = list(context.moving())
        keys: Dict[str, int] = {}
        counts: Dict[str, Dict[str, int]] = {}
        with open_snapshot(context.settings.database, context.settings.tables) as snapshot:
            for company in companies:
                files = inspect_company(_source(context), company)
                rows = inspect_company(snapshot, company)
                difference = compare(files.digests, rows.digests)
                if difference or rows.problems:
                    raise VerificationFailed(
                        f"company {company}: {difference.summary() if difference else rows.problems[0]}",
                        operation="verify import",
                        subject=context.settings.database.where,
                        hint="somebody else writes these rows: stop that writer, then run again",
                    )
                keys[company], counts[company] = rows.keys, dict(rows.counts)
        verified = {"companies": companies, "keys": keys, "counts": counts, "failed": {}}
        return {**verified, "of_stop": _stop_of(context)}


class ArchiveFiles(Step[FailoverContext]):
    """The files stay as an archive, out of the place where an application would find them. After the point of no
    return.
    """

    name = "archive_files"
    title = "keep the files as an archive"
    budget_seconds = 60.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        archived: Dict[str, str] = {}
        connected = set(context.result("verify_connection")["connected"]) | set(
            context.result("verify_connection")["excused"]
        )
        with context.home.locked():
            for company in context.result("verify")["companies"]:
                context.imported.forget(company)
                place = context.home.directory(company)
                if company in connected and place.exists():
                    target = context.home.private / "previous" / f"{place.name}.{context.run_id}.{time.time_ns()}"
                    context.home.rename(place, target)
                    archived[company] = str(target)
            context.home.sync(context.home.private)  # which lies in the home, as the places did
            context.home.expire_previous()
        discard_copies(context.settings.client_dir, list(context.result("stop").get("drained", {})))
        if context.settings.mirror_dir:
            # The mirror's copies are of before the failover: without a scan now, a database that dies again at once
            # would leave nothing to fail over to.
            bring_mirror_up_to_date(context.settings)
        return {"archived": archived}


def failback_steps(settings: FailoverSettings) -> List[Step[FailoverContext]]:
    """The list, in order. Each is one task of the role."""
    return [
        FailbackPreflight(),
        StopApplication(settings.application.service.stop_seconds),
        Import(),
        VerifyImport(),
        RecordStore(),
        SwitchCode(),
        SwitchEnv(),
        StartApplication(settings.application.service.stop_seconds),
        VerifyConnection(settings.application.health.deadline_seconds),
        ArchiveFiles(),
    ]
