# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The plan of a failover or failback: what is, what would be done, from which source, in how long. Makes nothing and
changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..clock import age_seconds, now_iso
from ..errors import DatabaseError, ForeignFiles, ResilienceError
from ..sessions.published import contradictions
from ..sessions.record import FILES
from ..steps.engine import Step
from .context import FailoverContext
from .envfile import EnvFile, read_values
from .judgement import unusable_places
from .library import baileys_difference
from .live import AUTO, LIVE, NO_CLIENT, RESTART, choose_mode
from .readiness import Check, ask, check_space
from .settings import FailoverSettings
from .source_reports import (
    CLIENT,
    JOURNAL,
    MIRROR,
    OLDER_TO_COME,
    ORDER,
    PRIMARY,
    REPLICA,
    Offer,
    SourceReport,
)
from .sources import assess_sources, choose, mirror_problems, pinned, refuse_doubtful_client, require_any

#: seconds a step takes where this host has no run to learn from (seen in the lab on two cores)
_TYPICAL_SECONDS = {
    "preflight": 0.6,
    "choose_source": 0.5,
    "stage": 1.0,
    "stop": 0.6,
    "export": 0.2,
    "import": 0.5,
    "verify": 0.3,
    "record_store": 0.1,
    "switch_code": 0.1,
    "switch_env": 0.1,
    "start": 0.6,
    "verify_connection": 1.0,
    "archive_files": 0.1,
}
#: a run that is resumed later asks a database with full patience again
_STILL_SILENT_SECONDS = 60.0
#: the application is down between these, both included
DOWN_FROM, DOWN_TO = "stop", "verify_connection"


@dataclass
class CompanyPlan:
    """One company: where it lives, what would move, and from which source (best first)."""

    company: str
    store: str
    since: str
    epoch: int
    moves: bool
    sources: List[str] = field(default_factory=list)
    keys: Optional[int] = None
    problem: str = ""


@dataclass
class Plan:
    """What a run would do. ``blocked`` names everything that stops it; ``degraded`` what works less well than it
    should. ``unready``: what would stop it if every database were dead now.
    """

    operation: str
    host: str
    target: str
    made_at: str
    companies: List[CompanyPlan]
    steps: List[Dict[str, Any]]
    sources: List[Dict[str, Any]]
    expected_seconds: float
    expected_downtime_seconds: float
    blocked: List[str] = field(default_factory=list)
    degraded: List[str] = field(default_factory=list)
    unready: List[str] = field(default_factory=list)
    #: live or restart; of a restart, why the sessions do not move while they run
    mode: str = ""
    why_not_live: str = ""
    #: the first that blocks, as it was raised: a run raises the same
    error: Optional[ResilienceError] = None

    @property
    def moving(self) -> List[str]:
        return [each.company for each in self.companies if each.moves]

    def block(self, error: ResilienceError) -> None:
        self.error = self.error or error
        if str(error) not in self.blocked:
            self.blocked.append(str(error))

    def as_dict(self) -> Dict[str, Any]:
        return {name: value for name, value in asdict(replace(self, error=None)).items() if name != "error"}

    def sentences(self) -> List[str]:
        """The plan for a human, a line each."""
        if not self.moving and not self.blocked:
            entries = [f"company {c.company} on {c.store} since {c.since or 'ever'}" for c in self.companies]
            return [f"{self.host}: nothing to do: " + "; ".join(entries), *self._doubts()]
        headline = f"{self.host}: {self.operation} of {len(self.moving)} companies to {self.target}"
        # What stops the run stands first: a recap is green all the same, and a long plan is not read to its end.
        lines = [headline, *(f"  BLOCKED: {each}" for each in self.blocked)]
        lines.extend(self._mode_sentence())
        lines.extend(_source_sentence(source) for source in self.sources)
        lines.extend(self._company_sentence(each) for each in self.companies)
        lines.extend(f"  {number}. {step['title']}: {step['what']}" for number, step in enumerate(self.steps, 1))
        down = "the writes of the sessions held" if self.mode == LIVE else "the app down"
        lines.append(
            f"  expected: {self.expected_seconds:.0f} s, {self.expected_downtime_seconds:.0f} s of it with {down}"
        )
        return lines + self._doubts()

    def _mode_sentence(self) -> List[str]:
        if self.mode == LIVE:
            return ["  mode live: nothing is restarted, the sessions move while they run"]
        # Of an application without a client there is nothing to say: it was always restarted.
        return [f"  mode restart: {self.why_not_live}"] if self.why_not_live not in ("", NO_CLIENT) else []

    def _company_sentence(self, company: CompanyPlan) -> str:
        if not company.moves:
            return f"  company {company.company}: stays on {company.store} since {company.since or 'ever'}"
        # A failback counts files when it reads them; a "?" there would look like keys that are lost.
        unknown = "? keys" if self.target == FILES else "its keys are counted in the run"
        keys = unknown if company.keys is None else f"{company.keys} keys"
        origin = f" from {' or '.join(company.sources)}" if company.sources else ""
        return f"  company {company.company}: {keys}{origin} {company.problem}".rstrip()

    def _doubts(self) -> List[str]:
        return [f"  degraded: {each}" for each in self.degraded]


