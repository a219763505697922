# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How long work tells where it is: logic reports to this interface; terminal, JSON and silent printers are siblings."""

from __future__ import annotations

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
        self._stream.write(f"{message}  {extra}".rstrip() + "\n")
        self._stream.flush()


class JsonLines:
    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream

    def note(self, message: str, **details: Any) -> None:
        self._stream.write(json.dumps({"event": message, **details}, default=str) + "\n")
        self._stream.flush()
