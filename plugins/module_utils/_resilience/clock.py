# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Times are UTC, ISO 8601 with a Z, microseconds."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from .errors import UsageError

FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def to_iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime(FORMAT)


def now_iso() -> str:
    return to_iso(utc_now())


def from_iso(text: str) -> datetime:
    """Read what :func:`to_iso` or PostgreSQL in UTC (``2026-01-31T03:00:00.25+00``) wrote."""
    plain = re.sub(r"(Z|\+00(:?00)?)$", "", text.replace(" ", "T", 1))
    for pattern in ("%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(plain, pattern).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    raise UsageError("is not a time", operation="read", subject=repr(text), hint="write times as 2026-01-31T03:00:00Z")


def age_seconds(text: str) -> float:
    """Seconds between ``text`` and now; never negative (clocks differ)."""
    return max(0.0, (utc_now() - from_iso(text)).total_seconds())