def _source_sentence(source: Mapping[str, Any]) -> str:
    if not source["there"]:
        return f"  source {source['kind']}: not there: {source['problem']}"
    state = f"does not answer: {source['problem']}"
    if source["kind"] in (CLIENT, JOURNAL):
        state = f"holds nothing: {source['problem']}"
    if source["answers"]:
        but = f", but {source['problem']}" if source["problem"] else ""
        state = f"answers, {source['age_seconds']:.0f} s old{but}"
    return f"  source {source['kind']} ({source['detail']}): {state}"


def make_plan(
    context: FailoverContext, operation: str, steps: Sequence[Step[FailoverContext]], checks: Sequence[Check] = ()
) -> Plan:
    """Look at everything; raise only for what makes a plan impossible, and list in ``blocked`` all that makes the run
    impossible: what the ``checks`` find, and what the sources lack. Writes nothing.
    """
    moving = context.moving()
    plan = Plan(
        operation,
        context.settings.host,
        context.target,
        now_iso(),
        _companies(context, moving),
        [],
        [],
        *_expected(context, steps),
    )
    if moving:
        _add_mode(context, plan)
    # First, because a wrong setting often is the reason of what the sources say.
    found = ask(context, checks) if moving else []
    for error in found:
        plan.block(error)
    if context.target == FILES and moving:
        _add_sources(context, plan, moving)
    plan.steps = _steps(context, steps, plan.mode)
    # A dead database says nothing, and that must cost an emergency no second wait.
    answers = not any(isinstance(error, DatabaseError) for error in found)
    if context.target == FILES:
        answers = any(each["kind"] == PRIMARY and each["answers"] for each in plan.sources)
    if answers:
        _add_contradictions(context, plan, moving if context.target == FILES else context.settings.companies)
    if not moving:
        return plan
    if context.target == FILES:
        _add_unusable(context, plan)
    _add_degraded(context, plan)
    return plan


def _add_mode(context: FailoverContext, plan: Plan) -> None:
    try:
        mode = choose_mode(context)
        plan.mode, plan.why_not_live = mode.name, mode.why_not_live
    except ResilienceError as exc:
        plan.block(exc)


def _companies(context: FailoverContext, moving: Sequence[str]) -> List[CompanyPlan]:
    entries = context.record.all()
    found = []
    for company in context.settings.companies:
        entry = entries.get(company)
        store, since, epoch = (entry.store, entry.since, entry.epoch) if entry else ("postgres", "", 0)
        found.append(CompanyPlan(company, store, since, epoch, company in moving))
    return found


