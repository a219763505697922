# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Where a company's session can come from at failover: each source with whether it answers, how old it is, and
whether it is whole.

Order: the client's journal, where an outage left one; the primary, when it answers and is whole; then the others, the
youngest first. A source that answers can still be the wrong one: rows may have been deleted or overwritten in the
primary while the mirror still has them. So each company is judged by itself.

A database that keeps silent costs the whole patience of the policy. Within one run that is paid once: where the plan
met silence a moment ago, the step asks whether anybody answers at all, for ``_AGAIN_SECONDS``. Who answers then is
read like any other, so that a database which has come back is seen.
"""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..errors import DeadlineExceeded, ResilienceError, SourceTooOld, StepFailed, Unavailable
from ..postgres import ConnectParams, answers_within
from ..progress import Silent
from ..sessions.model import SessionSource
from ..sessions.postgres_store import open_snapshot
from ..sessions.record import StoreRecord
from .client_memory import ClientMemory, Exported, assess_client
from .client_source import assess_journal, client_files
from .mirror import CompanyState, open_mirror
from .mirror.commands import mirror_for
from .settings import FailoverSettings
from .source_reports import CLIENT, JOURNAL, MIRROR, PRIMARY, REPLICA, Offer, SourceReport, loss_problem

#: three round trips to a database far away; silence for the whole patience of the policy was met just before
_AGAIN_SECONDS = 1.0


def assess_sources(
    settings: FailoverSettings, companies: Sequence[str], *, refresh_mirror: bool, silent: Collection[str] = ()
) -> List[SourceReport]:
    """Ask every source. Changes nothing, unless ``refresh_mirror``: then a mirror whose database answers is brought
    up to now first. ``silent``: kinds that kept silent a moment ago, and are asked shortly.
    """
    databases = {PRIMARY: settings.database, REPLICA: settings.replica}
    reports = [
        _assess_silent(kind, params)
        if kind in silent and not answers_within(params, _AGAIN_SECONDS)
        else _assess_database(kind, params, settings, companies)
        for kind, params in databases.items()
        if params
    ]
    mirror = []
    if settings.mirror_dir:
        if refresh_mirror and reports[0].answers:
            bring_mirror_up_to_date(settings)
        mirror = [_assess_mirror(settings, companies)]
    if settings.client_dir:
        journal = assess_journal(settings, companies, [*reports, *mirror])
        # Behind the journal, where both are whole: to read that costs the application nothing.
        reports[:0] = [journal, assess_client(settings, companies, journal, reports)]
    if mirror:
        reports += mirror
        _mark_losses(reports)
    return reports


def _assess_silent(kind: str, params: ConnectParams) -> SourceReport:
    problem = f"it kept silent a moment ago, and still does after {_AGAIN_SECONDS:g} s"
    return SourceReport(kind, params.where, problem=problem, silent=True)


def _assess_database(
    kind: str, params: ConnectParams, settings: FailoverSettings, companies: Sequence[str]
) -> SourceReport:
    report = SourceReport(kind, params.where)
    try:
        with open_snapshot(params, settings.tables, deadline_seconds=settings.policy.connect_seconds) as snapshot:
            report.snapshot_at, report.lsn = snapshot.info.snapshot_at, snapshot.info.lsn
            report.age_seconds = snapshot.age_seconds
            if kind == PRIMARY and snapshot.info.kind != PRIMARY:
                report.problem = "the server is a replica in recovery, not the primary"
            rows = Counter(snapshot.companies())
            counts = snapshot.count_keys()
            for company in companies:
                report.offers[company] = Offer(counts.get(company, {}), _creds_problem(company, rows))
            report.answers = True
    except ResilienceError as exc:
        report.problem = str(exc)
        report.silent = isinstance(exc, DeadlineExceeded)
    return report


def _creds_problem(company: str, rows: Mapping[str, int]) -> str:
    if rows.get(company, 0) == 1:
        return ""
    if company in rows:
        return f"there are {rows[company]} rows of creds: delete the older ones"
    for written in rows:
        if _same_id(written, company):
            # Record, mirror and directories know a company by its text alone: one id has one spelling.
            return f"the database writes its id {written}: write it so in session_companies"
    return "there is no row of creds"


def _same_id(one: str, other: str) -> bool:
    """Whether two texts are one uuid, one number, or one word but for its case."""
    try:
        return uuid.UUID(one) == uuid.UUID(other)
    except ValueError:
        return one.casefold().lstrip("0") == other.casefold().lstrip("0")


def bring_mirror_up_to_date(settings: FailoverSettings) -> None:
    """One scan now. When it cannot be made, the mirror's age tells so by itself."""
    with contextlib.suppress(ResilienceError):
        mirror_for(settings, Silent()).scan_once()


