# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the steps ``stop`` and ``start`` do in the mode live: hold the writes of each session, and let them go on in the
new store.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from ..errors import ApplicationError, ResilienceError
from ..steps.engine import Notes, Result
from .context import FailoverContext
from .live import abort, all_held, commit, gone_over, hold, holds_of, refuse_holds_that_stay


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
    """Commit each session. The first that goes on is the point of no return: its ratchets move in the new store."""
    committed: List[str] = []
    failed: Dict[str, str] = {}
    error: List[ResilienceError] = []
    for company in context.moved_companies():
        try:
            commit(context, company)
        except ResilienceError as exc:
            failed[company] = exc.cause
            error.append(exc)
            continue
        if not committed and not context.state().no_return:
            notes.no_return("a session goes on in the new store")
        committed.append(company)
    if failed and not committed and not context.state().no_return:
        first = sorted(failed)[0]
        raise ApplicationError(
            f"no session went over (company {first}: {failed[first]})",
            operation="let sessions go on",
            subject=context.settings.application.service.name,
            hint="see the application's log; with failover_mode restart the application is restarted instead",
        ) from error[0]
    # Of a company whose copy failed nothing was moved: it goes on where it was.
    abort(context, [company for company in holds_of(context) if company not in context.moved_companies()])
    pids = context.result("preflight").get("service", {}).get("pids", [])
    return {"started": False, "pids": pids, "log_file": "", "log_offset": 0, "committed": committed, "failed": failed}


def all_went_over(context: FailoverContext) -> bool:
    moved = context.moved_companies()
    return len(gone_over(context, moved)) == len(moved)


def take_back_holds(context: FailoverContext) -> None:
    """The sessions go on where they were. A process that was started anew meanwhile may run on the new store, by flags
    that are taken back by now: it is started once more.
    """
    holds = holds_of(context)
    held = all_held(context)
    abort(context, holds)
    refuse_holds_that_stay(context)
    running = context.service.status().running
    # One that was started anew may have read the new flags, and not be open yet.
    if running and (held or "switch_env" not in context.state().started) and not gone_over(context, list(holds)):
        return
    if running:
        context.service.stop()
    if context.result("preflight")["service"]["running"]:
        context.service.start(context.flags(context.store_in_use()))