def _add_sources(context: FailoverContext, plan: Plan, moving: Sequence[str]) -> None:
    reports = assess_sources(context.settings, moving, refresh_mirror=False)
    plan.sources = _source_lines(reports)
    plan.degraded += [f"{each.kind}: {each.problem}" for each in reports if each.answers and each.problem]
    plan.unready = mirror_problems(context.settings, reports)
    # What the companies' own lines say already is not said again.
    plan.degraded += [each for each in plan.unready if ": company " not in each]
    try:
        check_space(context, reports)
    except ResilienceError as exc:
        plan.block(exc)
    try:
        chosen = choose(_only_the_client(context, plan, reports), reports, moving)
        require_any(context.settings, chosen, reports)
    except ResilienceError as exc:
        plan.block(exc)
        return
    for each in plan.companies:
        if each.moves:
            each.sources = chosen[each.company]
            offers = [report.offers.get(each.company) for report in reports if report.kind in each.sources[:1]]
            each.keys = offers[0].keys if offers and offers[0] else None
            # A primary with rows that are ruined is known as such only when it is read; the mirror has seen them.
            said = [(r.kind, r.offers[each.company]) for r in reports if each.company in r.offers]
            problems = [_doubt_of(kind, offer) for kind, offer in said if offer.problem or offer.remark]
            each.problem = f"({'; '.join(problems)})" if problems else ""
            if not each.sources:
                plan.degraded.append(f"company {each.company} stays behind: no source has a whole, young enough copy")


def _only_the_client(context: FailoverContext, plan: Plan, reports: Sequence[SourceReport]) -> FailoverSettings:
    """A session that moves while it runs is what its client has in memory. Where something stands against that, it is
    restarted, if it may be.
    """
    if plan.mode != LIVE:
        return context.settings
    try:
        refuse_doubtful_client(reports, plan.moving)
    except ResilienceError as exc:
        if context.settings.policy.mode != AUTO:
            raise
        plan.mode, plan.why_not_live = RESTART, exc.cause
        return context.settings
    return pinned(context.settings, CLIENT)


def _doubt_of(kind: str, offer: Offer) -> str:
    """What is wrong with this source's own copy, or what it has seen to be wrong elsewhere, with its own copy whole."""
    return f"{kind}: {offer.problem}" if offer.problem else f"the {kind} has seen: {offer.remark}"


def _add_unusable(context: FailoverContext, plan: Plan) -> None:
    """Companies that stay behind because their place holds what is not ours; all of them are a blocker already."""
    with contextlib.suppress(ForeignFiles):
        found = list(unusable_places(context).values())
        plan.degraded += [f"stays behind: {each}" for each in found]
        plan.unready += found


def _add_contradictions(context: FailoverContext, plan: Plan, companies: Sequence[str]) -> None:
    """A company that lives on files, here or on another host, must not be taken for one that lives in PostgreSQL."""
    settings = context.settings
    try:
        found = contradictions(
            context.record, settings.database, settings.host, companies, settings.policy.connect_seconds
        )
    except ResilienceError as exc:
        plan.degraded.append(f"the published store of record was not read: {exc.cause}. HINT: {exc.hint}")
        return
    for error in found:
        plan.block(error)


def _source_lines(reports: Sequence[SourceReport]) -> List[Dict[str, Any]]:
    """Every source of the order, freshest first; those that are not there too, so that nobody looks for them."""
    found = {report.kind: {**_without_offers(report), "there": True} for report in reports}
    absent = {
        CLIENT: "no session client of ours is set (failover_client_dir)",
        JOURNAL: "no session client of ours is set (failover_client_dir)",
        REPLICA: "none is set (failover_replica)",
        MIRROR: "none is set (failover_mirror_dir)",
        **OLDER_TO_COME,
    }
    order = (*ORDER, *OLDER_TO_COME)
    return [found.get(kind) or _absent(kind, absent.get(kind, "it was not asked")) for kind in order]


def _absent(kind: str, problem: str) -> Dict[str, Any]:
    return {**_without_offers(SourceReport(kind, "", problem=problem)), "there": False}


def _without_offers(report: SourceReport) -> Dict[str, Any]:
    return {name: value for name, value in report.as_dict().items() if name != "offers"}