def _assess_mirror(settings: FailoverSettings, companies: Sequence[str]) -> SourceReport:
    report = SourceReport(MIRROR, settings.mirror_dir)
    entries = StoreRecord(settings.state).all()
    try:
        with open_mirror(Path(settings.mirror_dir)) as reader:
            report.snapshot_at, report.lsn = reader.info.snapshot_at, reader.info.lsn
            report.age_seconds = reader.age_seconds
            known = set(reader.known_companies())
            for company in companies:
                if company not in known:
                    report.offers[company] = Offer({}, "the mirror has never seen it")
                    continue
                lineage = entries[company].lineage if company in entries else 0
                report.offers[company] = _mirror_offer(reader.company_state(company), lineage)
            report.answers = True
    except ResilienceError as exc:
        report.problem = str(exc)
    return report


def _mirror_offer(state: CompanyState, lineage: int) -> Offer:
    problem = "" if state.good else "; ".join(state.problems) or "the mirror has no good copy"
    if not problem and state.epoch < lineage:
        problem = f"the copy is of epoch {state.epoch}; the session has lived elsewhere since (epoch {lineage})"
    return Offer(state.counts, problem, "" if problem else "; ".join(state.problems))


def _mark_losses(reports: List[SourceReport]) -> None:
    """A database that answers, but lacks what the mirror still has, is not whole for that company."""
    mirror = reports[-1]
    for report in reports[:-1]:
        for company, offer in report.offers.items():
            kept = mirror.offers.get(company)
            if kept is None or kept.problem or offer.problem:
                continue
            loss = loss_problem(kept.counts, offer.counts)
            if loss:
                report.offers[company] = replace(offer, problem=loss)


def choose(
    settings: FailoverSettings, reports: Sequence[SourceReport], companies: Sequence[str]
) -> Dict[str, List[str]]:
    """For each company the sources to try, best first: a whole primary, then the others by age. An empty list when no
    source has it whole and young enough.

    Raises SourceTooOld when nothing but age stands in the way, and no data loss was accepted.
    """
    pinned = settings.policy.source
    if pinned and not any(report.kind == pinned and report.answers for report in reports):
        problem = next((r.problem for r in reports if r.kind == pinned), "it is not configured")
        raise Unavailable(
            problem,
            operation="choose source",
            subject=pinned,
            hint="leave failover_source empty to take the freshest whole one",
        )
    answering = [report for report in reports if report.answers and pinned in ("", report.kind)]
    if not answering:
        raise StepFailed(
            "no source answers: " + "; ".join(f"{r.kind}: {r.problem}" for r in reports),
            operation="choose source",
            subject=settings.host,
            hint="restore from a backup, or bring one of these back; nothing was touched",
        )
    whole = {
        company: sorted((r for r in answering if _acceptable(r, company, settings)), key=lambda r: _rank(r, company))
        for company in companies
    }
    young = {company: [r for r in found if _young_enough(r, company, settings)] for company, found in whole.items()}
    if not any(young.values()):
        _refuse_old(settings, whole)
    return {company: [report.kind for report in found] for company, found in young.items()}


def pinned(settings: FailoverSettings, kind: str) -> FailoverSettings:
    """The same with one source to take, whatever the others have."""
    return replace(settings, policy=replace(settings.policy, source=kind))


def refuse_doubtful_client(reports: Sequence[SourceReport], companies: Sequence[str]) -> None:
    """Raise StepFailed when something stands against what the client has: another source is to be preferred then, and
    that needs a restart.
    """
    for report in reports:
        for company in companies if report.kind == CLIENT else ():
            problem = report.offers.get(company, Offer(problem="it is not open")).problem
            if problem:
                raise StepFailed(
                    f"the sessions cannot move while they run: {problem}",
                    operation="choose source",
                    subject=f"company {company}",
                    hint="run again with failover_mode restart",
                )


