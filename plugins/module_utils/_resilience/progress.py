# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How long work tells where it is: logic reports to this interface; terminal, JSON and silent printers are siblings."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, Protocol, TextIO


class Progress(Protocol):
    def note(self, message: str, **details: Any) -> None:
        """Say one thing that happened or begins. Never secrets, never key ids in the clear."""


class Silent:
    def note(self, message: str, **details: Any) -> None:
        return None


class Terminal:
    """One line an event on stderr, so that stdout stays for the result."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream

    def note(self, message: str, **details: Any) -> None:
        extra = "  ".join(f"{name}={value}" for name, value in details.items())
        _say(self._stream, f"{message}  {extra}".rstrip())


class JsonLines:
    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream

    def note(self, message: str, **details: Any) -> None:
        _say(self._stream, json.dumps({"event": message, **details}, default=str))


def _say(stream: TextIO, line: str) -> None:
    """A terminal that has gone away must not fail the step that it is told about."""
    with contextlib.suppress(OSError, ValueError):
        stream.write(line + "\n")
        stream.flush()
