# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the application wrote between the staging and the stop: read again once it is stopped. First what its client
left on disk, since during an outage nobody else has it.

The staged copies are proven, so a fresh one takes such a place only if it is better beyond doubt: of the same user,
not older, without a loss, and loaded by Baileys. A company whose fresh copy is not goes on with the staged one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Sequence

from .. import files
from ..clock import age_seconds, from_iso
from ..errors import DatabaseError, ResilienceError
from ..postgres import connect_within
from ..sessions.directory_store import SessionsHome
from .client_memory import Exported
from .client_source import assess_journal
from .context import FailoverContext
from .source_reports import CLIENT, JOURNAL, MIRROR, PRIMARY, REPLICA, SourceReport, loss_problem
from .sources import bring_mirror_up_to_date
from .staging import Staged, StagedSession, first_error, prove_by_baileys, stage_companies

#: for a primary that kept silent before the stop: the application is down while we wait for it
_SILENT_SECONDS = 1.0


@dataclass
class CaughtUp:
    """``sessions`` are the fresh copies that are better than the staged ones, in ``home``; ``problems`` say why that of
    another company is not. ``proof`` is Baileys' word on the fresh ones. ``note`` is for the journal.
    """

    home: SessionsHome
    sessions: Dict[str, StagedSession] = field(default_factory=dict)
    problems: Dict[str, str] = field(default_factory=dict)
    proof: Dict[str, Any] = field(default_factory=dict)
    note: str = ""


def catch_up(context: FailoverContext, staged: Mapping[str, StagedSession]) -> CaughtUp:
    """Read the ``staged`` companies again, from the primary wherever that may be.

    The primary is asked also when it did not answer before: perhaps only we could not reach it, since the application
    held every connection it gives. Those are free now, and what the application wrote through them is there.
    """
    caught = CaughtUp(_fresh_home(context))
    context.home.remove(caught.home.path)  # of a run that was cut off here
    read = _read(context, staged, caught.home)
    refused = {company: reason for company, reason in read.failed.items() if company not in read.gone}
    for company, session in read.sessions.items():
        reason = _worse(staged[company], session)
        if reason:
            refused[company] = reason
        else:
            caught.sessions[company] = session
    changed = [c for c, each in caught.sessions.items() if each.content != staged[c].content]
    caught.proof = _prove(context, caught.home, changed)
    refused.update(caught.proof["failed"])
    caught.sessions = {company: each for company, each in caught.sessions.items() if company not in refused}
    caught.problems = {
        company: f"the copy made before the stop is used, without what was written after it: {reason}"
        for company, reason in refused.items()
    }
    for company, copy in context.result("stop").get("drained", {}).items():
        if "error" in copy and company in staged and company not in caught.sessions:
            caught.problems[company] = (
                f"the client made no last copy, what it wrote at the end is lost: {copy['error']}"
            )
    caught.note = _note(caught, read)
    return caught


def _prove(context: FailoverContext, home: SessionsHome, companies: Sequence[str]) -> Dict[str, Any]:
    try:
        return prove_by_baileys(context, home, companies)
    except ResilienceError as exc:
        return {"failed": dict.fromkeys(companies, exc.cause)}


def _note(caught: CaughtUp, read: Staged) -> str:
    said = f"{len(caught.sessions)} companies read again after the stop"
    reasons = {**{company: read.failed[company] for company in read.gone}, **caught.problems}
    return f"{said}; {len(reasons)} as staged before it ({first_error(reasons)})" if reasons else said


def take_over(context: FailoverContext, caught: CaughtUp) -> None:
    """Put the fresh copies in the place of the staged ones. The caller has written down which they are."""
    if not caught.sessions:
        return
    home = context.staging_home()
    for company in caught.sessions:
        fresh, target = caught.home.directory(company), home.directory(company)
        if target.exists() and not context.home.exchange(fresh, target):
            context.home.remove(target)
            context.home.rename(fresh, target)
    files.fsync_directory(home.path)
    # What shares files with the copy that goes live must not outlive it: Baileys writes in place.
    context.home.remove(caught.home.path)


def _fresh_home(context: FailoverContext) -> SessionsHome:
    staging = context.staging_home()
    return SessionsHome(staging.path / ".after-stop", staging.template, staging.owner)


def _read(context: FailoverContext, staged: Mapping[str, StagedSession], home: SessionsHome) -> Staged:
    """From the client's journal, then from the primary; what is not to be had there, from the replica or mirror that it
    was staged from.
    """
    reports = {report["kind"]: report for report in context.result("choose_source")["sources"]}
    left = _drained(context, staged, home)
    _add(left, _left_by_client(context, {c: s for c, s in staged.items() if c not in left.sessions}, reports, home))
    found = _from_databases(
        context, {c: each for c, each in staged.items() if c not in left.sessions}, reports.get(PRIMARY, {}), home
    )
    _add(found, left)
    return found


