# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The steps of the emergency failover: PostgreSQL -> files.

The slow and doubtful part comes before the application is touched: a copy of every session is written beside its
place and loaded by the real Baileys while the service still runs. After the stop only what changed meanwhile is
written again, then renamed into place.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..errors import StepFailed, VerificationFailed
from ..sessions.codec import CREDS_FILE
from ..sessions.manifest import MANIFEST_FILE, read_manifest
from ..sessions.verify import verify_directory
from ..steps.engine import Notes, Result, Step
from .catch_up import catch_up, take_over
from .client_memory import discard_copies
from .client_source import remember_written
from .common_steps import (
    RecordStore,
    StartApplication,
    SwitchCode,
    SwitchEnv,
    preflight_service,
)
from .connection_step import VerifyConnection
from .context import FailoverContext
from .judgement import refuse_contradictions, unusable_places, use_owner_of_service
from .plan import silent_in_plan
from .readiness import check_space, failover_checks, require
from .settings import FailoverSettings
from .source_reports import CLIENT
from .sources import assess_sources, choose, pinned, refuse_doubtful_client, require_any
from .staging import Staged, StagedSession, discard_staging, first_error, prove_by_baileys, stage_companies
from .stop_step import StopApplication


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
    """Raise the first thing that is wrong; returns the service and sessions as they are."""
    require(context, failover_checks(context))
    unusable = unusable_places(context)
    found = preflight_service(context)
    refuse_contradictions(context, found)
    use_owner_of_service(context, found)
    # Last, because it makes directories: what is refused above has changed nothing.
    context.home.prepare()
    return {**found, "unusable": unusable}


class ChooseSource(Step[FailoverContext]):
    name = "choose_source"
    title = "choose the freshest whole source of each company"
    budget_seconds = 60.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        companies = context.moving()
        silent = silent_in_plan(context.run_directory)
        reports = assess_sources(context.settings, companies, refresh_mirror=True, silent=silent)
        if context.live:
            refuse_doubtful_client(reports, companies)
        # A session that moves while it runs is what its client has in memory.
        chosen = choose(pinned(context.settings, CLIENT) if context.live else context.settings, reports, companies)
        require_any(context.settings, chosen, reports)
        check_space(context, reports)
        return {"sources": [report.as_dict() for report in reports], "chosen": chosen}

    def holds(self, context: FailoverContext, result: Result) -> bool:
        # A run that was cut off before the stop may be resumed hours later: what was fresh then is not fresh now.
        return "stop" in context.state().started


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
        if context.may_restart_instead and staged.failed:
            # A restart may have another source for it.
            raise StepFailed(
                first_error(staged.failed),
                operation="stage",
                subject=context.settings.host,
                hint="nothing was touched",
            )
        return {**staged.as_dict(), "proof": proof}

    def holds(self, context: FailoverContext, result: Result) -> bool:
        home = context.staging_home()
        started = context.state().started
        # The first of several swaps has moved its copy away, and the export knows how to go on from there.
        if "export" in started:
            return True
        return "stop" in started and all(home.manifest(company).exists() for company in result["sessions"])

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
        if context.live:
            _withdraw_earlier_holds(context, earlier)
        proof, problems = dict(earlier.get("proof", {})), dict(earlier.get("problems", {}))
        pending = _pending(context, staged, Staged.from_dict(earlier))
        caught = catch_up(context, pending)
        staged.sessions.update(caught.sessions)
        proof.update(caught.proof.get("loaded", {}))
        problems.update(caught.problems)
        keep = earlier.get("keep") or {c: self._keep_as(context, c) for c in staged.sessions}
        aside = earlier.get("aside") or {c: self._keep_as(context, c) for c in _left_behind(context, staged)}
        result = {**staged.as_dict(), "keep": keep, "aside": aside, "problems": problems, "proof": proof}
        notes.keep(**result)
        if context.settings.client_dir:
            remember_written(context.settings, context.imported, sorted(staged.sessions))
        with context.home.locked():
            take_over(context, caught)
            for company, target in aside.items():
                _move(context, context.home.directory(company), Path(target))
            for company, session in staged.sessions.items():
                self._swap(context, company, session.manifest_sha256, Path(keep[company]))
        drained = dict(context.result("stop").get("drained", {}))
        discard_copies(context.settings.client_dir, list(drained))
        return {**result, "catch_up": caught.note, "drained": drained}

    def holds(self, context: FailoverContext, result: Result) -> bool:
        """Not where the client was let go meanwhile, and made another last copy since."""
        return bool(result.get("drained", {}) == context.result("stop").get("drained", {}))

    def _keep_as(self, context: FailoverContext, company: str) -> str:
        # A name that ends with a time ends too, a week later; files that are not ours stay until somebody looks.
        foreign = company in context.result_or_empty("preflight").get("unusable", {})
        end = "foreign-files" if foreign else time.time_ns()
        name = f"{context.home.directory(company).name}.{context.run_id}.{end}"
        return str(context.home.private / "previous" / name)

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
    """Companies that stay where they are while an old directory of theirs lies in the home: of this host, of another
    host's list, or of no list any more. The code that runs from files opens whatever is there: it would log them in
    from ratchets of long ago, beside the writer that they have.
    """
    live = {*staged.sessions, *context.on_files()}
    listed = context.settings.companies
    return [
        company
        for company in context.home.companies()
        if company not in live and (company in listed or _holds_a_session(context, company))
    ]


