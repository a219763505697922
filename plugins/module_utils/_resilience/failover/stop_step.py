# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The step that ends the one writer, and the way back from it: never two processes of one session."""

from __future__ import annotations

import time
from typing import List

from ..errors import ApplicationError, StepFailed
from ..steps.engine import Notes, Result, Step
from .client_memory import drain, last_copies, resume
from .context import FailoverContext
from .flags import runs_with
from .health import OPEN
from .live_steps import hold_writes, still_held, take_back_holds
from .processes import identity_of, is_alive, wait_for
from .services import Service
from .source_reports import CLIENT


class StopApplication(Step[FailoverContext]):
    """The one writer ends here, before anybody else may write."""

    name = "stop"
    title = "stop the application, or hold its writes"

    def __init__(self, stop_seconds: float) -> None:
        self.budget_seconds = stop_seconds + 25.0

    def holds(self, context: FailoverContext, result: Result) -> bool:
        state = context.state()
        if context.live:
            # Past the point of no return nothing is held anew: what is not there yet is started there.
            return state.done("start") or bool(state.no_return) or still_held(context)
        return state.done("start") or not context.service.status().running

    def apply(self, context: FailoverContext, notes: Notes) -> Result:
        if context.live:
            return hold_writes(context, notes)
        before = context.result("preflight").get("service", {})
        _refuse_if_it_ran_again(context)
        context.service.status()  # PM2 takes 0.25 s to say which process it is: asked while that still runs
        # From the moment it is told to stop it answers nobody; a resumed run has been down since the first time.
        stopped_at = context.result_or_empty("stop").get("stopped_at") or time.time()
        noted = {name: before.get(name, default) for name, default in (("pids", []), ("identities", {}))}
        result = {"was_running": before.get("running", True), **noted, "stopped_at": stopped_at}
        drained = last_copies(context.settings.client_dir, context.result_or_empty("stop").get("drained", {}))
        notes.keep(**result, drained=drained)
        for company in _alone_with_client(context):
            if company not in drained:
                accepted = context.settings.policy.accept_data_loss
                drained[company] = drain(context.settings.client_dir, company, accept_data_loss=accepted)
                notes.keep(**result, drained=drained)
        notes.keep(**result, drained=drained, told=True)
        context.service.stop()
        return {**result, "drained": drained, "told": True}

    def verify(self, context: FailoverContext, result: Result) -> None:
        alive = [] if context.live else _still_alive(result)
        if alive:
            raise ApplicationError(
                f"pid {alive[0]} still lives",
                operation="stop service",
                subject=context.settings.application.service.name,
                hint="end it by hand: two writers would destroy the session",
            )

    def undo(self, context: FailoverContext, result: Result) -> None:
        """Back where its sessions live, as it was: running only if it ran before. A run that moved one more company
        finds the application on the new store, and leaves it there.
        """
        if context.live:
            take_back_holds(context)
            return
        if not result.get("was_running", True):
            return
        if context.state().done(self.name):
            # The old process has ended; one that runs now was started by somebody else, with flags of its own.
            if context.service.status().running:
                context.service.stop()
        else:
            resume(context.settings.client_dir, list(result.get("drained", {})))
            if not result.get("told") or _runs_as_before(context, result):
                return
        context.service.start(context.flags(context.store_in_use()))


def _alone_with_client(context: FailoverContext) -> List[str]:
    """Companies of which only the running client has everything: it makes a last copy before it is stopped."""
    staged = context.result_or_empty("stage").get("sessions", {})
    return [company for company, session in staged.items() if session["source"] == CLIENT]


def _refuse_if_it_ran_again(context: FailoverContext) -> None:
    """Between a stop and a later resume a reboot may have started the application again, on the store that its flags
    still name. What it wrote there since is in no copy of ours.
    """
    state = context.state()
    if not state.done("stop") or "start" in state.started or state.no_return:
        return
    status = context.service.status()
    flags, env_path = context.flags(context.target), context.settings.application.env_path
    if not status.running or runs_with(flags, env_path, status.pids):
        return
    raise StepFailed(
        f"the application was started again after it was stopped, and ran on {context.origin_store} since",
        operation="stop service",
        subject=context.settings.application.service.name,
        hint="this run's copies are older than its sessions: take the run back with undo, then begin a new one",
    )


def _runs_as_before(context: FailoverContext, result: Result) -> bool:
    """A stop that had no effect at all: the old process serves its sessions as ever.

    A process that was told to stop and still shuts down would be a second writer beside the one started now, so it is
    waited for. Raises ApplicationError when it neither ends nor serves.
    """
    service = context.settings.application.service
    if wait_for(lambda: not _still_there(context.service, result), service.stop_seconds):
        return False
    health = context.health(context.store_in_use())
    if any(each.connection == OPEN for each in health.companies.values()):
        return True
    alive = _still_alive(result)
    raise ApplicationError(
        f"it was told to stop and still lives after {service.stop_seconds:g} s"
        + (f" (pid {', '.join(map(str, alive))})" if alive else ""),
        operation="start service",
        subject=service.name,
        hint="end it by hand if it hangs, then: baileys-resilience failover undo",
    )


def _still_there(service: Service, result: Result) -> bool:
    return bool(_still_alive(result)) if result.get("pids") else service.status().running


def _still_alive(result: Result) -> List[int]:
    """The noted processes that live. After a reboot, or much later, a number may be that of somebody else."""
    known = result.get("identities", {})
    return [pid for pid in result.get("pids", []) if is_alive(pid) and known.get(str(pid)) in (None, identity_of(pid))]
