# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``baileys-resilience health``: what ``/api/status`` says, as a board for a human, the gravest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ...clock import age_seconds, in_words
from ...errors import ResilienceError
from ..findings import OK, STATUSES, UNKNOWN

#: looks come every few seconds, so what is older is of a monitor that hangs
STALE_SECONDS = 60.0
_NAME_WIDTH, _STATUS_WIDTH = 14, 9
#: concerns by row, of the database
_DATABASE_ROWS = {
    "database": ("serves",),
    "latency": ("slow", "latency"),
    "connections": ("connections",),
    "pgbouncer": ("bouncer",),
    "keys": ("keys", "old keys", "size"),
    "replicas": ("lag",),
    "mirror": ("mirror",),
    "disk": ("disk",),
    "backup": ("backup",),
}
_NOTHING_YET = "nothing is known yet"


@dataclass(frozen=True)
class Row:
    """``status`` is empty where nothing is judged."""

    name: str
    status: str
    text: str


@dataclass(frozen=True)
class StatusBoard:
    """``wrong`` are the troubles with what to run, ``remarks`` what else a reader should know."""

    at: str
    status: str
    rows: Sequence[Row]
    wrong: Sequence[Sequence[str]] = ()
    remarks: Sequence[str] = field(default=())

    def lines(self) -> List[Tuple[str, str]]:
        """(status that colours it or nothing, line)."""
        rows = [Row("OVERALL", self.status, f"{self.at[:19]}Z" if self.at else ""), *self.rows]
        found = [(row.status, f"{row.name:<{_NAME_WIDTH}}{row.status:<{_STATUS_WIDTH}}{row.text}") for row in rows]
        for first, *others in self.wrong:
            found += [("", ""), (self.status, first), *(("", f"  {each}") for each in others)]
        if self.remarks:
            found += [("", ""), *(("", each) for each in self.remarks)]
        return [(status, _printable(line)) for status, line in found]


def _printable(line: str) -> str:
    """Servers and applications name themselves, and a terminal obeys some characters."""
    return "".join(each if each.isprintable() else "?" for each in line).rstrip()


def board_of(content: Mapping[str, Any], remarks: Iterable[str] = (), *, status: str = "") -> StatusBoard:
    """``content`` as of ``/api/status``, with ``latency`` as of ``/api/latency`` where that was to be had. ``status``:
    at least so grave.
    """
    said = [*remarks, *(f"Not looked at: {each}" for each in content.get("degraded", []))]
    overall = _gravest([str(content.get("status", UNKNOWN)), status or OK])
    age = _age(content)
    if age > STALE_SECONDS:
        overall = _gravest([overall, UNKNOWN])
        said.append(
            f"The monitor's last look is {in_words(age)} old. Run: systemctl restart baileys-resilience-monitor"
        )
    said += [
        f"Silence: nothing is told of {each['subject']} for {in_words(each['seconds'])}"
        for each in content.get("silences", [])
    ]
    return StatusBoard(str(content.get("at", "")), overall, _rows(content), _wrong(content), said)


def _age(content: Mapping[str, Any]) -> float:
    try:
        return age_seconds(str(content.get("at", "")))
    except ResilienceError:
        return 0.0


def _gravest(statuses: Iterable[str]) -> str:
    return max(statuses, key=STATUSES.index, default=UNKNOWN)


def _wrong(content: Mapping[str, Any]) -> List[List[str]]:
    found = []
    for subject in content.get("subjects", {}).values():
        for each in subject["concerns"].values():
            if each["status"] == OK or not each["title"]:
                continue
            lasts = f" for {in_words(each['seconds'])}" if each["seconds"] >= 1 else ""
            lines = [
                f"{each['status']}: {each['subject']}: {each['title']}{lasts}",
                each["evidence"],
                f"Run: {each['command']}" if each["command"] else "",
                f"Note: {each['note']}" if each["note"] else "",
            ]
            found.append((STATUSES.index(each["status"]), [line for line in lines if line]))
    return [lines for _grave, lines in sorted(found, key=lambda each: -each[0])]


def _rows(content: Mapping[str, Any]) -> List[Row]:
    figures = content.get("figures", {})
    judged = _judged(content)
    texts = {
        "database": _database(content, figures.get("database")),
        "latency": _latency(content, figures.get("database")),
        "connections": _connections(figures.get("database")),
        "pgbouncer": _bouncer(figures.get("pgbouncer")),
        "keys": _keys(figures.get("keys")),
        "replicas": _replicas(figures.get("database")),
        "mirror": _mirror(figures.get("mirror")),
        "disk": _disk(figures.get("disk")),
        "backup": _backup(figures.get("backup")),
    }
    always = ("database", "latency", "connections", "keys")
    rows = []
    for name, text in texts.items():
        status = judged.get(name, "")
        if status or text or name in always:
            # Judged well a while ago, and not looked at since: that is no longer known.
            rows.append(Row(name, (status or UNKNOWN) if text or status != OK else UNKNOWN, text or _NOTHING_YET))
        if name == "connections":
            rows += _pools(figures, judged, content.get("latency", []))
        if name == "keys":
            rows += _ages(figures.get("keys"))
    rows += [_service(each) for each in content.get("services", [])]
    asked = content.get("auto_failover")
    return [*rows, Row("auto failover", "", str(asked["state"]))] if asked else rows