def _holds_a_session(context: FailoverContext, company: str) -> bool:
    """With a template that is nothing but the id, any directory of the home looks like a company."""
    return (context.home.path / context.home.template.format(company_id=company) / CREDS_FILE).exists()


def _pending(context: FailoverContext, staged: Staged, earlier: Staged) -> Dict[str, StagedSession]:
    """The companies that are not swapped in yet. A run that was cut off here may have left the fresh copy of the
    earlier attempt or the one staged before it: ``staged`` is made to say which.
    """
    pending = {}
    for company, session in {**staged.sessions, **earlier.sessions}.items():
        copy = context.staging_home().directory(company)
        if company in staged.sessions and _is_ours(copy, staged.sessions[company].manifest_sha256):
            session = staged.sessions[company]
        staged.sessions[company] = session
        if copy.exists():
            pending[company] = session
    return pending


def _withdraw_earlier_holds(context: FailoverContext, earlier: Mapping[str, Any]) -> None:
    """A session that was let go and held anew has written since, so its copy leaves the place again and what was there
    before returns. It is kept where it was staged: only what has changed is written again.
    """
    with context.home.locked():
        for company, session in Staged.from_dict(earlier).sessions.items():
            if session.snapshot_at != _held_copy(context, company).get("snapshot_at"):
                _withdraw(context, company, session.manifest_sha256, Path(earlier["keep"][company]))


def _withdraw(context: FailoverContext, company: str, manifest_sha256: str, keep: Path) -> None:
    place, staged = context.home.directory(company), context.staging_home().directory(company)
    if _is_ours(place, manifest_sha256) and keep.exists():
        context.home.swap_in(company, keep, keep)
    # Where nothing was there before, or a crash came behind that swap, it lies in the one or the other.
    ours = next((each for each in (keep, place) if _is_ours(each, manifest_sha256)), None)
    if ours is not None:
        context.home.make_run_directory(staged.parent)
        context.home.remove(staged)
        context.home.rename(ours, staged)
        context.home.sync(ours, staged)


def _held_copy(context: FailoverContext, company: str) -> Mapping[str, Any]:
    copy: Mapping[str, Any] = context.result("stop").get("drained", {}).get(company, {})
    return copy


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


def _refuse_copy_before_hold(context: FailoverContext, session: StagedSession) -> None:
    """A session that moves while it runs has to be what its client held, and no copy of a moment before."""
    held = _held_copy(context, session.company)
    if context.live and (session.source != CLIENT or session.snapshot_at != held.get("snapshot_at")):
        raise VerificationFailed(
            f"the copy in its place is of {session.snapshot_at}, and not what its client holds"
            f" ({context.result('export')['problems'].get(session.company, 'no reason was given')})",
            operation="verify company",
            subject=session.company,
            hint="run again; with failover_mode restart the application is restarted instead",
        )


class Verify(Step[FailoverContext]):
    name = "verify"
    title = "verify the files: hashes, creds, and every key loaded by Baileys"
    budget_seconds = 120.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        sessions = Staged.from_dict(context.result("export")).sessions
        return bool(result.get("manifests") == {company: each.manifest_sha256 for company, each in sessions.items()})

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        stage, export = context.result("stage"), context.result("export")
        staged = Staged.from_dict(export)
        for company, session in staged.sessions.items():
            verify_directory(context.home.directory(company))
            _refuse_copy_before_hold(context, session)
        return {
            "manifests": {company: each.manifest_sha256 for company, each in staged.sessions.items()},
            "companies": sorted(staged.sessions),
            "keys": {company: each.keys for company, each in staged.sessions.items()},
            "failed": {**staged.failed, **export["problems"]},
            # What was loaded was renamed since, not copied.
            "proof": {**stage["proof"], "loaded": {**stage["proof"].get("loaded", {}), **export["proof"]}},
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
