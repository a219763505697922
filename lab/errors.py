# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the lab.

LabError
 ├── LabStateError    the lab is not in the state the command needs (already up, half-dead, not there)
 └── LabTimeout       something did not become true before its deadline
"""

from __future__ import annotations


class LabError(Exception):
    """Something the lab could not do, with what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. HINT: {self.hint}" if self.hint else self.message


class LabStateError(LabError):
    """The lab is not in the state that the command needs."""

    exit_code = 3


class LabTimeout(LabError):
    """A condition was still false at its deadline."""
