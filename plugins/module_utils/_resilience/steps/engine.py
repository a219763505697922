# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Runs a list of steps under a journal: execute one, run all, resume after a crash, undo until the point of no
return.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Generic, Iterator, List, Mapping, Optional, Sequence, TypeVar

from ..clock import now_iso
from ..errors import Busy, DeadlineExceeded, ResilienceError, StepFailed, UsageError
from ..files import make_private_directory, write_json
from ..progress import Progress, Silent
from .journal import FORMAT, VERSION, Journal, RunState
from .lease import HostLease, Lease

C = TypeVar("C")
Result = Mapping[str, Any]


class Step(Generic[C]):
    """One small change with a postcondition that can be asked of the thing itself."""

    name = ""
    #: as a sentence, for the task and the report
    title = ""
    budget_seconds = 30.0

    def holds(self, context: C, result: Result) -> bool:
        """Whether the postcondition of a step that the journal calls done still holds (asked at resume)."""
        return True

    def apply(self, context: C, notes: Notes) -> Result:
        """Do it. Returns what later steps, the report and the undo need; no secrets. Must be safe to repeat."""
        raise NotImplementedError

    def verify(self, context: C, result: Result) -> None:
        """Ask the thing itself whether it is so now; raise when not."""

    def undo(self, context: C, result: Result) -> None:
        """Take it back. Called also for a step that was started and never ended; then ``result`` holds its notes."""


class Notes:
    """Lets a step write down, before it acts, what its undo needs."""

    def __init__(self, journal: Journal, step: str) -> None:
        self._journal = journal
        self._step = step

    def keep(self, **details: Any) -> None:
        self._journal.append("step_noted", step=self._step, result=details)

    def no_return(self, reason: str) -> None:
        """From here on nothing may be undone."""
        self._journal.append("no_return", step=self._step, reason=reason)


@dataclass(frozen=True)
class OtherWay:
    """How a run goes on that cannot go on as it began: from ``first``, after ``changed`` was noted of ``step``."""

    first: str
    step: str
    changed: Result


def _no_other_way(_step: str, _error: ResilienceError) -> Optional[OtherWay]:
    return None


