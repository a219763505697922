# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the steps ``stop`` and ``start`` do in the mode live: hold the writes of each session, and let them go on in the
new store.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import ApplicationError, ResilienceError, Unavailable
from ..steps.engine import Notes, Result
from .context import FailoverContext
from .flags import runs_with
from .live import abort, all_held, commit, gone_over, hold, holds_of, refuse_holds_that_stay, refuse_if_let_go

#: of all sessions; WhatsApp gives up a connection that is silent for longer
_COMMIT_ALL_SECONDS = 30.0


def hold_writes(context: FailoverContext, notes: Notes) -> Result:
    """Every session that moves, or none: a hold that fails ends the others with the undo."""
    stopped_at = time.time()
    drained: Dict[str, Any] = {}
    for company in _to_hold(context):
        drained[company] = hold(context, company)
        # Each by itself: what is not written down here cannot be aborted.
        notes.keep(was_running=True, stopped_at=stopped_at, drained=drained)
    return {"was_running": True, "stopped_at": stopped_at, "drained": drained}


def _to_hold(context: FailoverContext) -> List[str]:
    staged = context.result_or_empty("stage").get("sessions")
    return list(context.moving()) if staged is None else sorted(staged)


def still_held(context: FailoverContext) -> bool:
    """Asked at a resume. A hold that has ended, or whose process was started anew on the old store, is made again, and
    everything behind it too: the session has written since. A process that was started on the new store has gone over.
    """
    return all_held(context)


def still_sealed(context: FailoverContext) -> bool:
    return all_held(context, sealed=True)


def let_go_on(context: FailoverContext, notes: Notes) -> Result:
    """Commit each session. The first that goes on is the point of no return: its ratchets move in the new store. From
    there, and where the process that held them is gone or hangs, the way is forward: what no commit reaches is started
    anew on the store of record, which holds all that was ever acknowledged.
    """
    moved = context.moved_companies()
    if not context.state().no_return:
        refuse_if_let_go(context, moved)
    # As long as an answer is missing, nobody knows where that session is.
    notes.keep(asked=moved)
    committed, failed = _commit_each(context, notes, moved)
    gone = [company for company, exc in failed.items() if isinstance(exc, Unavailable)]
    if failed and not gone and not context.state().no_return:
        notes.keep(asked=[])
        first = sorted(failed)[0]
        raise ApplicationError(
            f"no session went over (company {first}: {failed[first].cause})",
            operation="let sessions go on",
            subject=context.settings.application.service.name,
            hint="see the application's log; with failover_mode restart the application is restarted instead",
        ) from failed[first]
    # Of a company whose copy failed nothing was moved: it goes on where it was.
    abort(context, [company for company in holds_of(context) if company not in moved])
    pids = context.result("preflight").get("service", {}).get("pids", [])
    result = {"started": False, "pids": pids, "log_file": "", "log_offset": 0, "committed": committed}
    if not failed:
        return result
    notes.keep(started=True)
    pids = _start_on_new_store(context)
    causes = {company: exc.cause for company, exc in failed.items()}
    return {**result, "started": True, "pids": pids, "restarted": causes}


def _commit_each(
    context: FailoverContext, notes: Notes, companies: Sequence[str]
) -> Tuple[List[str], Dict[str, ResilienceError]]:
    committed: List[str] = []
    failed: Dict[str, ResilienceError] = {}
    limit = time.monotonic() + _COMMIT_ALL_SECONDS
    for company in companies:
        gone = next((exc for exc in failed.values() if isinstance(exc, Unavailable)), None)
        if gone or time.monotonic() > limit:
            failed[company] = gone or Unavailable("the commits of the others took too long")
            continue
        try:
            commit(context, company)
        except ResilienceError as exc:
            failed[company] = exc
            continue
        committed.append(company)
        if not context.state().no_return:
            notes.no_return("a session goes on in the new store")
    return committed, failed


def _start_on_new_store(context: FailoverContext) -> List[int]:
    """A process that its manager has started anew meanwhile is there by ``.env`` already."""
    status = context.service.status()
    before = context.result("preflight").get("service", {}).get("pids", [])
    flags = context.flags(context.target)
    anew = status.running and status.pids and not set(status.pids) & set(before)
    if anew and runs_with(flags, context.settings.application.env_path, status.pids):
        return list(status.pids)
    # A restart also ends a process that hangs, and whatever it may still do with a commit that it has not answered.
    context.service.stop()
    return list(context.service.start(flags).pids)


def all_went_over(context: FailoverContext) -> bool:
    moved = context.moved_companies()
    return len(gone_over(context, moved)) == len(moved)


def take_back_holds(context: FailoverContext) -> None:
    """The sessions go on where they were. A process that was started anew meanwhile may run on the new store, by flags
    that are taken back by now: it is started once more.
    """
    holds = holds_of(context)
    held = all_held(context)
    too_late = abort(context, holds)
    refuse_holds_that_stay(context)
    over = too_late or gone_over(context, list(holds))
    running = context.service.status().running
    # One that was started anew may have read the new flags, and not be open yet.
    if running and (held or "switch_env" not in context.state().started) and not over:
        return
    if running:
        context.service.stop()
    if context.result("preflight")["service"]["running"]:
        context.service.start(context.flags(context.store_in_use()))
