# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The record of a drill: who, when, what was broken, how long everything took, and whether it was good enough.

It is kept and shown around: no secrets, no key ids, and of what others said no JID and no phone number.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ..clock import from_iso, now_iso
from ..failover.settings import FailoverSettings
from ..notify.redact import redacted
from ..sessions.record import FILES, POSTGRES

FORMAT = "baileys-resilience/drill"
VERSION = 1
PASSED, FAILED, ABANDONED = "passed", "failed", "abandoned"
_VERIFYING = ("verify", "verify_connection")


def make_record(
    drill: Mapping[str, Any],
    detected: Mapping[str, Any],
    reports: Mapping[str, Mapping[str, Any]],
    told: Mapping[str, Any],
    settings: FailoverSettings,
) -> Dict[str, Any]:
    """``told`` is what the playbook knows: ``failed`` (a list of where and why), ``healed`` (how the fault ended) and
    ``abandoned``, for a drill that nobody came back to.
    """
    healed = told.get("healed") or {}
    over, back = reports.get("failover", {}), reports.get("failback", {})
    problems = [dict(each) for each in told.get("failed") or []]
    if not problems:
        problems = _shortcomings(drill, detected, healed, over, back)
    companies = _companies(drill, over, back)
    record = {
        "format": FORMAT,
        "version": VERSION,
        "drill": drill["drill"],
        "host": settings.host,
        "operator": drill["operator"],
        "began_at": drill["began_at"],
        "ended_at": now_iso(),
        "result": ABANDONED if told.get("abandoned") else FAILED if problems else PASSED,
        "failed": problems,
        "fault": {
            **{name: drill["fault"].get(name) for name in ("kind", "host", "sentence")},
            "broken_at": healed.get("since"),
            "healed_at": healed.get("at"),
            "healed_by": healed.get("by"),
        },
        "failover_by": drill["by"],
        "times": _times(detected, healed, over, back, told),
        "companies": companies,
        "runs": {name: {"run": each["run"], "outcome": each["outcome"]} for name, each in reports.items()},
        "degraded": [*over.get("degraded", []), *back.get("degraded", [])],
        "versions": {**drill["versions"], **_baileys(over)},
    }
    clean: Dict[str, Any] = redacted(
        {name: record[name] for name in ("failed", "fault", "companies", "degraded")}, settings.companies
    )
    return {**record, **clean}


def _shortcomings(
    drill: Mapping[str, Any],
    detected: Mapping[str, Any],
    healed: Mapping[str, Any],
    over: Mapping[str, Any],
    back: Mapping[str, Any],
) -> List[Dict[str, str]]:
    """What nobody has told of, and yet is missing for a drill that passed."""
    found = []
    if not detected:
        found.append({"where": "detect", "why": "nobody saw the database die"})
    for name, report in (("failover", over), ("failback", back)):
        if not report:
            found.append({"where": name, "why": "there was none"})
        elif report["outcome"] != "done":
            found.append({"where": name, "why": report["error"] or report["outcome"]})
    found += [
        {"where": f"check every key on {s}", "why": "it was not done"}
        for s in (FILES, POSTGRES)
        if s not in drill["checks"]
    ]
    if not healed:
        found.append({"where": "heal", "why": "nobody knows how the fault was healed"})
    elif healed["by"] == "the watch":
        found.append({"where": "heal", "why": "the drill took longer than its fault may last, and the watch healed it"})
    return found


