# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The report of a run: what was planned against what happened. JSON for machines, Markdown for the one who was woken
up.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Mapping, Optional

from ..clock import from_iso, now_iso
from ..errors import ResilienceError
from ..notify.redact import redacted
from ..steps.journal import RunState
from .common_steps import NO_ANSWER
from .context import FailoverContext
from .live import NO_CLIENT
from .plan import Plan

FORMAT = "baileys-resilience/report"
VERSION = 1
_CHOICE = "choose_source"
_SAID_BY_OTHERS = ("error", "why_not_live", "companies", "sources", "proof", "degraded")


def make_report(
    context: FailoverContext, plan: Mapping[str, Any], state: RunState, outcome: str, error: str = ""
) -> Dict[str, Any]:
    """No secrets, no key ids, and of what others said (errors, what the application calls its last error) no JID and
    no phone number: this leaves the host.
    """
    results = state.results
    seconds = state.seconds()
    connection = results.get("verify_connection", {})
    header = state.header
    sources = _sources(results, plan)
    companies = _companies(context, state, sources)
    report = {
        "format": FORMAT,
        "version": VERSION,
        "run": context.run_id,
        "operation": header.get("operation", ""),
        "operator": header.get("operator", ""),
        "host": context.settings.host,
        "outcome": outcome,
        "mode": results.get("preflight", {}).get("mode", ""),
        "why_not_live": results.get("preflight", {}).get("why_not_live", ""),
        "error": error,
        "attempts": sum(event["event"] == "step_started" for event in state.events),
        "started_at": header.get("at", ""),
        "finished_at": now_iso(),
        "duration_seconds": _duration(header.get("at", "")),
        "downtime_seconds": connection.get("downtime_seconds"),
        "moved": list(header.get("companies") or context.settings.companies),
        "companies": companies,
        "sources": sources,
        "data_loss": _data_loss(context, companies),
        "proof": results.get("verify", {}).get("proof", {}),
        "steps": [
            {"name": s["name"], "title": s["title"], "seconds": seconds.get(s["name"])} for s in plan.get("steps", [])
        ],
        "undone": state.undone,
        "degraded": [
            *plan.get("degraded", []),
            *connection.get("degraded", []),
            *_degraded_since(context, results),
        ],
        "notified": [],
    }
    return {**report, **redacted({name: report[name] for name in _SAID_BY_OTHERS}, context.settings.companies)}


def _degraded_since(context: FailoverContext, results: Mapping[str, Any]) -> List[str]:
    """What works less well than it should now, and could not be known when the plan was made."""
    published = results.get("record_store", {}).get("published", "yes")
    found = [] if published in ("yes", NO_ANSWER) else [f"PostgreSQL was not told where the sessions live: {published}"]
    # A service that cannot even be named has made the run fail, and this report must still tell of that.
    with contextlib.suppress(ResilienceError):
        found.append(context.service.saved_otherwise(context.flags(context.store_in_use())))
    return [each for each in found if each]


def _duration(started_at: str) -> float:
    return round((from_iso(now_iso()) - from_iso(started_at)).total_seconds(), 2) if started_at else 0.0


