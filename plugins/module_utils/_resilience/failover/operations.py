# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Failover and failback as whole operations: plan, begin, one step, all, resume, undo, report. Module and command
call only this.
"""

from __future__ import annotations

import getpass
import itertools
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..clock import utc_now
from ..errors import ResilienceError, StepFailed, UsageError
from ..files import write_json
from ..progress import Progress
from ..sessions.record import FILES, POSTGRES
from ..steps.detached import detach, follow, wait_for_end
from ..steps.engine import Run, Step
from ..steps.journal import RunState
from ..steps.lease import HostLease, Lease
from .client_memory import copied_by_client, discard_copies
from .context import FailoverContext
from .ending import (
    DONE,
    NOT_TAKEN_BACK,
    OPEN,
    PARTIAL,
    TAKEN_BACK,
    UNDONE,
    Report,
    end,
    first_reason,
    is_anothers,
    not_connected,
    read_json,
    say_left_open,
    say_taken_back,
)
from .failback_steps import failback_checks, failback_rehearsals, failback_steps
from .failover_steps import failover_steps
from .live import all_wait, restart_instead
from .moved_on import session_moved_on
from .plan import DOWN_FROM, DOWN_TO, Plan, make_plan
from .readiness import Check, failover_checks, failover_rehearsals
from .report import as_markdown, failed_companies, headline, make_report
from .settings import FailoverSettings
from .staging import discard_staging

FAILOVER, FAILBACK = "failover", "failback"
_TARGETS = {FAILOVER: FILES, FAILBACK: POSTGRES}


@dataclass
class Outcome:
    """What one call did. ``result`` is the step's own; ``report`` and ``markdown`` are set once a run has ended."""

    operation: str
    run: str
    changed: bool
    message: str
    result: Dict[str, Any] = field(default_factory=dict)
    report: Optional[Dict[str, Any]] = None
    markdown: str = ""

    @property
    def error(self) -> Optional[ResilienceError]:
        """What a caller has to fail with, although the run ended and its results stand: a company is not connected."""
        if self.report is None or self.report["outcome"] != PARTIAL:
            return None
        return StepFailed(
            not_connected(self.report, failed_companies(self.report)),
            operation=self.operation,
            subject=self.run,
            hint="see the report for the reason of each; the others are well and stay",
        )