def _companies(drill: Mapping[str, Any], over: Mapping[str, Any], back: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    found = {}
    for company in drill["companies"]:
        found[company] = {
            "on_files": drill["checks"].get(FILES, {}).get(company),
            "back_on_postgres": drill["checks"].get(POSTGRES, {}).get(company),
            "connected_on_files": _entry(over, company).get("connected", False),
            "connected_back": _entry(back, company).get("connected", False),
            "source": _entry(over, company).get("source"),
            "source_age_seconds": _entry(over, company).get("age_seconds"),
            "problem": _entry(over, company).get("problem") or _entry(back, company).get("problem") or "",
        }
    return found


def _entry(report: Mapping[str, Any], company: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = report.get("companies", {}).get(company, {})
    return entry


def _baileys(report: Mapping[str, Any]) -> Dict[str, str]:
    found = report.get("proof", {}).get("baileys")
    return {"baileys": str(found)} if found else {}


def _times(
    detected: Mapping[str, Any],
    healed: Mapping[str, Any],
    over: Mapping[str, Any],
    back: Mapping[str, Any],
    told: Mapping[str, Any],
) -> Dict[str, Optional[float]]:
    """Seconds. Those of one line are of one clock: detection and outage of the application's host, broken of the
    host of the fault.
    """
    return {
        "detection": detected.get("seconds"),
        "failover": over.get("duration_seconds"),
        "failover_downtime": over.get("downtime_seconds"),
        "failover_verification": _verification(over),
        "outage": _between(detected.get("last_answer_at"), over.get("finished_at")),
        "broken": _between(healed.get("since"), healed.get("at")),
        "answers_again": told.get("answers_again_seconds"),
        "failback": back.get("duration_seconds"),
        "failback_downtime": back.get("downtime_seconds"),
        "failback_verification": _verification(back),
    }


def _verification(report: Mapping[str, Any]) -> Optional[float]:
    seconds = [each["seconds"] for each in report.get("steps", []) if each["name"] in _VERIFYING]
    known = [each for each in seconds if each is not None]
    return round(sum(known), 2) if known else None


def _between(earlier: Optional[str], later: Optional[str]) -> Optional[float]:
    return round((from_iso(later) - from_iso(earlier)).total_seconds(), 2) if earlier and later else None


_TITLES = {
    "detection": "from the last answer of the database until our client called it dead",
    "failover": "failover, in all",
    "failover_downtime": "failover, application down",
    "failover_verification": "failover, verification",
    "outage": "from the last answer of the database until every session was connected again",
    "broken": "from the fault until it was healed",
    "answers_again": "from there until the database answered",
    "failback": "failback, in all",
    "failback_downtime": "failback, application down",
    "failback_verification": "failback, verification",
}


def headline(record: Mapping[str, Any]) -> str:
    """One sentence for the last line of the play."""
    times = record["times"]
    if record["result"] == PASSED:
        return (
            f"drill on {record['host']} passed: seen dead after {times['detection']} s,"
            f" failover {times['failover']} s (down {times['failover_downtime']} s),"
            f" failback {times['failback']} s (down {times['failback_downtime']} s)"
        )
    first = record["failed"][0] if record["failed"] else {"where": "the drill", "why": "it was cut off"}
    return f"drill on {record['host']} {record['result']}: {first['where']}: {first['why']}"


def as_markdown(record: Mapping[str, Any]) -> str:
    fault = record["fault"]
    lines = [f"# {headline(record)}", ""]
    lines += [f"- drill: {record['drill']}", f"- operator: {record['operator']}", f"- result: {record['result']}"]
    lines += [f"- began: {record['began_at']}", f"- ended: {record['ended_at']}"]
    lines += [f"- fault: {fault['kind']} on {fault['host']}: {fault['sentence']}"]
    lines += [f"- broken: {fault['broken_at']}, healed: {fault['healed_at']} by {fault['healed_by']}"]
    lines += [f"- failover and failback by: {'the team' if record['failover_by'] == 'team' else 'the playbook'}"]
    lines += [f"- failed: {each['where']}: {each['why']}" for each in record["failed"]]
    lines += [f"- version of {name}: {version}" for name, version in record["versions"].items()]
    lines += [f"- {name}: run {each['run']}, {each['outcome']}" for name, each in record["runs"].items()]
    lines += ["", "| time | seconds |", "|---|---|"]
    lines += [f"| {_TITLES[name]} | {_cell(seconds)} |" for name, seconds in record["times"].items()]
    lines += ["", "| company | checked on | keys before | keys | same | moved on | new | gone | result |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for company, entry in record["companies"].items():
        for place in ("on_files", "back_on_postgres"):
            lines.append(_key_row(company, place.replace("_", " "), entry[place]))
    lines += [
        "",
        'Moved on: the session has turned its ratchets since. What is checked: formats, "The record of a drill".',
    ]
    lines += [f"- degraded: {each}" for each in record["degraded"]]
    return "\n".join(lines) + "\n"


def _key_row(company: str, place: str, judged: Optional[Mapping[str, Any]]) -> str:
    if judged is None:
        return f"| {company} | {place} | | | | | | | not checked |"
    cells = [judged[name] for name in ("keys_before", "keys", "same", "moved", "new", "gone")]
    result = "good" if judged["good"] else "; ".join(judged["problems"]).replace("|", "/")
    return f"| {company} | {place} | " + " | ".join(str(each) for each in cells) + f" | {result} |"


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
