# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""``/api/companies``: each company with its keys, its store, and whether it runs without the database."""

from __future__ import annotations

from typing import Any, Dict, Iterable, Optional

from ..key_ages import CompanyAges, KeyAges
from .clients import ClientFigure
from .watch import Published


def as_companies(published: Optional[Published], most: int) -> Dict[str, Any]:
    """Those that run without the database first, then those without creds, then those with the most keys that may go.
    Of more than ``most`` only the number is told. ``counted_at`` is empty before the first count of keys.
    """
    figures = [figure for _at, figure in published.figures.values()] if published else []
    keys = next((each for each in figures if isinstance(each, KeyAges)), None)
    cached = _cached(each for each in figures if isinstance(each, ClientFigure))
    known = keys.companies if keys else {}
    rows = [_row(name, known.get(name), cached.get(name)) for name in {*known, *cached}]
    rows.sort(
        key=lambda each: (
            -(each["without_database_seconds"] or 0.0),
            each["has_creds"] is not False,
            -(each["removable"] or 0),
            each["company"],
        )
    )
    return {
        "counted_at": keys.snapshot_at if keys else "",
        "total": len(rows),
        "companies": rows[:most],
        "left_off": max(0, len(rows) - most),
    }


def _cached(clients: Iterable[ClientFigure]) -> Dict[str, float]:
    """Seconds for which each company has been running without the database, by the clients that hold it."""
    found: Dict[str, float] = {}
    for each in clients:
        for company, seconds in (each.cached or {}).items():
            found[company] = max(found.get(company, 0.0), seconds)
    return found


def _row(company: str, ages: Optional[CompanyAges], cached: Optional[float]) -> Dict[str, Any]:
    row: Dict[str, Any] = {
        "company": company,
        "store": ages.store if ages else None,
        "has_creds": ages.has_creds if ages else None,
        "without_database_seconds": None if cached is None else round(cached, 1),
    }
    kinds = list(ages.keys.values()) if ages else []
    for what in ("count", "older", "removable"):
        row[what] = sum(getattr(each, what) for each in kinds) if ages else None
    buckets: Dict[str, int] = {}
    for each in kinds:
        for name, number in each.ages.items():
            buckets[name] = buckets.get(name, 0) + number
    row["ages"] = buckets
    return row
