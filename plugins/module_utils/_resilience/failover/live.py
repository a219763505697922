# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The mode ``live``: a running session moves to the other store in place. Its client holds the writes while the copy is
made and the store of record is written, then goes on in the new store; nothing restarts, and WhatsApp sees nothing.

The steps are those of a restart. What stops the application holds its writes here, what starts it lets them go on; so
an undo, a run that is cut off and a process that is killed meet the same rules: ``.env`` names at every moment a store
that holds all that was ever acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence
from urllib.parse import urlencode

from ..errors import ApplicationError, ResilienceError, StepFailed, Unavailable
from ..sessions.model import DEFAULT_DIRECTORY_TEMPLATE
from ..sessions.record import FILES
from ..steps.engine import OtherWay
from .client_admin import ClientRefuses, ask, ask_status, process_of, text_of
from .client_memory import AS_FILE, EXPORTS, exported_of, sessions
from .context import FailoverContext
from .flags import wrong_flags
from .settings import FailoverSettings
from .source_reports import CLIENT

LIVE, RESTART, AUTO = "live", "restart", "auto"
NO_CLIENT = "the application has no session client"

#: what is held is silent, and Baileys drops a connection that is silent for 35 s
_HOLD_SECONDS = 25.0
#: a copy takes about 0.3 s each, and all of them are held until the last is in its place
_MOST_COMPANIES = 25
_EXPORT_SECONDS = 30.0
_WORD_SECONDS = 5.0
#: a session that goes on in PostgreSQL is compared row by row first
_COMMIT_SECONDS = 30.0
_BETWEEN_COMMITS_SECONDS = 0.3
_COMMITS = 3
#: what the client calls an abort that comes too late
_COMMITTED = "Committed"


@dataclass(frozen=True)
class Mode:
    """How a run moves the sessions; ``why_not_live`` is empty where it could."""

    name: str
    why_not_live: str = ""


def choose_mode(context: FailoverContext) -> Mode:
    """Live where the client can do it, unless the operator says otherwise. Raises StepFailed when it was asked for and
    cannot be.
    """
    wanted = context.settings.policy.mode
    if wanted == RESTART:
        return Mode(RESTART)
    why_not = _why_not(context)
    if not why_not:
        return Mode(LIVE)
    if wanted == LIVE:
        raise StepFailed(
            f"the sessions cannot move while they run: {why_not}",
            operation="choose mode",
            subject=context.settings.host,
            hint="mend that, or set failover_mode to auto: then the application is restarted",
        )
    return Mode(RESTART, why_not)


def _why_not(context: FailoverContext) -> str:
    settings = context.settings
    if not settings.client_dir or not Path(settings.client_dir).is_dir():
        return NO_CLIENT
    if context.switches_code:
        return f"another code runs from files (code.source is {settings.code.source})"
    if settings.application.health_on(context.target).kind == "log":
        return "a log cannot tell where a session lives (application.health.kind)"
    if settings.policy.source not in ("", CLIENT):
        return f"failover_source is {settings.policy.source}"
    if len(context.moving()) > _MOST_COMPANIES:
        return (
            f"{len(context.moving())} companies take longer than their writes can be held (at most {_MOST_COMPANIES})"
        )
    if settings.directory_template != DEFAULT_DIRECTORY_TEMPLATE:
        return f"its client knows no other directories than {DEFAULT_DIRECTORY_TEMPLATE}"
    try:
        answer = ask_status(settings.client_dir)
        return _other_places(settings, answer) or _unfit(context, answer) or _held_flags(context)
    except ResilienceError as exc:
        return exc.cause


def _other_places(settings: FailoverSettings, answer: Mapping[str, Any]) -> str:
    """A link on either side is the same place."""
    exports = str(Path(settings.client_dir) / EXPORTS)
    for name, place, meant, variable in (
        ("keeps files", answer.get("sessions_dir"), settings.sessions_dir, "WA_SESSIONS_DIR"),
        ("writes its copies", answer.get("export_dir"), exports, "WA_SESSION_EXPORT_DIR"),
    ):
        if not place or os.path.realpath(str(place)) != os.path.realpath(meant):
            return f"its client {name} in {place or 'no place that it names'}, and not in {meant} ({variable})"
    if os.path.exists(exports) and not os.access(exports, os.R_OK | os.X_OK):
        return f"the copies of its client cannot be read ({exports})"
    return ""


def _unfit(context: FailoverContext, answer: Mapping[str, Any]) -> str:
    open_now = {each["company"]: each for each in answer["sessions"]}
    moving = context.moving()
    for company in moving:
        session = open_now.get(company)
        if session is None:
            return f"company {company} is not open in its client"
        if session.get("store") != context.origin_store:
            return f"company {company} runs on {session.get('store')} in its client"
        if session.get("hold"):
            return f"company {company} is held by its client already, for a move to {session['hold'].get('to')}"
        if session.get("undecodable"):
            return f"company {company} has keys in memory that are no keys"
    # .env is of the whole application: the next start would take such a company along, without its session.
    others = sorted(c for c, each in open_now.items() if c not in moving and each.get("store") != context.target)
    return f"company {others[0]} is open in its client, and this run does not move it" if others else ""


