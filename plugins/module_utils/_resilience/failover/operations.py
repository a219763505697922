# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Failover and failback as whole operations: plan, begin, one step, all, resume, undo, report. Module and command
call only this.
"""

from __future__ import annotations

import getpass
import itertools
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ..clock import utc_now
from ..errors import DatabaseError, ResilienceError, StepFailed, UsageError
from ..files import write_durably, write_json
from ..notify import Notification, notifiers_for, notify_all
from ..progress import Progress
from ..sessions.record import FILES, POSTGRES
from ..steps.detached import detach, follow
from ..steps.engine import Run, Step
from ..steps.lease import HostLease
from .context import FailoverContext
from .failback_steps import failback_steps
from .failover_steps import failover_steps, preflight
from .moved_on import session_moved_on
from .plan import DOWN_FROM, DOWN_TO, Plan, make_plan
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


class Operation:
    """One failover or failback on this host."""

    def __init__(self, settings: FailoverSettings, operation: str, *, progress: Optional[Progress] = None) -> None:
        if operation not in _TARGETS:
            raise UsageError(
                "no such operation", operation="run", subject=operation, hint="the operations are failover and failback"
            )
        self.settings = settings
        self.operation = operation
        self._progress = progress
        self._lease = HostLease(settings.state)

    @property
    def step_names(self) -> List[str]:
        return [step.name for step in self._steps()]

    def plan(self) -> Plan:
        return make_plan(self._context(""), self.operation, self._steps())

    def begin(self) -> Outcome:
        """Open a run. Nothing to do gives ``changed`` False and no run; an open run of the same kind is an error that
        says who and since when.
        """
        self._forget_ended_run()
        # Before the plan: an open run may have recorded the new store already, and then nothing seems left to do.
        self._lease.check_free(self.operation)
        plan = self.plan()
        if not plan.moving:
            return Outcome(self.operation, "", False, plan.sentences()[0], {"plan": plan.as_dict()})
        self._check_confirmed()
        if plan.error:
            raise plan.error
        if plan.blocked:
            raise StepFailed(plan.blocked[0], operation="plan", subject=self.settings.host, hint="nothing was touched")
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
            detach(run, names[names.index(DOWN_FROM) : names.index(DOWN_TO) + 1])
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
        try:
            run.run_all()
        except ResilienceError as exc:
            if not run.state.no_return:
                self._undo_after(exc, run)
            raise
        return self.finish(run.id)

    def _undo_after(self, error: ResilienceError, run: Run[FailoverContext]) -> None:
        try:
            self.undo(str(error), run.id)
        except ResilienceError as second:
            raise StepFailed(
                f"{error.cause}; and the undo stopped at: {second.cause}",
                operation=self.operation,
                subject=run.id,
                hint="repair that, then: baileys-resilience failover resume (or undo)",
            ) from error

    def undo(self, reason: str, run_id: str = "") -> Outcome:
        """Take an open run back. Refused past the point of no return, also when the journal did not live to see it."""
        run = self._run(run_id or self._open_run())
        context = self._context(run.id)
        state = run.state
        if "start" in state.started and not state.no_return and not state.undoing:
            self._refuse_if_moved_on(context, run)
        undone = run.undo(reason)
        discard_staging(context)
        report = self._write_report(run, "undone", reason)
        return Outcome(
            self.operation,
            run.id,
            True,
            f"undone: {', '.join(undone)}",
            {"undone": undone},
            report,
            as_markdown(report),
        )

    def _refuse_if_moved_on(self, context: FailoverContext, run: Run[FailoverContext]) -> None:
        context.service.stop()
        try:
            evidence = session_moved_on(context)
        except DatabaseError as exc:
            if self.settings.policy.accept_data_loss:
                return
            context.service.start(context.flags(context.target))
            exc.hint = (
                "nobody can say whether a session has gone on there. Complete the run with resume when the database is"
                " back; to take it back all the same, set failover_accept_data_loss to true"
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
        report = self._write_report(run, "done", "")
        if failed_companies(report):
            report = self._write_report(run, "partial", "")
        write_json(self.settings.state / f"timings-{_TARGETS[self.operation]}.json", state.seconds())
        deliveries = self._notify(report)
        discard_staging(self._context(run.id))
        run.finish(report["outcome"])
        return Outcome(
            self.operation, run.id, True, headline(report), {"notified": deliveries}, report, as_markdown(report)
        )

    def check(self) -> List[str]:
        """Why a failover would not work now: the preflight and the plan, with nothing changed. Empty when it would."""
        context = self._context("")
        problems = []
        try:
            problems.extend(preflight(context)["unusable"].values())
            plan = self.plan()
            problems.extend(plan.blocked)
            problems.extend(
                f"company {each.company}: no source has a whole copy"
                for each in plan.companies
                if each.moves and not each.sources
            )
            for source in plan.sources:
                if source["kind"] == "mirror" and not source["answers"]:
                    problems.append(f"mirror: {source['problem']}")
        except ResilienceError as exc:
            problems.append(str(exc))
        return problems

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
        return Run(self.settings.state, run_id, self._steps(), self._context(run_id), progress=self._progress)

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
            state = self._run(lease.run).state if lease else None
            if state and (state.outcome is not None or not state.events):
                self._lease.release(None)

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

    def _write_report(self, run: Run[FailoverContext], outcome: str, error: str) -> Dict[str, Any]:
        plan = _read_json(run.directory / "plan.json")
        report = make_report(self._context(run.id), plan, run.state, outcome, error)
        write_json(run.directory / "report.json", report)
        write_durably(run.directory / "report.md", as_markdown(report).encode("utf-8"))
        return report

    def _notify(self, report: Mapping[str, Any]) -> List[Dict[str, Any]]:
        """One Sentry event and one Telegram message. What is not delivered is in the report; it never fails a
        failover.
        """
        notifiers = notifiers_for(self.settings.notify, self.settings.state)
        level = "warning" if report["outcome"] == "done" else "error"
        tags = {"host": self.settings.host, "operation": self.operation, "outcome": str(report["outcome"])}
        fingerprint = f"{self.operation}-{report['run']}"
        note = Notification(headline(report), as_markdown(report), level, tags, fingerprint, self.settings.companies)
        return [vars(delivery) for delivery in notify_all(notifiers, note)]


def _read_json(path: Path) -> Dict[str, Any]:
    try:
        content: Dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content
    except (OSError, ValueError):
        return {}
