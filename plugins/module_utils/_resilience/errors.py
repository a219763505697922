# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The exception tree of the library, and the one registry of error names and exit codes.

ResilienceError
├── UsageError                what was asked for cannot be meant (exit 2)
├── Misconfigured             a setting contradicts what is there (exit 3)
│   ├── SchemaMismatch        a table or column of the mapping is missing
│   └── ToolMissing           a program or Python package is absent or too old
├── DatabaseError             PostgreSQL did not do what was asked (exit 4)
│   ├── Unavailable           no answer, refused, reset, starting up: a retry can help
│   │   └── DeadlineExceeded  no answer in time: frozen server, dropped packets
│   ├── Refused               wrong password, missing right, TLS not trusted
│   ├── ReadOnly              the server takes no writes
│   └── Conflict              rows changed under us, or are newer than what would replace them
├── SessionDataError          the session data itself is not usable (exit 5)
│   ├── CredsInvalid
│   ├── KeyUndecodable
│   └── NameCollision
├── StoreError                a directory, file or disk did not do what was asked (exit 6)
│   ├── NotWritable
│   ├── ForeignFiles
│   └── NoSpace
├── VerificationFailed        what was written is not what was meant (exit 7)
├── Busy                      somebody else is at it, or has just been (exit 8)
├── SourceTooOld              the freshest source is older than allowed (exit 9)
├── ApplicationError          the application or its service manager (exit 10)
└── StepFailed                a step of a failover or failback (exit 11)
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type


class ResilienceError(Exception):
    """Base of every error that leaves the library.

    ``cause`` says what is wrong, ``operation`` and ``subject`` what was being done to what, ``hint`` what to do about
    it. ``retryable`` tells whether the same call can succeed later without anybody changing anything.
    """

    code = "error"
    exit_code = 1
    retryable = False

    def __init__(
        self, cause: str, *, operation: str = "", subject: str = "", hint: str = "", retryable: Optional[bool] = None
    ) -> None:
        self.cause = cause.strip().rstrip(".")
        self.operation = operation
        self.subject = subject
        self.hint = hint.strip().rstrip(".")
        if retryable is not None:
            self.retryable = retryable
        super().__init__(str(self))

    def __reduce__(self) -> Tuple[Any, ...]:
        # Errors cross process borders (parallel export), and the default would call __init__ without its keywords.
        return (_rebuild, (type(self), dict(self.__dict__)))

    def __str__(self) -> str:
        where = " ".join(part for part in (self.operation, self.subject) if part)
        text = f"{where}: {self.cause}" if where else self.cause
        return f"{text}. HINT: {self.hint}" if self.hint else text

    def as_dict(self) -> Dict[str, object]:
        return {
            "error": self.code,
            "operation": self.operation,
            "subject": self.subject,
            "cause": self.cause,
            "hint": self.hint,
            "retryable": self.retryable,
            "exit_code": self.exit_code,
        }


def _rebuild(kind: Type[ResilienceError], state: Dict[str, Any]) -> ResilienceError:
    error = kind(state["cause"])
    error.__dict__.update(state)
    return error


class UsageError(ResilienceError):
    code = "usage"
    exit_code = 2


class Misconfigured(ResilienceError):
    code = "misconfigured"
    exit_code = 3


class SchemaMismatch(Misconfigured):
    code = "schema_mismatch"


class ToolMissing(Misconfigured):
    code = "tool_missing"


class DatabaseError(ResilienceError):
    code = "database"
    exit_code = 4


class Unavailable(DatabaseError):
    code = "unavailable"
    retryable = True


class DeadlineExceeded(Unavailable):
    code = "deadline_exceeded"


class Refused(DatabaseError):
    code = "refused"


class ReadOnly(DatabaseError):
    code = "read_only"


class Conflict(DatabaseError):
    code = "conflict"


class SessionDataError(ResilienceError):
    code = "session_data"
    exit_code = 5


class CredsInvalid(SessionDataError):
    code = "creds_invalid"


class KeyUndecodable(SessionDataError):
    code = "key_undecodable"


class NameCollision(SessionDataError):
    code = "name_collision"


class StoreError(ResilienceError):
    code = "store"
    exit_code = 6


class NotWritable(StoreError):
    code = "not_writable"


class ForeignFiles(StoreError):
    code = "foreign_files"


class NoSpace(StoreError):
    code = "no_space"
    retryable = True


class VerificationFailed(ResilienceError):
    code = "verification_failed"
    exit_code = 7


class Busy(ResilienceError):
    code = "busy"
    exit_code = 8
    retryable = True


class SourceTooOld(ResilienceError):
    code = "source_too_old"
    exit_code = 9


class ApplicationError(ResilienceError):
    code = "application"
    exit_code = 10


class StepFailed(ResilienceError):
    code = "step_failed"
    exit_code = 11


def registry() -> Dict[str, Type[ResilienceError]]:
    """Every error class by its code, parents first (the table in docs/errors.md is made from this). A class without a
    code of its own is its parent to all others.
    """
    found: Dict[str, Type[ResilienceError]] = {}
    queue = [ResilienceError]
    while queue:
        current = queue.pop(0)
        found.setdefault(current.code, current)
        queue.extend(current.__subclasses__())
    return found
