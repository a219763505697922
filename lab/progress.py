# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress on stderr: the terminal, JSON lines, and silence are siblings behind one call."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Silent:
    """Says nothing; also the interface of the others."""

    def step(self, text: str, seconds: float | None = None) -> None:
        del text, seconds

    @contextmanager
    def timed(self, text: str) -> Iterator[None]:
        """Report a step when it is done, with the time it took."""
        began = time.monotonic()
        yield
        self.step(text, time.monotonic() - began)


class Terminal(Silent):
    def step(self, text: str, seconds: float | None = None) -> None:
        timing = "" if seconds is None else f"  ({seconds:.1f} s)"
        print(f"lab: {text}{timing}", file=sys.stderr, flush=True)


class JsonLines(Silent):
    def step(self, text: str, seconds: float | None = None) -> None:
        line = {"step": text} if seconds is None else {"step": text, "seconds": round(seconds, 3)}
        print(json.dumps(line), file=sys.stderr, flush=True)