def _companies(context: FailoverContext, state: RunState, sources: List[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    results = state.results
    sessions = results.get("export", results.get("stage", {})).get("sessions", {})
    connection, verified = results.get("verify_connection", {}), results.get("verify", {})
    found: Dict[str, Dict[str, Any]] = {}
    for company in context.settings.companies:
        entry = context.record.get(company)
        session = sessions.get(company, {})
        found[company] = {
            "store": entry.store,
            "epoch": entry.epoch,
            "keys": session.get("keys", verified.get("keys", {}).get(company)),
            "counts": session.get("counts", verified.get("counts", {}).get(company)),
            "source": session.get("source"),
            "snapshot_at": session.get("snapshot_at"),
            "age_seconds": _age_at_stop(company, state, sources),
            "lsn": session.get("lsn"),
            "manifest_sha256": session.get("manifest_sha256"),
            "imported": results.get("import", {}).get("companies", {}).get(company),
            "connected": company in connection.get("connected", []),
            "problem": _problem(company, results),
        }
    return found


def _age_at_stop(company: str, state: RunState, sources: List[Dict[str, Any]]) -> Optional[float]:
    """Seconds between what was copied and the stop of the application: what it wrote in between is not in the copy.
    None where nothing was copied, or nobody knows. By the host's clock alone, since clocks differ.
    """
    staged = state.results.get("stage", {}).get("sessions", {}).get(company, {})
    session = state.results.get("export", {}).get("sessions", {}).get(company, staged)
    ages = [_age(source, company) for source in sources if source["kind"] == session.get("source")]
    if not ages or ages[0] is None:
        return None
    if staged and session["snapshot_at"] != staged["snapshot_at"]:
        return 0.0  # read again after the stop
    stopped_at = state.results.get("stop", {}).get("stopped_at")
    chosen = [event["at"] for event in state.events if event["event"] == "step_done" and event["step"] == _CHOICE]
    waited = float(stopped_at) - from_iso(chosen[-1]).timestamp() if stopped_at and chosen else 0.0
    return round(float(ages[0]) + max(0.0, waited), 1)


def _age(source: Mapping[str, Any], company: str) -> Optional[float]:
    own: Optional[float] = source.get("offers", {}).get(company, {}).get("age_seconds")
    return source.get("age_seconds") if own is None else own


def _data_loss(context: FailoverContext, companies: Mapping[str, Mapping[str, Any]]) -> Dict[str, float]:
    """Companies that run from data older than allowed, which only an accepted loss makes possible: their seconds."""
    allowed = context.settings.policy.max_source_age_seconds
    return {name: each["age_seconds"] for name, each in companies.items() if (each["age_seconds"] or 0.0) > allowed}


def _problem(company: str, results: Mapping[str, Any]) -> str:
    connection = results.get("verify_connection", {})
    for place in (
        results.get("verify", {}).get("failed", {}),
        connection.get("failed", {}),
        connection.get("excused", {}),
    ):
        if company in place:
            return str(place[company])
    return ""


def _sources(results: Mapping[str, Any], plan: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Each source as it was when one was chosen; as the plan saw it where the run did not come so far."""
    found = results.get(_CHOICE, {}).get("sources", plan.get("sources", []))
    return [{k: v for k, v in source.items() if k != "offers"} for source in found]


def failed_companies(report: Mapping[str, Any]) -> List[str]:
    """Companies that should be connected and are not."""
    excused = {c for c, e in report["companies"].items() if e["problem"] == "it was logged out before"}
    return [c for c, entry in report["companies"].items() if entry["problem"] and c not in excused]


def headline(report: Mapping[str, Any]) -> str:
    """One sentence for Sentry, Telegram and the last line of the play."""
    connected = sum(1 for entry in report["companies"].values() if entry["connected"])
    words = {
        "done": "done",
        "partial": "done in part",
        "undone": "undone, everything is as before",
        "open": "not finished, complete it with resume",
    }
    down = f", down {report['downtime_seconds']} s" if report["downtime_seconds"] is not None else ""
    lost = max(report["data_loss"].values(), default=0.0)
    old = f", from data {lost:.0f} s old" if lost else ""
    return (
        f"{report['operation']} on {report['host']} {words.get(report['outcome'], report['outcome'])}: "
        f"{connected} of {len(report['moved'])} companies connected{old}{down}, {report['duration_seconds']} s in all"
    )


def as_markdown(report: Mapping[str, Any]) -> str:
    lines = [f"# {headline(report)}", "", f"- run: {report['run']}", f"- operator: {report['operator']}"]
    lines += [f"- started: {report['started_at']}", f"- finished: {report['finished_at']}"]
    if report["error"]:
        lines.append(f"- error: {report['error']}")
    if report["why_not_live"] not in ("", NO_CLIENT):
        lines.append(f"- the application was restarted: {report['why_not_live']}")
    lines += [f"- source {source['kind']}: {_source_clause(source)}" for source in report["sources"]]
    lines += [
        f"- DATA LOSS, accepted: company {company} goes on from data that were {seconds:.0f} s old when the application"
        " was stopped; what was written in between is lost"
        for company, seconds in report["data_loss"].items()
    ]
    lines += _company_table(report)
    lines += ["", "| step | seconds |", "|---|---|"]
    lines += [f"| {step['title']} | {'' if step['seconds'] is None else step['seconds']} |" for step in report["steps"]]
    proof = report["proof"]
    if proof:
        said = (
            f"Baileys {proof.get('baileys')} loaded every key."
            if proof.get("proven")
            else f"Not proven by Baileys: {proof.get('reason')}."
        )
        lines += ["", said]
    lines += [f"- degraded: {each}" for each in report["degraded"]]
    lines += [
        f"- degraded: {each['service']} was not told: {each['detail']}" for each in report["notified"] if not each["ok"]
    ]
    return "\n".join(lines) + "\n"


def _source_clause(source: Mapping[str, Any]) -> str:
    if not source["answers"]:
        return f"does not answer: {source.get('problem', '')}"
    return f"{source.get('age_seconds') or 0.0:.0f} s old when the sources were looked at"


def _company_table(report: Mapping[str, Any]) -> List[str]:
    lines = ["", "| company | store | keys | source | age | connected | problem |", "|---|---|---|---|---|---|---|"]
    for company, entry in report["companies"].items():
        cells = (
            company,
            entry["store"],
            entry["keys"],
            entry["source"],
            None if entry["age_seconds"] is None else f"{entry['age_seconds']:.0f} s",
            "yes" if entry["connected"] else "no",
            entry["problem"],
        )
        lines.append("| " + " | ".join("" if cell is None else str(cell).replace("|", "/") for cell in cells) + " |")
    return lines


def plan_markdown(plan: Plan) -> str:
    return "\n".join(plan.sentences()) + "\n"