def _judged(content: Mapping[str, Any]) -> Dict[str, str]:
    """The gravest status by row; rows of applications are ``client <name>``."""
    found: Dict[str, List[str]] = {}
    for name, subject in content.get("subjects", {}).items():
        kind, _space, _rest = name.partition(" ")
        for concern, each in subject["concerns"].items():
            rows = [name] if kind == "client" else [row for row, of in _DATABASE_ROWS.items() if concern in of]
            for row in rows:
                found.setdefault(row, []).append(each["status"])
    return {row: _gravest(statuses) for row, statuses in found.items()}


def _database(content: Mapping[str, Any], figure: Optional[Mapping[str, Any]]) -> str:
    where = next((name.partition(" ")[2] for name in content.get("subjects", {}) if name.startswith("database ")), "")
    if figure is None:
        return where
    return f"{where}: {figure['error']}" if figure["error"] else f"{where}: serves"


def _latency(content: Mapping[str, Any], figure: Optional[Mapping[str, Any]]) -> str:
    hour = [
        each for each in content.get("latency", []) if each["samples"] and str(each["subject"]).startswith("database ")
    ]
    if hour:
        each_one = (
            f"{each['operation']} {_ms(each['p50_ms'])}/{_ms(each['p95_ms'])}/{_ms(each['p99_ms'])}" for each in hour
        )
        return f"{', '.join(each_one)} ms (P50/P95/P99 of the last hour)"
    if not figure or not figure["milliseconds"]:
        return ""
    return f"{', '.join(f'{name} {_ms(each)}' for name, each in figure['milliseconds'].items())} ms (the last look)"


def _ms(milliseconds: Optional[float]) -> str:
    if milliseconds is None:
        return "?"
    return f"{milliseconds:.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}"


def _connections(figure: Optional[Mapping[str, Any]]) -> str:
    pool = (figure or {}).get("connections")
    return f"{pool['used']} used ({pool['used_percent']:g} %), {pool['free']} free" if pool else ""


def _bouncer(figure: Optional[Mapping[str, Any]]) -> str:
    if not figure:
        return ""
    return (
        ", ".join(
            f"{each['name']} {each['servers_active']} of {each['pool_size']} lent out, {each['clients_waiting']} wait"
            for each in figure["pools"]
        )
        or "nobody uses it"
    )


def _pools(figures: Mapping[str, Any], judged: Mapping[str, str], hour: Sequence[Mapping[str, Any]]) -> List[Row]:
    rows = []
    for name, figure in figures.items():
        if not name.startswith("client "):
            continue
        text = "answers" if figure["answers"] else "does not answer"
        pool = figure["pool"]
        if pool:
            text = f"{pool['active']} of {pool['max']} connections lent out, {pool['waiting']} operations wait"
        if figure["cached_companies"]:
            text += f"; {figure['cached_companies']} companies run without the database"
        own = [each for each in hour if each["samples"] and each["subject"] == name]
        if own:
            slowest = max(own, key=lambda each: each["p95_ms"] or 0.0)
            text += f"; P95 of {slowest['operation']} {_ms(slowest['p95_ms'])} ms"
        rows.append(Row(name[: _NAME_WIDTH - 1], judged.get(name, UNKNOWN), text))
    return rows


def _keys(figure: Optional[Mapping[str, Any]]) -> str:
    if not figure:
        return ""
    return (
        f"{figure['count']:,} of {figure['companies']:,} companies, {figure['bytes'] / 1e6:,.1f} MB;"
        f" {figure['removable']:,} may go, {figure['older']:,} are old"
    )


def _ages(figure: Optional[Mapping[str, Any]]) -> List[Row]:
    ages = (figure or {}).get("ages")
    return [Row("key ages", "", "  ".join(f"{name} {count:,}" for name, count in ages.items()))] if ages else []


def _replicas(figure: Optional[Mapping[str, Any]]) -> str:
    found = (figure or {}).get("replicas") or []
    return ", ".join(
        f"{each['name'] or '(without a name)'} {each['behind_bytes'] / 1e6:,.1f} MB behind"
        + ("" if each["connected"] else ", not connected")
        for each in found
    )


def _mirror(figure: Optional[Mapping[str, Any]]) -> str:
    if not figure:
        return ""
    if figure["aside"]:
        return "stands aside: the sessions live in files"
    age = figure["age_seconds"]
    return figure["unusable"] or (f"{in_words(age)} old" if age is not None else "was never complete")


def _backup(figure: Optional[Mapping[str, Any]]) -> str:
    if not figure:
        return ""
    return ", ".join(f"{kind} {in_words(age)} old" for kind, age in sorted(figure["ages"].items())) or "there is none"


def _disk(figure: Optional[Mapping[str, Any]]) -> str:
    return f"{figure['path']}: {figure['used_percent']:g} % used" if figure else ""


def _service(each: Mapping[str, Any]) -> Row:
    name, waits = str(each["service"]), int(each.get("queued") or 0)
    if each.get("refused"):
        return Row(name, "warning", f"refuses our messages, {waits} wait: see docs/alerts.md")
    return Row(name, OK, f"{waits} messages wait" if waits else "nothing waits")