class Operation:
    """One failover or failback on this host. ``ended`` is what became of a run whose step raised: undone or open."""

    def __init__(self, settings: FailoverSettings, operation: str, *, progress: Optional[Progress] = None) -> None:
        if operation not in _TARGETS:
            raise UsageError(
                "no such operation", operation="run", subject=operation, hint="the operations are failover and failback"
            )
        self.settings = settings
        self.operation = operation
        self._progress = progress
        self._lease = HostLease(settings.state)
        self.ended: Optional[Outcome] = None

    @property
    def step_names(self) -> List[str]:
        return [step.name for step in self._steps()]

    def plan(self) -> Plan:
        """What a run would do and all that stops it, as far as anybody can know it now. Writes nothing."""
        plan = self._plan(failover_rehearsals if self.operation == FAILOVER else failback_rehearsals)
        self._block_if_taken(plan)
        return plan

    def _plan(self, *more: Callable[[FailoverContext], Sequence[Check]]) -> Plan:
        context = self._context("")
        instant = failover_checks if self.operation == FAILOVER else failback_checks
        checks = [check for checks in (instant, *more) for check in checks(context)]
        return make_plan(context, self.operation, self._steps(), checks)

    def _block_if_taken(self, plan: Plan) -> None:
        try:
            lease = self._lease.current()
            if lease and not self._has_ended(lease):
                self._lease.check_free(self.operation)
            if plan.moving:
                self._lease.check_cooldown(self.operation, self.settings.policy.cooldown_seconds)
        except ResilienceError as exc:
            plan.block(exc)

    def begin(self) -> Outcome:
        """Open a run. Nothing to do gives ``changed`` False and no run; an open run of the same kind is an error that
        says who and since when.
        """
        self._forget_ended_run()
        # Before the plan: an open run may have recorded the new store already, and then nothing seems left to do.
        self._lease.check_free(self.operation)
        plan = self._plan()
        if not plan.moving and not plan.error:
            return Outcome(self.operation, "", False, plan.sentences()[0], {"plan": plan.as_dict()})
        if plan.moving:
            self._check_confirmed()
        if plan.error:
            raise plan.error
        run_id = self._new_run_id()
        run = self._run(run_id)
        cooldown = self.settings.policy.cooldown_seconds
        run.begin(self.operation, self._operator(), plan.as_dict(), companies=plan.moving, cooldown_seconds=cooldown)
        return Outcome(self.operation, run_id, True, "\n".join(plan.sentences()), {"plan": plan.as_dict()})

    def _new_run_id(self) -> str:
        name = f"{utc_now().strftime('%Y%m%dT%H%M%S')}-{self.operation}-{os.getpid()}"
        # One process may begin two runs within a second; a journal has one run.
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        return next(each for each in names if not (self.settings.state / "runs" / each).exists())

    def step(self, name: str, run_id: str = "", *, detached: bool = False) -> Outcome:
        """One step. ``detached``: the steps of the downtime run in a process of their own as soon as the first of them
        is asked for, and this call shows what became of ``name``.
        """
        run = self._run(run_id or self._open_run())
        if detached and name == DOWN_FROM and not run.state.done(name):
            names = self.step_names
            downtime = names[names.index(DOWN_FROM) : names.index(DOWN_TO) + 1]
            detach(run, downtime, lambda error: self._end_abandoned(error, run))
        shown = follow(run.directory, name) if detached else None
        result = shown.result if shown else run.execute(name)
        title = next(step.title for step in self._steps() if step.name == name)
        return Outcome(self.operation, run.id, True, title, dict(result))

    def run(self) -> Outcome:
        """Begin and run everything. An error before the point of no return undoes everything and is raised again."""
        begun = self.begin()
        if not begun.changed:
            return begun
        return self._complete(self._run(begun.run))

    def resume(self) -> Outcome:
        """Complete an open run, or complete its undo when that was cut off."""
        run = self._run(self._open_run())
        if run.state.undoing:
            return self.undo("resumed undo")
        return self._complete(run)

    def _complete(self, run: Run[FailoverContext]) -> Outcome:
        # A process that a lost controller left at work is quicker than we, and two would be in each other's way.
        wait_for_end(run.directory)
        ended = run.state.outcome
        if ended is not None:
            raise StepFailed(
                f"this run has ended meanwhile: {ended}",
                operation=self.operation,
                subject=run.id,
                hint=f"read {run.directory}/report.md; then begin a new run if it is needed",
            )
        try:
            run.run_all()
            return self.finish(run.id)
        except ResilienceError as exc:
            if not is_anothers(exc, run) and run.state.outcome is None:
                self._end_badly(exc, run)
            raise

    def _end_badly(self, error: ResilienceError, run: Run[FailoverContext]) -> None:
        """Undo what may be undone, and let the error say what became of the run."""
        state = run.state
        if state.no_return:
            self._leave_open(run, str(error))
            say_left_open(error, state)
            return
        try:
            self.ended = self.undo(str(error), run.id)
        except ResilienceError as second:
            raise StepFailed(
                f"{error.cause}. {NOT_TAKEN_BACK}: {second.cause}",
                operation=self.operation,
                subject=run.id,
                hint=second.hint or f"repair that, then: baileys-resilience {self.operation} undo",
            ) from error
        say_taken_back(error)

    def _end_abandoned(self, error: ResilienceError, run: Run[FailoverContext]) -> None:
        """What a living controller would do after a failed step, done on the host because none came back."""
        try:
            self._end_badly(error, run)
        except ResilienceError as exc:
            if run.state.outcome is None:
                run.journal.append("undo_failed", error=exc.as_dict())

    def undo(self, reason: str, run_id: str = "") -> Outcome:
        """Take an open run back. Refused past the point of no return, also when the journal did not live to see it.

        Again after it was undone: says so, and changes nothing.
        """
        undone_before = None if run_id or self._lease.current() else self._undone_before()
        if undone_before:
            return undone_before
        run = self._run(run_id or self._open_run())
        context, reason = self._context(run.id), first_reason(run.state, reason)
        try:
            undone = run.undo(reason, lambda state: self._refuse_if_moved_on(context, run, state))
        except ResilienceError as exc:
            if not is_anothers(exc, run) and run.state.outcome is None:
                self._leave_open(run, f"{reason}. {NOT_TAKEN_BACK}: {exc.cause}")
            raise
        discard_staging(context)
        discard_copies(self.settings.client_dir, copied_by_client(context))
        report = end(context, run, UNDONE, reason)
        message = f"{TAKEN_BACK} (undone: {', '.join(undone) or 'nothing was begun'})"
        return self._outcome(run, message, report, {"undone": undone})

    def _undone_before(self) -> Optional[Outcome]:
        """The newest run, when it was one of this operation and was taken back."""
        runs = sorted((self.settings.state / "runs").glob("*"))
        state = self._run(runs[-1].name).state if runs else None
        if not state or state.outcome != UNDONE or state.header["operation"] != self.operation:
            return None
        wait_for_end(runs[-1])  # who undoes writes the report last
        report = read_json(runs[-1] / "report.json")
        undone = list(reversed(state.started))
        message = f"{TAKEN_BACK} (undone before: {', '.join(undone) or 'nothing was begun'})"
        markdown = as_markdown(report) if report else ""
        return Outcome(self.operation, runs[-1].name, False, message, {"undone": undone}, report or None, markdown)

    def _leave_open(self, run: Run[FailoverContext], error: str) -> None:
        report = end(self._context(run.id), run, OPEN, error)
        self.ended = self._outcome(run, headline(report), report, {})

    def _outcome(self, run: Run[FailoverContext], message: str, report: Report, result: Dict[str, Any]) -> Outcome:
        told = {"notified": report["notified"], **result}
        return Outcome(self.operation, run.id, True, message, told, report, as_markdown(report))

    def _refuse_if_moved_on(self, context: FailoverContext, run: Run[FailoverContext], state: RunState) -> None:
        """Only an application with the new flags or code can have gone on in the new store, started by us or by a
        reboot; also by one in the middle of an undo that has not put them back yet.
        """
        leads_there = {"switch_env", "start"} | ({"switch_code"} if context.switches_code else set())
        if not leads_there & set(state.started) - set(state.undone):
            return
        if context.live and all_wait(context):
            return  # a client that holds its writes has gone nowhere, and need not be stopped to know that
        context.service.stop()
        try:
            evidence = session_moved_on(context)
        except ResilienceError as exc:
            if self.settings.policy.accept_data_loss:
                return
            context.service.start(context.flags(context.target))
            exc.hint = (
                "nobody can say whether a session has gone on there. Complete the run with resume when that is"
                " mended; to take it back all the same, set failover_accept_data_loss to true"
            )
            raise
        if evidence:
            run.journal.append("no_return", step="undo", reason=evidence)
            context.service.start(context.flags(context.target))
            raise StepFailed(
                evidence,
                operation="undo",
                subject=run.id,
                hint="its ratchets live there now: complete the run with resume, or move back with failback",
            )

    def finish(self, run_id: str = "") -> Outcome:
        """Report, notify, and close the run. Repeating it after a crash is safe."""
        run = self._run(run_id or self._open_run())
        state = run.state
        waiting = [step.name for step in self._steps() if not state.done(step.name)]
        if waiting:
            raise UsageError(
                f"the step {waiting[0]} is not done", operation="report", subject=run.id, hint="run the steps in order"
            )
        context = self._context(run.id)
        draft = make_report(context, read_json(run.directory / "plan.json"), state, DONE)
        write_json(self.settings.state / f"timings-{_TARGETS[self.operation]}.json", state.seconds())
        report = end(context, run, PARTIAL if failed_companies(draft) else DONE)
        discard_staging(context)
        run.finish(report["outcome"])
        return self._outcome(run, headline(report), report, {})

    def status(self) -> Dict[str, Any]:
        """Who lives where, and what run is open."""
        lease = self._lease.current()
        context = self._context("")
        stores = {company: context.record.get(company) for company in self.settings.companies}
        return {
            "host": self.settings.host,
            "open_run": vars(lease) if lease else None,
            "companies": {company: vars(entry) for company, entry in stores.items()},
        }

    def _steps(self) -> Sequence[Step[FailoverContext]]:
        return failover_steps(self.settings) if self.operation == FAILOVER else failback_steps(self.settings)

    def _context(self, run_id: str) -> FailoverContext:
        return FailoverContext(self.settings, run_id, _TARGETS[self.operation], progress=self._progress)

    def _run(self, run_id: str) -> Run[FailoverContext]:
        context = self._context(run_id)
        other_way = partial(restart_instead, context)
        return Run(self.settings.state, run_id, self._steps(), context, progress=self._progress, other_way=other_way)

    def _open_run(self) -> str:
        lease = self._lease.current()
        if lease is None:
            raise UsageError(
                "no run is open on this host", operation=self.operation, subject=self.settings.host, hint="begin one"
            )
        if lease.operation != self.operation:
            raise UsageError(
                f"the open run {lease.run} is a {lease.operation}",
                operation=self.operation,
                subject=self.settings.host,
                hint=f"complete it first: baileys-resilience {lease.operation} resume",
            )
        return lease.run

    def _forget_ended_run(self) -> None:
        """A crash between the last line of a journal and the release leaves a lease of a run that has ended, or never
        began.
        """
        if self._lease.current() is None:
            return
        # Under the lock: whoever begins or ends a run holds it until lease and journal agree.
        with self._lease.executing(self.operation):
            lease = self._lease.current()
            if lease and self._has_ended(lease):
                self._lease.release(None)

    def _has_ended(self, lease: Lease) -> bool:
        state = self._run(lease.run).state
        return state.outcome is not None or not state.events

    def _check_confirmed(self) -> None:
        if self.settings.policy.confirm not in (self.settings.host, "all"):
            raise UsageError(
                "this is not confirmed",
                operation=self.operation,
                subject=self.settings.host,
                hint=f"read the plan (--check), then pass failover_confirm={self.settings.host}",
            )

    def _operator(self) -> str:
        return self.settings.policy.operator or os.environ.get("SUDO_USER") or getpass.getuser()