def require_any(
    settings: FailoverSettings, chosen: Mapping[str, Sequence[str]], reports: Sequence[SourceReport]
) -> None:
    """Raise StepFailed when no company has any source: a run would move nothing."""
    if not any(chosen.values()):
        raise StepFailed(
            f"no source has a whole copy of any company{_first_problems(reports, list(chosen))}",
            operation="choose source",
            subject=settings.host,
            hint="nothing was touched; see the plan, restore from a backup, or pin a source with failover_source",
        )


def _first_problems(reports: Sequence[SourceReport], companies: Sequence[str]) -> str:
    """What stands against each source of the first company for which something is known."""
    for company in companies:
        known = [f"{r.kind}: {r.offers[company].problem}" for r in reports if company in r.offers]
        if known:
            return f" (company {company}: {'; '.join(known)})"
    return ""


def mirror_problems(settings: FailoverSettings, reports: Sequence[SourceReport]) -> List[str]:
    """Why the mirror would be of no use if every database were dead now, although it may not be needed today."""
    problems = []
    for report in reports:
        if report.kind != MIRROR:
            continue
        if not report.answers:
            problems.append(f"mirror: {report.problem}")
        elif report.age_seconds > settings.policy.max_source_age_seconds:
            allowed = settings.policy.max_source_age_seconds
            problems.append(
                f"mirror: it is {report.age_seconds:.0f} s old (allowed: {allowed:.0f} s)."
                " HINT: see baileys-resilience mirror status, and whether its job baileys-resilience-mirror runs"
            )
        problems += [f"mirror: company {c}: {offer.problem}" for c, offer in report.offers.items() if offer.problem]
    return problems


def _rank(report: SourceReport, company: str) -> Tuple[int, float]:
    """A primary is of now, but for what an outage kept from it. One that turned out to be a replica counts by its age,
    like all others.
    """
    if report.offers[company].complete:
        return 0, 0.0
    return (1 if report.kind == PRIMARY and not report.problem else 2), report.age_of(company)


def _acceptable(report: SourceReport, company: str, settings: FailoverSettings) -> bool:
    offer = report.offers.get(company)
    return offer is not None and (not offer.problem or report.kind == settings.policy.source)


def _young_enough(report: SourceReport, company: str, settings: FailoverSettings) -> bool:
    return settings.policy.accept_data_loss or report.age_of(company) <= settings.policy.max_source_age_seconds


def _refuse_old(settings: FailoverSettings, whole: Mapping[str, Sequence[SourceReport]]) -> None:
    """When age alone stands against every company, say so; a single old one stays behind like any other without a
    whole copy.
    """
    for company, reports in whole.items():
        for report in reports[:1]:
            raise SourceTooOld(
                f"the freshest whole source, {report.kind} of {report.moment_of(company)}, is"
                f" {report.age_of(company):.0f} s old"
                f" (allowed: {settings.policy.max_source_age_seconds:.0f} s)",
                operation="choose source",
                subject=f"company {company}",
                hint="what was written since would be lost; to go on so set failover_accept_data_loss to true",
            )


@contextlib.contextmanager
def open_source(
    settings: FailoverSettings,
    kind: str,
    *,
    connect_seconds: Optional[float] = None,
    drained: Optional[Mapping[str, Exported]] = None,
) -> Iterator[SessionSource]:
    """Open one source for reading. ``connect_seconds``: no longer than that for a connection, no more than twice that
    for each answer. ``drained``: last copies that the client has made.
    """
    if kind == CLIENT:
        yield ClientMemory(settings.client_dir, StoreRecord(settings.state).epochs_of_rows(), drained)
        return
    if kind == JOURNAL:
        yield client_files(settings)
        return
    if kind == MIRROR:
        with open_mirror(Path(settings.mirror_dir)) as reader:
            yield reader
        return
    params = settings.database if kind == PRIMARY else settings.replica
    if params is None:
        raise Unavailable("it is not configured", operation="open source", subject=kind, hint="set failover_replica")
    deadline = 2 * (connect_seconds or settings.policy.connect_seconds)
    epochs = StoreRecord(settings.state).epochs_of_rows()
    opened = open_snapshot(
        params, settings.tables, deadline_seconds=deadline, connect_seconds=connect_seconds, epochs=epochs
    )
    with opened as snapshot:
        yield snapshot
