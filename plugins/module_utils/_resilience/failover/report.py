# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The report of a run: what was planned against what happened. JSON for machines, Markdown for the one who was woken
up.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Mapping

from ..clock import from_iso, now_iso
from ..errors import ResilienceError
from ..steps.journal import RunState
from .common_steps import NO_ANSWER
from .context import FailoverContext
from .plan import Plan

FORMAT = "baileys-resilience/report"
VERSION = 1


def make_report(
    context: FailoverContext, plan: Mapping[str, Any], state: RunState, outcome: str, error: str = ""
) -> Dict[str, Any]:
    """No secrets and no key ids: this leaves the host."""
    results = state.results
    seconds = state.seconds()
    connection = results.get("verify_connection", {})
    header = state.header
    return {
        "format": FORMAT,
        "version": VERSION,
        "run": context.run_id,
        "operation": header.get("operation", ""),
        "operator": header.get("operator", ""),
        "host": context.settings.host,
        "outcome": outcome,
        "error": error,
        "started_at": header.get("at", ""),
        "finished_at": now_iso(),
        "duration_seconds": _duration(header.get("at", "")),
        "downtime_seconds": connection.get("downtime_seconds"),
        "moved": list(header.get("companies") or context.settings.companies),
        "companies": _companies(context, results),
        "sources": _sources(results),
        "proof": results.get("verify", {}).get("proof", {}),
        "steps": [
            {"name": s["name"], "title": s["title"], "seconds": seconds.get(s["name"])} for s in plan.get("steps", [])
        ],
        "undone": state.undone,
        "degraded": [*plan.get("degraded", []), *_degraded_since(context, results)],
    }


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


def _companies(context: FailoverContext, results: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    sessions = results.get("export", results.get("stage", {})).get("sessions", {})
    connection = results.get("verify_connection", {})
    found: Dict[str, Dict[str, Any]] = {}
    for company in context.settings.companies:
        entry = context.record.get(company)
        session = sessions.get(company, {})
        found[company] = {
            "store": entry.store,
            "epoch": entry.epoch,
            "keys": session.get("keys", results.get("verify", {}).get("keys", {}).get(company)),
            "source": session.get("source"),
            "snapshot_at": session.get("snapshot_at"),
            "imported": results.get("import", {}).get("companies", {}).get(company),
            "connected": company in connection.get("connected", []),
            "problem": _problem(company, results),
        }
    return found


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


def _sources(results: Mapping[str, Any]) -> List[Dict[str, Any]]:
    return [
        {k: v for k, v in source.items() if k != "offers"}
        for source in results.get("choose_source", {}).get("sources", [])
    ]


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
        "open": "not finished",
    }
    down = f", down {report['downtime_seconds']} s" if report["downtime_seconds"] is not None else ""
    return (
        f"{report['operation']} on {report['host']} {words.get(report['outcome'], report['outcome'])}: "
        f"{connected} of {len(report['moved'])} companies connected{down}, {report['duration_seconds']} s in all"
    )


def as_markdown(report: Mapping[str, Any]) -> str:
    lines = [f"# {headline(report)}", "", f"- run: {report['run']}", f"- operator: {report['operator']}"]
    lines += [f"- started: {report['started_at']}", f"- finished: {report['finished_at']}"]
    if report["error"]:
        lines.append(f"- error: {report['error']}")
    lines += ["", "| company | store | keys | source | connected | problem |", "|---|---|---|---|---|---|"]
    for company, entry in report["companies"].items():
        cells = (
            company,
            entry["store"],
            entry["keys"],
            entry["source"],
            "yes" if entry["connected"] else "no",
            entry["problem"],
        )
        lines.append("| " + " | ".join("" if cell is None else str(cell).replace("|", "/") for cell in cells) + " |")
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
    return "\n".join(lines) + "\n"


def plan_markdown(plan: Plan) -> str:
    return "\n".join(plan.sentences()) + "\n"
