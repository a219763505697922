# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The steps of the emergency failover: PostgreSQL -> files.

The slow and doubtful part comes before the application is touched: a copy of every session is written beside its
place and loaded by the real Baileys while the service still runs. After the stop only what changed meanwhile is
written again, then renamed into place.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..errors import DatabaseError, NoSpace, StepFailed, VerificationFailed
from ..files import translate_os_error
from ..sessions.manifest import MANIFEST_FILE, read_manifest
from ..sessions.record import FILES
from ..sessions.verify import verify_directory
from ..steps.engine import Notes, Result, Step
from .code import check_prepared
from .common_steps import (
    RecordStore,
    StartApplication,
    StopApplication,
    SwitchCode,
    SwitchEnv,
    VerifyConnection,
    preflight_service,
)
from .context import FailoverContext
from .envfile import EnvFile
from .judgement import refuse_contradictions, unusable_places, use_owner_of_service
from .settings import FailoverSettings
from .sources import MIRROR, PRIMARY, SourceReport, assess_sources, bring_mirror_up_to_date, choose
from .staging import Staged, content_digest, discard_staging, first_error, prove_by_baileys, stage_companies

#: room for the copy, the copy it replaces, and what Baileys adds: blocks a file, and inodes
_BYTES_A_KEY = 8192
_SPARE_BYTES = 64 * 1024 * 1024


class Preflight(Step[FailoverContext]):
    """Everything that can be known to be wrong before anything is touched."""

    name = "preflight"
    title = "check what the failover needs"
    budget_seconds = 30.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        return preflight(context)

    def undo(self, context: FailoverContext, result: Result) -> None:
        discard_staging(context)


def preflight(context: FailoverContext) -> Result:
    """The checks themselves, also made daily by ``baileys-resilience check``; returns the service and sessions as
    they are.
    """
    settings = context.settings
    EnvFile(settings.application.env_path).check_writable()
    unusable = unusable_places(context)
    found = preflight_service(context)
    if context.switches_code:
        check_prepared(settings)
        context.code.check_parking()
        _check_parent_writable(settings.application.directory)
    refuse_contradictions(context, found)
    use_owner_of_service(context, found)
    # Last, because it makes directories: what is refused above has changed nothing.
    context.home.prepare()
    return {**found, "unusable": unusable}


def _check_parent_writable(place: Path) -> None:
    if not os.access(place.parent, os.W_OK):
        raise translate_os_error(PermissionError(13, "is not writable"), "switch code", place.parent)


class ChooseSource(Step[FailoverContext]):
    name = "choose_source"
    title = "choose the freshest whole source of each company"
    budget_seconds = 60.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = context.moving()
        reports = assess_sources(context.settings, companies, refresh_mirror=True)
        chosen = choose(context.settings, reports, companies)
        if not any(chosen.values()):
            raise StepFailed(
                "no source has a whole copy of any company",
                operation="choose source",
                subject=context.settings.host,
                hint="nothing was touched; see the plan, restore from a backup, or pin a source with failover_source",
            )
        _check_space(context, reports)
        return {"sources": [report.as_dict() for report in reports], "chosen": chosen}


def _check_space(context: FailoverContext, reports: List[SourceReport]) -> None:
    keys = max((sum(offer.keys for offer in report.offers.values()) for report in reports), default=0)
    status = os.statvfs(context.home.path)
    needed = keys * _BYTES_A_KEY + _SPARE_BYTES
    free = status.f_bavail * status.f_frsize
    if free < needed or (status.f_files and status.f_favail < keys * 2):
        raise NoSpace(
            f"free: {free // 2**20} MiB, {status.f_favail} inodes; needed: {needed // 2**20} MiB, {keys * 2} inodes",
            operation="check space",
            subject=str(context.home.path),
            hint="free space there; nothing was touched",
        )


