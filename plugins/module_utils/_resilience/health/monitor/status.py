# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``/api/status``: all that the monitor knows, as JSON for a page, a terminal and programs."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ... import __version__
from ...clock import in_words, to_iso
from ...sessions.backup_age import BackupAges
from ...sessions.mirror_age import MirrorAge
from ..alerts.overview import KeyState
from ..findings import STATUSES
from ..key_ages import KeyAges
from .bouncer import BouncerFigure
from .clients import ClientFigure
from .database import DatabaseFigure
from .metrics import removable_by_company
from .watch import Published


def as_status(
    published: Published, *, name: str = "", most_companies: int = 100, services: Sequence[Mapping[str, Any]] = ()
) -> Dict[str, Any]:
    """``subjects`` by name and concern, the gravest first; ``open`` are incidents that somebody was told of;
    ``figures`` of each source's last good look; ``services`` are those that are told, and how they do; ``name`` is that
    of the monitor; ``auto_failover`` is null where none is ever asked for.
    """
    return {
        "version": __version__,
        "name": name,
        "at": to_iso(published.at.wall),
        "status": published.status,
        "looks": published.looks,
        "open": [_state(each) for each in published.states if each.told],
        "subjects": _by_subject(published.states),
        "figures": {
            name: {"at": to_iso(at.wall), **_figure(figure, most_companies)}
            for name, (at, figure) in published.figures.items()
        },
        "degraded": published.degraded,
        "silences": published.silences,
        "services": list(services),
        "auto_failover": published.auto_failover,
    }


def _by_subject(states: List[KeyState]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for each in states:
        subject = found.setdefault(str(each.key.subject), {"status": each.status, "concerns": {}})
        subject["status"] = max(subject["status"], each.status, key=STATUSES.index)
        subject["concerns"][each.key.concern] = _state(each)
    return found


def _state(each: KeyState) -> Dict[str, Any]:
    return {
        "subject": str(each.key.subject),
        "concern": each.key.concern,
        "status": each.status,
        "state": each.state,
        "cause": each.cause,
        "title": each.title,
        "evidence": each.evidence,
        "command": each.command,
        "note": each.note,
        "since": to_iso(each.since) if each.since else None,
        "seconds": round(each.seconds, 1),
        "told": each.told,
    }


def _figure(figure: Any, most_companies: int) -> Mapping[str, Any]:
    if isinstance(figure, DatabaseFigure):
        return _database(figure)
    if isinstance(figure, ClientFigure):
        return _client(figure)
    if isinstance(figure, KeyAges):
        return _keys(figure, most_companies)
    if isinstance(figure, MirrorAge):
        return {**asdict(figure), "age_seconds": figure.age_seconds}
    if isinstance(figure, BouncerFigure):
        return {"pools": [{"name": each.name, **each.as_dict()} for each in figure.pools]}
    if isinstance(figure, BackupAges):
        return {**asdict(figure), "ages": {kind: round(age, 1) for kind, age in figure.ages.items()}}
    return asdict(figure) if is_dataclass(figure) and not isinstance(figure, type) else {}


def _database(figure: DatabaseFigure) -> Mapping[str, Any]:
    return {
        "milliseconds": {name: round(seconds * 1000, 2) for name, seconds in figure.seconds.items()},
        "error": figure.error,
        "canary": figure.canary,
        "connections": figure.pool.as_dict() if figure.pool else None,
        "replicas": [asdict(each) for each in figure.replicas],
    }


def _client(figure: ClientFigure) -> Mapping[str, Any]:
    cached = None if figure.cached is None else sum(1 for each in figure.cached.values() if each > 0)
    return {
        "client": figure.name,
        "answers": figure.answers,
        "pool": figure.pool.as_dict() if figure.pool else None,
        "slow_total": figure.slow_total,
        "cached_companies": cached,
    }


def _keys(figure: KeyAges, most_companies: int) -> Mapping[str, Any]:
    return {
        "snapshot_at": figure.snapshot_at,
        "companies": len(figure.companies),
        "count": figure.total("count"),
        "older": figure.total("older"),
        "removable": figure.total("removable"),
        "removable_by_company": dict(removable_by_company(figure, most_companies)),
        "ages": figure.ages,
        "by_type": {name: asdict(each) for name, each in figure.by_type.items()},
        "bytes": figure.total_bytes,
    }


def lines(published: Published) -> List[str]:
    """The same for a terminal."""
    told = [f"status {published.status}"]
    for each in published.states:
        told.append(f"  {each.key}: {each.status}{_why(each)}")
    return told + [f"degraded: {each}" for each in published.degraded]


def _why(each: KeyState) -> str:
    if not each.title:
        return ""
    parts: List[Optional[str]] = [each.title, each.evidence, f"for {in_words(each.seconds)}", f"run {each.command}"]
    return ", " + "; ".join(part for part in parts if part)