def silent_in_plan(run_directory: Path) -> List[str]:
    """The databases that kept silent when this run was planned; none when that is too long ago to mean anything."""
    try:
        plan: Mapping[str, Any] = json.loads((run_directory / "plan.json").read_text("utf-8"))
        if age_seconds(plan["made_at"]) > _STILL_SILENT_SECONDS:
            return []
        return [str(source["kind"]) for source in plan["sources"] if source["silent"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _add_degraded(context: FailoverContext, plan: Plan) -> None:
    settings = context.settings
    if not settings.load_check.script:
        plan.degraded.append("the real Baileys does not prove the files: load_check.script is not set")
    if context.target == FILES and not settings.mirror_dir:
        plan.degraded.append("there is no live mirror: with a dead database there is nothing to fail over to")
    if context.target == FILES and baileys_difference(context):
        plan.degraded.append(baileys_difference(context))
    if _flags_in_vain(context):
        plan.degraded.append(_flags_in_vain(context))
    if not settings.notify.sentry_dsn and not settings.notify.telegram_token:
        plan.degraded.append("nobody is notified: neither Sentry nor Telegram is set")


def _flags_in_vain(context: FailoverContext) -> str:
    """An application that was written without this collection has flags of its own, and does not look at ours."""
    env = EnvFile(context.settings.application.env_path)
    names = list(context.flags(context.target))
    try:
        known = read_values(env.read(), names)
    except ResilienceError:
        return ""  # that is a blocker of its own
    if known or not names:
        return ""
    return (
        f"{env.path} sets none of {', '.join(names)}, and flags that the application does not read move nothing."
        " HINT: set application.postgres_env and application.files_env to those that decide where it reads sessions"
    )


def _steps(context: FailoverContext, steps: Sequence[Step[FailoverContext]], mode: str) -> List[Dict[str, Any]]:
    settings, application = context.settings, context.settings.application
    flags = ", ".join(f"{name}={value}" for name, value in context.flags(context.target).items())
    what = {
        "preflight": "nothing is changed",
        "choose_source": "nothing is changed",
        "stage": f"write below {settings.sessions_dir}/.resilience; the application runs on",
        "stop": f"{application.service.manager} {application.service.name}",
        "export": f"rename into {settings.sessions_dir}; what was there is kept",
        "import": f"one transaction in {settings.database.where}",
        "verify": "nothing is changed",
        "record_store": f"{settings.state_dir}/stores.json: {context.target}",
        "switch_code": f"{application.dir}: {settings.code.source}"
        if context.switches_code
        else "the deployed code runs on both stores",
        "switch_env": f"{application.env_path}: {flags}",
        "start": f"{application.service.manager} {application.service.name}",
        "verify_connection": f"within {application.health_on(context.target).deadline_seconds:g} s",
        "archive_files": f"below {settings.sessions_dir}/.resilience/previous",
    }
    if mode == LIVE:
        what.update(
            stop="nothing is stopped: its client is told to hold the writes of each session",
            start="nothing is started: its client goes on in the new store",
        )
    return [{"name": step.name, "title": step.title, "what": what.get(step.name, "")} for step in steps]


def _expected(context: FailoverContext, steps: Sequence[Step[FailoverContext]]) -> Any:
    seconds = {**_TYPICAL_SECONDS, **_last_seconds(context.settings.state, context.target)}
    names = [step.name for step in steps]
    down = names[names.index(DOWN_FROM) : names.index(DOWN_TO) + 1]
    total = sum(seconds.get(name, 0.5) for name in names)
    return round(total, 1), round(sum(seconds.get(name, 0.5) for name in down), 1)


def _last_seconds(state_dir: Path, target: str) -> Dict[str, float]:
    """What each step took in the last run of this kind on this host."""
    try:
        content: Mapping[str, Any] = json.loads((state_dir / f"timings-{target}.json").read_text("utf-8"))
        return {str(name): float(value) for name, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