class Stage(Step[FailoverContext]):
    name = "stage"
    title = "write and prove a copy of every session beside its place"
    budget_seconds = 300.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        staged = stage_companies(context, context.result("choose_source")["chosen"])
        proof = prove_by_baileys(context, context.staging_home(), sorted(staged.sessions))
        for company, reason in proof["failed"].items():
            staged.sessions.pop(company, None)
            staged.failed[company] = reason
        if not staged.sessions:
            raise StepFailed(
                f"no company could be exported ({first_error(staged.failed)})",
                operation="stage",
                subject=context.settings.host,
                hint="nothing was touched; see the plan for other sources",
            )
        return {**staged.as_dict(), "proof": proof}

    def holds(self, context: FailoverContext, result: Result) -> bool:
        home = context.staging_home()
        after = context.state().done("export")
        return after or all(home.manifest(company).exists() for company in result["sessions"])

    def undo(self, context: FailoverContext, result: Result) -> None:
        discard_staging(context)


class Export(Step[FailoverContext]):
    """The application is stopped, so what the source holds now is final: take over what changed since the staging,
    then swap in.
    """

    name = "export"
    title = "put the copies in their places"
    budget_seconds = 300.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        staged = Staged.from_dict(context.result("stage"))
        earlier = context.result_or_empty("export")
        staged.sessions.update(Staged.from_dict(earlier).sessions)
        pending = [company for company in staged.sessions if context.staging_home().manifest(company).exists()]
        note = self._catch_up(context, staged, pending)
        keep = earlier.get("keep") or {c: self._keep_as(context, c) for c in staged.sessions}
        aside = earlier.get("aside") or {c: self._keep_as(context, c) for c in _left_behind(context, staged)}
        notes.keep(**staged.as_dict(), keep=keep, aside=aside)
        with context.home.locked():
            for company, target in aside.items():
                _move(context, context.home.directory(company), Path(target))
            for company, session in staged.sessions.items():
                self._swap(context, company, session.manifest_sha256, Path(keep[company]))
        return {**staged.as_dict(), "keep": keep, "aside": aside, "catch_up": note}

    def _keep_as(self, context: FailoverContext, company: str) -> str:
        # A name that ends with a time ends too, a week later; files that are not ours stay until somebody looks.
        foreign = company in context.result_or_empty("preflight").get("unusable", {})
        end = "foreign-files" if foreign else time.time_ns()
        name = f"{context.home.directory(company).name}.{context.run_id}.{end}"
        return str(context.home.private / "previous" / name)

    def _catch_up(self, context: FailoverContext, staged: Staged, pending: List[str]) -> str:
        """Stage again from sources that still live. When they no longer answer, what was staged and proven is the
        freshest there is.
        """
        chosen = context.result("choose_source")
        if not any(report["kind"] == PRIMARY and report["answers"] for report in chosen["sources"]):
            return "the source does not change any more"
        # A mirror of a living database changes too: the application wrote to the database until a moment ago.
        again = {c: [staged.sessions[c].source] for c in pending if staged.sessions[c].source in (PRIMARY, MIRROR)}
        if any(kinds == [MIRROR] for kinds in again.values()):
            bring_mirror_up_to_date(context.settings)
        try:
            fresh = stage_companies(context, again)
        except DatabaseError as exc:
            return f"the source no longer answers ({exc.cause}): the copies staged before the stop are used"
        staged.sessions.update(fresh.sessions)
        return f"{len(fresh.sessions)} companies read again after the stop" + (
            f"; {len(fresh.failed)} as staged before it ({first_error(fresh.failed)})" if fresh.failed else ""
        )

    def _swap(self, context: FailoverContext, company: str, manifest_sha256: str, keep: Path) -> None:
        staged, place = context.staging_home().directory(company), context.home.directory(company)
        if staged.exists():
            context.home.swap_in(company, staged, keep)
        elif not _is_ours(place, manifest_sha256) and _is_ours(keep, manifest_sha256):
            # A crash between the two renames of swap_in: the copy waits under the old one's name.
            context.home.swap_in(company, keep, keep)

    def undo(self, context: FailoverContext, result: Result) -> None:
        sessions = result.get("sessions", {})
        if not sessions:
            return
        # The lock also completes a swap that a crash cut between its two renames.
        with context.home.locked():
            for company, session in sessions.items():
                _take_back(context, company, session["manifest_sha256"], Path(result["keep"][company]))
            for company, target in result.get("aside", {}).items():
                _move(context, Path(target), context.home.directory(company))


