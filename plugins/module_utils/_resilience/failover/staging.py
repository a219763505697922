# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Proven copies beside the sessions' places: written, durable, read back, and loaded by the real Baileys, before
anything is stopped.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

from ..errors import DatabaseError, StoreError
from ..sessions.codec import sha256
from ..sessions.directory_store import SessionsHome
from ..sessions.export import ExportReport, StagedCompany, stage_batch
from ..sessions.manifest import MANIFEST_FILE, read_manifest
from ..sessions.model import SourceInfo
from .client_memory import Exported
from .context import FailoverContext
from .load_check import run_load_check
from .processes import look_up_user, user_of
from .sources import open_source


@dataclass(frozen=True)
class StagedSession:
    """One company in the run's staging. ``content`` is a digest of what it holds, whatever the order and time of the
    export; ``epoch`` is that of the store that the source is a copy of.
    """

    company: str
    source: str
    snapshot_at: str
    lsn: Optional[str]
    keys: int
    counts: Mapping[str, int]
    bytes: int
    user: Optional[str]
    manifest_sha256: str
    content: str
    epoch: int = 0


@dataclass
class Staged:
    """``failed`` says why a company has no copy; ``gone`` are those of them whose source did not answer."""

    sessions: Dict[str, StagedSession]
    failed: Dict[str, str]
    gone: Set[str] = field(default_factory=set)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "sessions": {company: asdict(each) for company, each in self.sessions.items()},
            "failed": dict(self.failed),
        }

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Staged:
        sessions = {company: StagedSession(**each) for company, each in content.get("sessions", {}).items()}
        return Staged(sessions, dict(content.get("failed", {})))


def stage_companies(
    context: FailoverContext,
    candidates: Mapping[str, Sequence[str]],
    *,
    into: Optional[SessionsHome] = None,
    connect_seconds: Optional[float] = None,
    drained: Optional[Mapping[str, Exported]] = None,
) -> Staged:
    """Write a copy of each company from the first of its sources that gives a whole one. A company without any lands
    in ``failed``.

    ``into`` is the run's staging if not said otherwise; ``connect_seconds`` bounds the wait for a source;
    ``drained`` are last copies that the client has made.
    """
    into = into or context.staging_home()
    reason = "no source has a whole copy that is young enough"
    staged = Staged({}, {company: reason for company, kinds in candidates.items() if not kinds})
    attempt = 0
    waiting = {company: list(kinds) for company, kinds in candidates.items() if kinds}
    while waiting:
        groups: Dict[str, List[str]] = {}
        for company, kinds in waiting.items():
            if attempt < len(kinds):
                groups.setdefault(kinds[attempt], []).append(company)
        if not groups:
            break
        for kind, companies in groups.items():
            _stage_from(context, kind, companies, staged, into, connect_seconds, drained)
        waiting = {company: kinds for company, kinds in waiting.items() if company not in staged.sessions}
        attempt += 1
    return staged


def _stage_from(
    context: FailoverContext,
    kind: str,
    companies: Sequence[str],
    staged: Staged,
    into: SessionsHome,
    connect_seconds: Optional[float],
    drained: Optional[Mapping[str, Exported]],
) -> None:
    opened = open_source(context.settings, kind, connect_seconds=connect_seconds, drained=drained)
    try:
        with opened as source, context.home.locked():
            report = ExportReport(source.info)
            before = partial(_staged_before, context)
            for each in stage_batch(source, context.home, companies, report, before):
                staged.sessions[each.company] = _keep(context, each, source.info_of(each.company), kind, into)
                staged.failed.pop(each.company, None)
                staged.gone.discard(each.company)
    except DatabaseError as exc:
        # The source went away under us: the next candidate may still be there.
        for company in companies:
            if company not in staged.sessions:
                staged.failed[company] = str(exc)
                staged.gone.add(company)
        return
    for company, error in report.failed.items():
        staged.failed[company] = str(error)
        staged.gone.discard(company)


def _staged_before(context: FailoverContext, company: str) -> Optional[Path]:
    """What this run has staged already: after the stop, only what changed since is written."""
    home = context.staging_home()
    return home.directory(company) if home.manifest(company).exists() else None


def _keep(
    context: FailoverContext, each: StagedCompany, info: SourceInfo, kind: str, into: SessionsHome
) -> StagedSession:
    """Move a staged company into the run's own directories, where no other export cleans up."""
    target = into.directory(each.company)
    context.home.make_run_directory(target.parent)
    if target.exists() and context.home.exchange(each.path, target):
        # No moment without a copy: the source may be dead by now, and a crash here must not cost the one that was
        # proven.
        context.home.remove(each.path)
    else:
        context.home.remove(target)
        context.home.rename(each.path, target)
    context.home.sync(target)
    totals = each.totals
    return StagedSession(
        each.company,
        kind,
        info.snapshot_at,
        info.lsn,
        totals.keys,
        totals.counts,
        totals.bytes,
        each.user,
        each.manifest_sha256,
        content_digest(target),
        each.epoch,
    )


def content_digest(directory: Path) -> str:
    """One SHA256 for what a company's directory was exported as: type, id and hash of every file."""
    manifest = read_manifest(directory / MANIFEST_FILE)
    lines = sorted("\0".join((entry.type, entry.id, entry.sha256)) for entry in manifest.entries())
    return sha256("\n".join(lines).encode("utf-8", "surrogatepass"))


def prove_by_baileys(context: FailoverContext, home: SessionsHome, companies: Sequence[str]) -> Dict[str, Any]:
    """Let the real library load every key. Returns what it says; ``proven`` is False when the check is turned off.

    Companies that it does not load whole are in ``failed`` with the reason.
    """
    settings = context.settings.load_check
    if not settings.script:
        return {"proven": False, "reason": "load_check.script is not set", "failed": {}}
    if not companies:
        return {"proven": True, "failed": {}}
    report = run_load_check(
        settings.node,
        settings.script,
        module_dir(context),
        home,
        companies,
        deadline_seconds=settings.deadline_seconds,
        user=look_up_user(context.settings.application.user) or user_of(home.owner),
    )
    failed = {each.company: "; ".join(each.problems) for each in report.companies if each.problems}
    return {
        "proven": True,
        "baileys": report.baileys,
        "loaded": {e.company: sum(e.counts.values()) for e in report.companies},
        "failed": failed,
    }


def module_dir(context: FailoverContext) -> str:
    """Whose Baileys proves the files: that of the code which will run on them."""
    if context.settings.load_check.module_dir:
        return context.settings.load_check.module_dir
    prepared = context.prepared()
    return prepared.worktree if prepared else str(context.settings.application.directory)


def discard_staging(context: FailoverContext) -> None:
    # What cannot be reached safely is none of ours, and an undo must not end here.
    with contextlib.suppress(StoreError):
        context.home.remove(context.staging_home().path)


def first_error(failed: Mapping[str, str]) -> str:
    company = sorted(failed)[0]
    return f"company {company}: {failed[company]}"
