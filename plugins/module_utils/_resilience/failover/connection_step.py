# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The step that decides whether a session has gone on in the new store, company by company."""

from __future__ import annotations

import time
from typing import Dict, List, Sequence, Tuple

from ..errors import ApplicationError
from ..steps.engine import Notes, Result, Step
from .context import FailoverContext, companies_text
from .health import LOGGED_OUT, OPEN, ApplicationHealth

_POLL_SECONDS = 0.05
#: What Baileys may have used up before it is asked: a pre-key goes with the first message of a contact, which brings a
#: session with it, so the number falls only where a known device renews its session. Never more than a twentieth: to a
#: small session ten keys are much.
_KEYS_USED_UP = 10
_KEYS_USED_UP_SHARE = 0.05


class VerifyConnection(Step[FailoverContext]):
    """Success is judged per company against its state before: one that was logged out before is not a failure."""

    name = "verify_connection"
    title = "verify that every session is connected"

    def __init__(self, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self.budget_seconds = deadline_seconds + 15.0

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        started = context.result_or_empty("start")
        probe = context.probe(
            context.target, log_file=started.get("log_file", ""), log_offset=int(started.get("log_offset", 0))
        )
        companies = context.moved_companies()
        limit = time.monotonic() + self.deadline_seconds
        no_return = bool(context.state().no_return)
        while True:
            health = probe.ask(context.settings.companies)
            verdicts = {company: self._judge(context, health, company) for company in companies}
            if not no_return and any(verdict == OPEN for verdict, _why in verdicts.values()):
                notes.no_return("a session is connected from the new store")
                no_return = True
            waiting = [company for company, (verdict, _why) in verdicts.items() if verdict == "waiting"]
            if not waiting or time.monotonic() > limit:
                return self._conclude(context, verdicts, health)
            time.sleep(_POLL_SECONDS)

    def _judge(self, context: FailoverContext, health: ApplicationHealth, company: str) -> Tuple[str, str]:
        """(open | waiting | excused, why) for one company."""
        now = health.company(company)
        before = context.result("preflight").get("health", {}).get(company, {})
        if now.connection == OPEN and now.store in (None, context.target):
            expected = context.result_or_empty("verify").get("keys", {}).get(company)
            if now.keys is not None and expected and expected - now.keys > _may_be_used_up(expected):
                return "waiting", f"it loaded {now.keys} of {expected} keys"
            return OPEN, ""
        if before.get("connection") == LOGGED_OUT or now.connection == LOGGED_OUT == before.get("connection"):
            return "excused", "it was logged out before"
        if now.connection == OPEN:
            return "waiting", f"it is connected from {now.store}"
        return "waiting", now.last_error or health.problem or f"connection is {now.connection}"

    def _conclude(
        self, context: FailoverContext, verdicts: Dict[str, Tuple[str, str]], health: ApplicationHealth
    ) -> Result:
        failed = {company: why for company, (verdict, why) in verdicts.items() if verdict == "waiting"}
        connected = [company for company, (verdict, _why) in verdicts.items() if verdict == OPEN]
        # Past the point of no return this must not keep the run open: it could be neither completed nor undone, and
        # the way back waits behind it.
        if failed and not connected and not context.state().no_return:
            first = sorted(failed)[0]
            raise ApplicationError(
                f"no session connected within {self.deadline_seconds:g} s (company {first}: {failed[first]})",
                operation="verify connection",
                subject=context.settings.application.service.name,
                hint="see the application's log",
            )
        return {
            "connected": connected,
            "failed": failed,
            "excused": {company: why for company, (verdict, why) in verdicts.items() if verdict == "excused"},
            "keys_loaded": {company: health.company(company).keys for company in connected},
            "degraded": _degraded(context, health, connected),
            "downtime_seconds": round(time.time() - context.result("stop")["stopped_at"], 3),
        }


def _may_be_used_up(keys: int) -> float:
    return min(_KEYS_USED_UP, keys * _KEYS_USED_UP_SHARE)


def _degraded(context: FailoverContext, health: ApplicationHealth, connected: Sequence[str]) -> List[str]:
    """PM2 and systemd tell the process, whose environment was looked into at the start. Where nobody tells, only the
    application can say which store it uses; a log says it by a pattern of its own (see settings).
    """
    started = context.result_or_empty("start")
    found = [
        f"the application was started anew on {context.target}, since company {company} did not go on there: {cause}"
        for company, cause in list(started.get("restarted", {}).items())[:1]
    ]
    asked = context.settings.application.health_on(context.target).kind != "log"
    silent = [company for company in connected if health.company(company).store is None]
    if not started.get("pids") and asked and silent:
        found.append(
            f"nobody can tell which store the process uses (company {companies_text(silent)}): the service manager"
            " names no process, and the application's health no store"
        )
    return found