class Run(Generic[C]):
    """One run: its directory, its journal, its steps. ``other_way`` is asked when a step fails, with its name and what
    it raised.
    """

    def __init__(
        self,
        state_dir: Path,
        run_id: str,
        steps: Sequence[Step[C]],
        context: C,
        *,
        progress: Optional[Progress] = None,
        other_way: Callable[[str, ResilienceError], Optional[OtherWay]] = _no_other_way,
    ) -> None:
        self.id = run_id
        self.directory = state_dir / "runs" / run_id
        self.journal = Journal(self.directory / "journal.jsonl")
        self.lease = HostLease(state_dir)
        self._steps = list(steps)
        self._context = context
        self._progress = progress or Silent()
        self._other_way = other_way

    @property
    def state(self) -> RunState:
        return RunState(self.journal.events())

    def begin(
        self,
        operation: str,
        operator: str,
        plan: Mapping[str, Any],
        *,
        companies: Sequence[str],
        cooldown_seconds: float,
    ) -> None:
        """Take the host and write plan and journal. Only after this may anything be changed."""
        # Under the lock: a lease without a first line in its journal looks like one that a crash left.
        with self.lease.executing(operation):
            self.lease.take(Lease(self.id, operation, operator, now_iso()), cooldown_seconds=cooldown_seconds)
            make_private_directory(self.directory)
            write_json(self.directory / "plan.json", plan)
            self.journal.append(
                "run_started",
                format=FORMAT,
                version=VERSION,
                run=self.id,
                operation=operation,
                operator=operator,
                companies=list(companies),
                steps=[step.name for step in self._steps],
            )

    def execute(self, name: str) -> Result:
        """Run the next step, which must be ``name``. A step that is done and still holds is passed over."""
        step = self._step(name)
        with self.lease.executing(name):
            self.journal.repair()
            state = self._open_state(name)
            waiting = [each.name for each in self._steps if not state.done(each.name)]
            if state.done(name) and step.holds(self._context, state.results[name]):
                return state.results[name]
            if waiting and not state.done(name) and waiting[0] != name:
                raise UsageError(
                    f"the next step is {waiting[0]}",
                    operation="run step",
                    subject=name,
                    hint="run the steps in order, or: baileys-resilience failover resume",
                )
            try:
                return self._apply(step)
            except ResilienceError as exc:
                way = self._other_way(name, exc)
                if way is None or not self._take_back_to(way, name):
                    raise
                return self._apply_through(way.first, name)

    def _take_back_to(self, way: OtherWay, failed: str) -> bool:
        """Whether all was taken back that was begun; if not, the error that led here stands, and with it the undo."""
        names = self._between(way.first, failed)
        try:
            for name in reversed(names):
                state = self.state
                if name in state.started and name not in state.undone:
                    self._undo(self._step(name), state)
        except ResilienceError:
            return False
        self.journal.append("step_noted", step=way.step, result=dict(way.changed))
        self.journal.append("begun_anew", steps=names)
        return True

    def _apply_through(self, first: str, last: str) -> Result:
        result: Result = {}
        for name in self._between(first, last):
            result = self._apply(self._step(name))
        return result

    def _between(self, first: str, last: str) -> List[str]:
        names = [step.name for step in self._steps]
        return names[names.index(first) : names.index(last) + 1]

    def run_all(self) -> None:
        """Run or resume: every step that is not done, or no longer holds, in order."""
        for step in self._steps:
            self.execute(step.name)

    def _begun_state(self, name: str) -> RunState:
        state = self.state
        if not state.events or state.outcome is not None:
            raise UsageError(
                f"this run has ended: {state.outcome}" if state.events else "there is no such run",
                operation="run step",
                subject=f"{name} of {self.id}",
                hint="begin a new run",
            )
        return state

    def _open_state(self, name: str) -> RunState:
        state = self._begun_state(name)
        if state.undoing:
            raise UsageError(
                "this run is being undone",
                operation="run step",
                subject=f"{name} of {self.id}",
                hint="complete it: baileys-resilience failover undo",
            )
        return state

    def _apply(self, step: Step[C]) -> Result:
        self._progress.note(step.title)
        self.journal.append("step_started", step=step.name, title=step.title)
        started = time.monotonic()
        try:
            with time_budget(step.budget_seconds, step.name):
                result = step.apply(self._context, Notes(self.journal, step.name))
                step.verify(self._context, result)
        except Busy as exc:
            # Of something that the step needs. A Busy that leaves the engine means one thing only: another process
            # executes this run, and must not be disturbed.
            self.journal.append("step_failed", step=step.name, error=exc.as_dict())
            raise StepFailed(exc.cause, operation=exc.operation, subject=exc.subject, hint=exc.hint) from exc
        except ResilienceError as exc:
            self.journal.append("step_failed", step=step.name, error=exc.as_dict())
            raise
        except Exception as exc:
            self.journal.append("step_failed", step=step.name, error={"cause": f"{type(exc).__name__}: {exc}"})
            raise StepFailed(
                f"{type(exc).__name__}: {exc}",
                operation="run step",
                subject=step.name,
                hint="this is a defect: please report it with the journal",
            ) from exc
        seconds = round(time.monotonic() - started, 3)
        self.journal.append("step_done", step=step.name, result=dict(result), seconds=seconds)
        return result

    def undo(self, reason: str, permit: Callable[[RunState], None] = lambda _state: None) -> List[str]:
        """Take back every step that was started, last first; returns their names.

        ``permit`` is asked first, while nobody else can execute a step, and raises when the undo would do harm. Of an
        undo that was cut off, too: the host may have booted since.
        """
        with self.lease.executing("undo"):
            self.journal.repair()
            state = self._begun_state("undo")
            if state.no_return:
                raise StepFailed(
                    f"a session has logged in from the new store at {state.no_return}",
                    operation="undo",
                    subject=self.id,
                    hint="its ratchets live there now: complete the run with resume, or move back with failback",
                )
            permit(state)
            if not state.undoing:
                self.journal.append("undo_started", reason=reason)
            for name in reversed(state.started):
                if name not in state.undone:
                    self._undo(self._step(name), state)
            self._finish("undone", remember=False)
            return list(reversed(state.started))

    def _undo(self, step: Step[C], state: RunState) -> None:
        self._progress.note(f"undo: {step.title}")
        try:
            with time_budget(step.budget_seconds * 2, step.name):
                step.undo(self._context, state.results.get(step.name, {}))
        except ResilienceError:
            raise
        except Exception as exc:
            raise StepFailed(
                f"{type(exc).__name__}: {exc}",
                operation="undo step",
                subject=step.name,
                hint="repair that, then: baileys-resilience failover undo",
            ) from exc
        self.journal.append("step_undone", step=step.name)

    def finish(self, outcome: str) -> None:
        """Write the last line and free the host."""
        with self.lease.executing("finish"):
            self._finish(outcome, remember=True)

    def _finish(self, outcome: str, *, remember: bool) -> None:
        lease = self.lease.current()
        self.journal.append("run_finished", outcome=outcome)
        if lease is None or lease.run != self.id:
            return  # somebody found this run ended and took the host
        self.lease.release(Lease(lease.run, lease.operation, lease.operator, now_iso()) if remember else None)

    def _step(self, name: str) -> Step[C]:
        for step in self._steps:
            if step.name == name:
                return step
        raise UsageError(
            "there is no such step",
            operation="run step",
            subject=name,
            hint=f"the steps are {', '.join(s.name for s in self._steps)}",
        )


class _BudgetSpent(BaseException):
    """Raised inside the step, where an ``except DatabaseError`` or ``Exception`` must not take it for something
    smaller.
    """


@contextlib.contextmanager
def time_budget(seconds: float, name: str) -> Iterator[None]:
    """Bound a step by the clock. Waits inside have deadlines of their own; this catches what has none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: Any) -> None:
        raise _BudgetSpent

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _BudgetSpent as exc:
        raise DeadlineExceeded(
            f"took longer than its budget of {seconds:g} s",
            operation="run step",
            subject=name,
            hint="see the journal for what it waited for",
        ) from exc
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