def _held_flags(context: FailoverContext) -> str:
    """A process whose own environment names the old store would start on it again, whatever .env says."""
    flags = dict(context.flags(context.target))
    # Commands of the operator's own (of a container, for instance) tell no process, and its manager may not know all.
    pids = {*context.service.pids(), process_of(context.settings.client_dir)} - {0}
    for pid in sorted(pids):
        wrong = wrong_flags(pid, flags, strict=False)
        if wrong:
            return f"its process holds {', '.join(wrong)} in its environment, which goes before .env at its next start"
    return ""


def restart_instead(context: FailoverContext, step: str, error: ResilienceError) -> Optional[OtherWay]:
    """What else an ``auto`` run can do where the sessions cannot move as they run, found before the first of them was
    sealed: restart the application, like a run that knew it from the start.

    Not for an import that fails: it would fail again, with the application stopped.
    """
    first = "choose_source" if context.target == FILES else "stop"
    before_the_seal = {first, "stage", "stop", "export", "record_store"}
    if context.target == FILES:
        before_the_seal.add("verify")
    if not context.may_restart_instead or step not in before_the_seal or context.result_or_empty("record_store"):
        return None
    return OtherWay(first, "preflight", {"mode": RESTART, "why_not_live": error.cause})


def _request(settings: FailoverSettings, company: str, phase: str, seconds: float, **more: str) -> Mapping[str, Any]:
    query = urlencode({"company": company, "phase": phase, **more})
    return ask(settings.client_dir, "POST", f"/store?{query}", seconds=seconds)


def hold(context: FailoverContext, company: str) -> Dict[str, str]:
    """Hold the writes of a session; the client copies it meanwhile. Returns the hold's id and that copy; ``outage``
    where its old store alone lacks what was written since a while.
    """
    milliseconds = str(round(_HOLD_SECONDS * 1000))
    options = {"to": context.target, "holdMs": milliseconds, **AS_FILE}
    answer = _request(context.settings, company, "hold", _EXPORT_SECONDS, **options)
    copy = exported_of(company, answer.get("export"))
    held = {"hold": _id_of(answer), **copy.as_dict()}
    return {**held, "outage": "yes"} if _in_outage(context, company) else held


def _id_of(answer: Mapping[str, Any]) -> str:
    with contextlib.suppress(ValueError):
        found = text_of(answer.get("hold"))
        if found:
            return found
    raise ApplicationError("the client has not said which hold this is", hint="see the application's log")


def _in_outage(context: FailoverContext, company: str) -> bool:
    """Asked behind the hold: nothing is written any more. Where nobody says, it may have been."""
    try:
        return bool(sessions(context.settings.client_dir)[company].get("outage"))
    except (ResilienceError, KeyError):
        return True


def seal(context: FailoverContext, companies: Iterable[str]) -> None:
    """From now on these holds do not end by themselves. Raises ApplicationError for one that has ended already: then
    its session has gone on where it was, and the copy is not the session any more.
    """
    over = gone_over(context, list(holds_of(context)))
    for company in companies:
        if company not in over:
            _request(context.settings, company, "seal", _WORD_SECONDS, hold=holds_of(context)[company])


def _directory(context: FailoverContext, company: str) -> str:
    """Spelled as the client does: one of the two may go through a link."""
    place = str(ask_status(context.settings.client_dir, seconds=_WORD_SECONDS)["sessions_dir"])
    return f"{place.rstrip('/')}/company_{company}"


def refuse_if_let_go(context: FailoverContext, companies: Sequence[str]) -> None:
    """Asked behind the switch of ``.env``. Where each session is held still, or is in the new store, nothing was
    written to the old one since the seal, and nothing will be: who starts that process anew starts it in the new store.

    Raises ApplicationError for a session that went on in the old store, and where nobody says.
    """
    limit = time.monotonic() + _WORD_SECONDS
    while True:
        now: Mapping[str, Mapping[str, Any]] = {}
        with contextlib.suppress(ResilienceError):
            now = sessions(context.settings.client_dir)
        there = [c for c in companies if now.get(c, {}).get("store") == context.target]
        held = [c for c in companies if _is_held(now.get(c), holds_of(context).get(c, ""), sealed=True)]
        lost = [c for c in companies if c not in there and c not in held]
        if not lost:
            return
        if time.monotonic() > limit:
            said = now.get(lost[0])
            what = f"it runs on {said.get('store')}" if said else "its client does not answer, or has not opened it"
            raise ApplicationError(
                f"company {lost[0]} is not held any more: {what}",
                operation="let sessions go on",
                subject=context.settings.application.service.name,
                hint="the application ended meanwhile: see its log",
            )
        time.sleep(_BETWEEN_COMMITS_SECONDS)


