# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What a check found: one status a figure, the worst of them for the whole, and what to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence

from ..errors import DatabaseError, Misconfigured, ResilienceError, ToolMissing

OK, WARNING, UNKNOWN, CRITICAL = "ok", "warning", "unknown", "critical"
#: mildest first. What is unknown may hide a critical, so it weighs more than a warning.
STATUSES = (OK, WARNING, UNKNOWN, CRITICAL)
NEVER = "never"
FAIL_ON = (NEVER, WARNING, UNKNOWN, CRITICAL)


@dataclass(frozen=True)
class Finding:
    """``figure`` is what was looked at; ``cause`` is empty where all is well; ``advice`` is what to run or change."""

    figure: str
    status: str = OK
    cause: str = ""
    advice: str = ""

    def as_dict(self) -> Dict[str, str]:
        return {"figure": self.figure, "status": self.status, "cause": self.cause, "advice": self.advice}


def worst(findings: Sequence[Finding]) -> str:
    """The status of the whole. Nothing looked at is unknown, not ok."""
    if not findings:
        return UNKNOWN
    return max((each.status for each in findings), key=STATUSES.index)


def advice_of(findings: Sequence[Finding]) -> List[str]:
    """What to run, most urgent first, each once."""
    ordered = sorted(findings, key=lambda each: -STATUSES.index(each.status))
    return list(dict.fromkeys(each.advice for each in ordered if each.advice))


def fails(status: str, fail_on: str) -> bool:
    """Whether ``status`` is at least as grave as ``fail_on``."""
    return fail_on != NEVER and status != OK and STATUSES.index(status) >= STATUSES.index(fail_on)


def sentence(findings: Sequence[Finding]) -> str:
    """The gravest findings in one sentence."""
    status = worst(findings)
    causes = [f"{each.figure}: {each.cause}" for each in findings if each.status == status and each.cause]
    text = f"status {status}: {'; '.join(causes)}" if causes else f"status {status}"
    advice = advice_of([each for each in findings if each.status == status])
    return f"{text}. HINT: {'; '.join(advice)}" if advice else text


def grant(rights: str, tables: str, role: str) -> str:
    """The statement that gives ``role`` what it lacks; without ``tables``, membership."""
    quoted = role.replace('"', '""')
    return f'GRANT {rights} ON {tables} TO "{quoted}";' if tables else f'GRANT {rights} TO "{quoted}";'


def from_error(figure: str, error: ResilienceError) -> Finding:
    """A database that does not do what it is asked, as a finding. Anything else is raised again: an option that cannot
    be meant, or a missing package, says nothing about the database.
    """
    if isinstance(error, ToolMissing) or not isinstance(error, (DatabaseError, Misconfigured)):
        raise error
    return Finding(figure, CRITICAL, error.cause, error.hint)
