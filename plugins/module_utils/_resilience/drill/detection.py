# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How long our own client needs to see that the database is dead, and when it is there again.

A probe is what a failover does first: a new connection and a question, under the same deadlines
(``failover_connect_seconds``). It runs beside the fault, on the application's host, and all its times are of that one
clock: from the last answer that it got to its verdict.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict

from ..clock import now_iso
from ..errors import DeadlineExceeded, ReadOnly, Unavailable, VerificationFailed
from ..failover.settings import FailoverSettings
from ..postgres import session

INTERVAL_SECONDS = 0.2


@dataclass(frozen=True)
class Detection:
    """``seconds`` lie between the last answer and the verdict, at most one interval more than the database was dead."""

    last_answer_at: str
    down_at: str
    seconds: float
    said: str

    def as_dict(self) -> Dict[str, Any]:
        return asdict(self)


def ask(settings: FailoverSettings) -> None:
    """One probe. Raises Unavailable (DeadlineExceeded, when nobody answers) for a database that is down; a wrong
    password or setting is raised as what it is, and is no detection.
    """
    patience = settings.policy.connect_seconds
    opened = session(settings.database, operation="probe", deadline_seconds=patience, connect_seconds=patience)
    with opened as (connection, _deadline):
        cursor = connection.cursor()
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            raise ReadOnly(
                "the server is in recovery",
                operation="probe",
                subject=settings.database.where,
                hint="the drill needs the primary",
            )


def watch_until_down(settings: FailoverSettings, limit_seconds: float, answered: Callable[[], None]) -> Detection:
    """Probe until the database is down; ``answered`` is called after the first answer. Raises VerificationFailed when
    it still answers at the limit.
    """
    limit = time.monotonic() + limit_seconds
    # When the question was asked: the answer proves that it was alive then.
    last, last_at = time.monotonic(), now_iso()
    ask(settings)
    answered()
    while True:
        began, began_at = time.monotonic(), now_iso()
        try:
            ask(settings)
        except Unavailable as exc:
            return Detection(last_at, now_iso(), round(time.monotonic() - last, 2), exc.cause)
        last, last_at = began, began_at
        if time.monotonic() >= limit:
            raise VerificationFailed(
                f"the database still answers after {limit_seconds:g} s",
                operation="detect",
                subject=settings.database.where,
                hint="the fault does not reach the database that this host uses: check failover_drill_fault_host and"
                " what is broken there",
            )
        time.sleep(INTERVAL_SECONDS)


def wait_for_answer(settings: FailoverSettings, limit_seconds: float) -> float:
    """Seconds until the database answered. Raises DeadlineExceeded at the limit."""
    began = time.monotonic()
    while True:
        try:
            ask(settings)
            return round(time.monotonic() - began, 2)
        except (Unavailable, ReadOnly) as exc:
            if time.monotonic() - began >= limit_seconds:
                raise DeadlineExceeded(
                    f"healed, but without an answer for {limit_seconds:g} s: {exc.cause}",
                    operation="wait for the database",
                    subject=settings.database.where,
                    hint="start it by hand; then move the sessions back with the playbook failback",
                ) from exc
        time.sleep(INTERVAL_SECONDS)