def commit(context: FailoverContext, company: str) -> None:
    """The session goes on in the new store. One that is refused is asked for again.

    Raises ApplicationError when it is refused to the end, with the session held as before; Unavailable when the process
    that held it is gone, or hangs.
    """
    hold = holds_of(context)[company]
    for attempt in range(_COMMITS):
        if attempt:
            time.sleep(_BETWEEN_COMMITS_SECONDS)
        try:
            place = _directory(context, company)  # a process that hangs is known by this, and quicker
            directory = {"directory": place} if context.target == FILES else {}
            _request(context.settings, company, "commit", _COMMIT_SECONDS, hold=hold, **directory)
            return
        except (ApplicationError, Unavailable) as exc:
            error = exc
        if isinstance(error, Unavailable):
            _take_back_late_commit(context, company)
        now = sessions(context.settings.client_dir).get(company, {})
        if now.get("store") == context.target:
            return
        if not _is_held(now, hold, sealed=True):
            raise Unavailable(
                f"the process that held it is gone ({error.cause})",
                operation="commit",
                subject=f"company {company}",
                hint="see the application's log",
            ) from error
        if isinstance(error, Unavailable):
            break
    raise ApplicationError(error.cause, operation="commit", subject=f"company {company}", hint=error.hint) from error


def _take_back_late_commit(context: FailoverContext, company: str) -> None:
    """One that was not answered may be under way still, and would move the session behind the undo. After this word it
    has done so already, which the session's store tells, or it never does.
    """
    with contextlib.suppress(ApplicationError, Unavailable):
        _request(context.settings, company, "seal", _WORD_SECONDS, hold=holds_of(context)[company])


def abort(context: FailoverContext, companies: Iterable[str]) -> List[str]:
    """These sessions go on where they were, in the epoch that the record has for them by now. A process that is gone
    holds nothing. Returns those for which it is too late: they run on the new store.
    """
    too_late: List[str] = []
    for company in companies:
        epoch = str(context.record.get(company).epoch)
        try:
            hold = holds_of(context)[company]
            _request(context.settings, company, "abort", _WORD_SECONDS, hold=hold, epoch=epoch)
        except ClientRefuses as exc:
            if exc.why == _COMMITTED:
                too_late.append(company)
        except (ApplicationError, Unavailable):
            continue
    return too_late


def refuse_holds_that_stay(context: FailoverContext) -> None:
    """Raise StepFailed when the client holds a session still: it was not told, or is busy with the commit."""
    try:
        now = sessions(context.settings.client_dir)
    except ResilienceError:
        return  # gone, and its holds with it
    stay = [company for company, hold in holds_of(context).items() if _is_held(now.get(company), hold, sealed=False)]
    if stay:
        raise StepFailed(
            f"its client still holds the writes of company {stay[0]} ({len(stay)} such)",
            operation="let sessions go on",
            subject=context.settings.host,
            hint="see the application's log; then: baileys-resilience failover undo",
        )


def holds_of(context: FailoverContext) -> Dict[str, str]:
    """The ids that the client gave, by company."""
    held = context.result_or_empty("stop").get("drained", {})
    return {company: str(copy["hold"]) for company, copy in held.items() if "hold" in copy}


def all_held(context: FailoverContext, *, sealed: bool = False) -> bool:
    """Whether every hold of this run is one still, so that nothing was written since, or its session has gone over;
    with ``sealed``, one without an end.
    """
    return _each(context, lambda now, hold: now.get("store") == context.target or _is_held(now, hold, sealed))


def all_wait(context: FailoverContext) -> bool:
    """Whether every session of this run is held still, and none can have gone over: no commit is under way."""
    if context.result_or_empty("start").get("asked"):
        return False
    return _each(context, lambda now, hold: _is_held(now, hold, sealed=False))


def _each(context: FailoverContext, fits: Callable[[Mapping[str, Any], str], bool]) -> bool:
    try:
        now = sessions(context.settings.client_dir)
    except ResilienceError:
        return False
    return all(fits(now.get(company, {}), hold) for company, hold in holds_of(context).items())


def _is_held(session: Optional[Mapping[str, Any]], hold: str, sealed: bool) -> bool:
    now: Mapping[str, Any] = (session or {}).get("hold") or {}
    return now.get("hold") == hold and (not sealed or now.get("phase") == "sealed")


def gone_over(context: FailoverContext, companies: Sequence[str]) -> List[str]:
    """Those that run on the new store."""
    with contextlib.suppress(ResilienceError):
        now = sessions(context.settings.client_dir)
        return [company for company in companies if now.get(company, {}).get("store") == context.target]
    return []