def _drained(context: FailoverContext, staged: Mapping[str, StagedSession], home: SessionsHome) -> Staged:
    """The last copies that the client made of what it alone had."""
    copies = {
        company: Exported(copy["sha256"], copy["snapshot_at"])
        for company, copy in context.result("stop").get("drained", {}).items()
        if "error" not in copy and company in staged
    }
    return _stage(context, list(copies), CLIENT, home, None, drained=copies)


def _left_by_client(
    context: FailoverContext,
    staged: Mapping[str, StagedSession],
    reports: Mapping[str, Mapping[str, Any]],
    home: SessionsHome,
) -> Staged:
    settings = context.settings
    if not settings.client_dir or settings.policy.source not in ("", JOURNAL):
        return Staged({}, {})
    elapsed = _seconds_since_choice(context)
    others = [
        SourceReport(kind, "", answers=bool(each["answers"]), age_seconds=float(each["age_seconds"]) + elapsed)
        for kind, each in reports.items()
        if kind not in (CLIENT, JOURNAL)  # which know of the same process, and of no database
    ]
    ended_now = [company for company, each in staged.items() if each.source in (CLIENT, JOURNAL)]
    told = reports.get(JOURNAL, {}).get("offers", {})
    # A journal that could not be written while the client ran is not whole now that nobody can say so.
    asked = [company for company in staged if not told.get(company, {}).get("problem")]
    offers = assess_journal(settings, asked, others, ended_now=ended_now).offers
    complete = [company for company, offer in offers.items() if offer.complete]
    found = _stage(context, complete, JOURNAL, home, settings.policy.connect_seconds)
    # Whoever has it besides is asked next, and then it is that one's failure.
    return Staged(found.sessions, {})


def _seconds_since_choice(context: FailoverContext) -> float:
    chosen = [e["at"] for e in context.state().events if e["event"] == "step_done" and e["step"] == "choose_source"]
    return age_seconds(chosen[-1]) if chosen else 0.0


def _from_databases(
    context: FailoverContext,
    staged: Mapping[str, StagedSession],
    primary: Mapping[str, Any],
    home: SessionsHome,
) -> Staged:
    silent = primary.get("silent") and not primary.get("answers")
    seconds = _SILENT_SECONDS if silent else context.settings.policy.connect_seconds
    direct = [company for company, each in staged.items() if _from_primary(context, company, each, primary)]
    found = _stage(context, direct, PRIMARY, home, seconds, excused=not primary.get("answers"))
    dead = bool(found.gone)
    left = {company: each.source for company, each in staged.items() if company in found.gone or company not in direct}
    _add(found, _stage(context, [c for c, kind in left.items() if kind == REPLICA], REPLICA, home, seconds))
    mirrored = [company for company, kind in left.items() if kind == MIRROR]
    if mirrored and not dead and (direct or _answers(context, seconds)):
        # A mirror of a living database changes too: the application wrote to the database until a moment ago.
        bring_mirror_up_to_date(context.settings)
        _add(found, _stage(context, mirrored, MIRROR, home, seconds))
    return found


def _stage(
    context: FailoverContext,
    companies: Sequence[str],
    kind: str,
    home: SessionsHome,
    seconds: Optional[float],
    *,
    excused: bool = False,
    drained: Optional[Mapping[str, Exported]] = None,
) -> Staged:
    """What stands against the whole source is told of each of its companies; not of one that is ``excused``, since the
    plan has said already that it cannot be used.
    """
    try:
        candidates = {c: [kind] for c in companies}
        return stage_companies(context, candidates, into=home, connect_seconds=seconds, drained=drained)
    except (ResilienceError, OSError) as exc:
        return Staged({}, {company: str(exc) for company in companies}, set(companies if excused else ()))


def _add(found: Staged, more: Staged) -> None:
    found.sessions.update(more.sessions)
    found.failed.update(more.failed)
    found.gone = (found.gone - set(more.sessions) - set(more.failed)) | more.gone
    for company in more.sessions:
        found.failed.pop(company, None)


def _from_primary(
    context: FailoverContext, company: str, session: StagedSession, primary: Mapping[str, object]
) -> bool:
    """Not where another source is pinned, and not where the primary has answered and was not whole."""
    if session.source in (PRIMARY, JOURNAL, CLIENT):
        return True  # a journal that is gone was replayed there
    return not context.settings.policy.source and not primary.get("answers")


def _answers(context: FailoverContext, seconds: float) -> bool:
    try:
        connect_within(context.settings.database, seconds, operation="ask primary").close()
    except DatabaseError:
        return False
    return True


def _worse(staged: StagedSession, fresh: StagedSession) -> str:
    """Why the fresh copy must not replace the one that was staged and proven; empty when it may."""
    if fresh.user != staged.user:
        return "the creds are not of the same user any more"
    # Whether what the client has is the newest was judged already, and not by two clocks.
    if fresh.source not in (CLIENT, JOURNAL) and from_iso(fresh.snapshot_at) < from_iso(staged.snapshot_at):
        return f"what answers now is of {fresh.snapshot_at}, older than the copy staged"
    return loss_problem(staged.counts, fresh.counts, held="")
