# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The pools of a PgBouncer, by its console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from ...errors import Refused, ResilienceError
from ...postgres import ConnectParams
from ..alerts.model import PGBOUNCER, Subject
from ..alerts.readings import Bouncer, Reading
from ..pgbouncer import BouncerPool, read_bouncer
from .source import Look


@dataclass(frozen=True)
class BouncerFigure:
    pools: Tuple[BouncerPool, ...] = ()


class BouncerSource:
    """``params`` of :func:`..pgbouncer.console_params`."""

    name = "pgbouncer"
    quick = False

    def __init__(self, params: ConnectParams, *, interval_seconds: float = 5.0, deadline_seconds: float = 2.0) -> None:
        self.subject = subject_of(params)
        self.interval_seconds = interval_seconds
        self.limit_seconds = 3 * deadline_seconds + 1.0
        self._params, self._deadline_seconds = params, deadline_seconds

    def look(self) -> Look:
        try:
            pools = tuple(read_bouncer(self._params, seconds=self._deadline_seconds))
        except Refused as error:
            # That is no news of PgBouncer, and it will not be otherwise in a minute.
            return Look(degraded=(f"the pools of PgBouncer cannot be read: {error}",))
        except ResilienceError as error:
            return Look(self.failed(error.cause), degraded=(f"the pools of PgBouncer cannot be read: {error}",))
        return Look([Bouncer(self.subject, pools)], BouncerFigure(pools))

    def failed(self, problem: str) -> List[Reading]:
        return [Bouncer(self.subject, problem=problem)]


def subject_of(params: ConnectParams) -> Subject:
    return Subject(PGBOUNCER, f"{params.host}:{params.port}")
