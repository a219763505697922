# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What session_failover returns: the results of an outcome, a plan or a status, and what must not leave the host."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

from ._resilience.errors import ResilienceError
from ._resilience.failover.settings import FailoverSettings
from ._resilience.notify.redact import redacted
from ._resilience.sessions.record import StoreRecord

if TYPE_CHECKING:
    # Imported only where steps are run: it is most of what a task imports.
    from ._resilience.failover.operations import Operation, Outcome

#: these only look; what they write is the journal
LOOKING = ["preflight", "choose_source", "verify", "verify_connection"]
TARGETS = {"failover": "files", "failback": "postgres"}


@contextlib.contextmanager
def names_hidden(companies: Sequence[str]) -> Iterator[None]:
    """An error leaves the host with the module's results, and may quote the application."""
    try:
        yield
    except ResilienceError as error:
        hide_names(error, companies)
        raise


def leaving(results: Dict[str, Any], companies: Sequence[str]) -> Dict[str, Any]:
    """The results as they may leave the host. The report is made for that already, and a hash must not be hashed."""
    made = {name: results[name] for name in ("report", "markdown") if name in results}
    return {**redacted({name: each for name, each in results.items() if name not in made}, companies), **made}


def hide_names(error: ResilienceError, companies: Sequence[str]) -> None:
    error.cause, error.hint, error.subject = redacted((error.cause, error.hint, error.subject), companies)


def outcome_results(outcome: Outcome, step: str) -> Dict[str, Any]:
    results: Dict[str, Any] = {
        "changed": outcome.changed and step not in LOOKING,
        "msg": outcome.message,
        "run": outcome.run,
        "result": {name: value for name, value in outcome.result.items() if name != "plan"},
        "nothing_to_do": step in ("begin", "run") and not outcome.changed,
    }
    if "plan" in outcome.result:
        results["plan"] = outcome.result["plan"]
        results["sentences"] = outcome.message.splitlines()
    if outcome.report is not None:
        results["report"] = outcome.report
        results["markdown"] = outcome.markdown
    return results


def plan_results(operation: Operation, *, changed: bool) -> Dict[str, Any]:
    plan = operation.plan()
    sentences = plan.sentences()
    return {
        "changed": changed and bool(plan.moving),
        "msg": sentences[0],
        "run": "",
        "result": {},
        "nothing_to_do": not plan.moving,
        "plan": plan.as_dict(),
        "sentences": sentences,
    }


def status_results(operation: Operation) -> Dict[str, Any]:
    status = operation.status()
    open_run: Optional[Dict[str, Any]] = status["open_run"]
    message = "no run is open"
    if open_run:
        message = "{operation} {run} by {operator} is open since {since}".format(**open_run)
    return {
        "changed": False,
        "msg": message,
        "run": open_run["run"] if open_run else "",
        "result": {},
        "nothing_to_do": not to_move(operation),
        "open_run": open_run,
    }


def preview_results(operation: Operation, settings: FailoverSettings, step: str) -> Dict[str, Any]:
    """Check mode of a step. The steps ahead of it were not run, so it can only say whether there is anything to do."""
    if step == "prepare":
        from ._resilience.failover.code import would_prepare

        would = would_prepare(settings)
    elif step in ("resume", "undo"):
        would = operation.status()["open_run"] is not None
    else:
        would = bool(to_move(operation))
    return {
        "changed": would and step not in LOOKING,
        "msg": f"would run the step {step}" if would else "nothing to do",
        "run": "",
        "result": {},
        "nothing_to_do": not would,
    }


def to_move(operation: Operation) -> List[str]:
    target = TARGETS[operation.operation]
    return [company for company, entry in stores_of(operation.settings).items() if entry["store"] != target]


def stores_of(settings: FailoverSettings) -> Dict[str, Dict[str, Any]]:
    record = StoreRecord(settings.state)
    return {company: dict(vars(record.get(company))) for company in settings.companies}


def with_moves(before: Dict[str, Dict[str, Any]], results: Dict[str, Any], operation: Operation) -> Dict[str, Any]:
    """Where the companies would live: those that the plan moves, in the steps that move or foretell it."""
    if "plan" in results:
        moving = [each["company"] for each in results["plan"]["companies"] if each["moves"]]
    else:
        moving = to_move(operation) if results["step"] == "record_store" else []
    target = TARGETS[operation.operation]
    return {company: {"store": target if company in moving else entry["store"]} for company, entry in before.items()}


def stores_diff(before: Dict[str, Dict[str, Any]], after: Dict[str, Dict[str, Any]]) -> Dict[str, str]:
    """Only companies that move: a host may have a thousand."""
    moved = [company for company in sorted(before) if before[company]["store"] != after[company]["store"]]
    return {
        name: "".join(f"company {company}: {stores[company]['store']}\n" for company in moved)
        for name, stores in (("before", before), ("after", after))
    }