def _left_behind(context: FailoverContext, staged: Staged) -> List[str]:
    """Companies of this host that stay in PostgreSQL while an old directory of theirs lies in the home. The code that
    runs from files opens whatever is there: it would log them in from ratchets of long ago.
    """
    record = context.record.all()
    return [
        company
        for company in context.settings.companies
        if company not in staged.sessions
        and context.home.directory(company).exists()
        and not (company in record and record[company].store == FILES)
    ]


def _move(context: FailoverContext, place: Path, target: Path) -> None:
    if place.exists() and not target.exists():
        context.home.rename(place, target)
        context.home.sync(place, target)


def _take_back(context: FailoverContext, company: str, manifest_sha256: str, keep: Path) -> None:
    """Put the replaced directory back. Ours is told from the old one by its manifest, whatever a crash left where."""
    place = context.home.directory(company)
    if not _is_ours(place, manifest_sha256):
        return
    if keep.exists():
        # By way of swap_in, which knows what to do where the file system cannot exchange: then ours is where it was.
        context.home.swap_in(company, keep, keep)
        context.home.remove(keep)
    else:
        context.home.remove(place)


def _is_ours(place: Path, manifest_sha256: str) -> bool:
    try:
        return read_manifest(place / MANIFEST_FILE).sha256 == manifest_sha256
    except VerificationFailed:
        return False


class Verify(Step[FailoverContext]):
    name = "verify"
    title = "verify the files: hashes, creds, and every key loaded by Baileys"
    budget_seconds = 120.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        stage, export = context.result("stage"), context.result("export")
        staged = Staged.from_dict(export)
        for company in staged.sessions:
            verify_directory(context.home.directory(company))
        # The staged copies were renamed, not copied: only what was read again after the stop is new to Baileys.
        proven = {company: each["content"] for company, each in stage["sessions"].items()}
        fresh = [c for c, each in staged.sessions.items() if proven.get(c) != content_digest(context.home.directory(c))]
        proof = prove_by_baileys(context, context.home, fresh)
        if proof["failed"]:
            raise VerificationFailed(
                first_error(proof["failed"]),
                operation="verify files",
                subject=context.settings.sessions_dir,
                hint="Baileys does not load what was written; the run is undone",
            )
        return {
            "companies": sorted(staged.sessions),
            "keys": {company: each.keys for company, each in staged.sessions.items()},
            "failed": staged.failed,
            "proof": {**stage["proof"], "loaded": {**stage["proof"].get("loaded", {}), **proof.get("loaded", {})}},
        }


def failover_steps(settings: FailoverSettings) -> List[Step[FailoverContext]]:
    """The list, in order. Each is one task of the role."""
    deadline = settings.application.health_on("files").deadline_seconds
    return [
        Preflight(),
        ChooseSource(),
        Stage(),
        StopApplication(settings.application.service.stop_seconds),
        Export(),
        Verify(),
        RecordStore(),
        SwitchCode(),
        SwitchEnv(),
        StartApplication(settings.application.service.stop_seconds),
        VerifyConnection(deadline),
    ]


def summary_of_sources(result: Mapping[str, Any]) -> Dict[str, str]:
    """One clause a source, for the report."""
    found = {}
    for report in result.get("sources", []):
        found[report["kind"]] = f"{report['age_seconds']:.0f} s old" if report["answers"] else report["problem"]
    return found
