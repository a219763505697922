# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one operation and kills itself (SIGKILL) right after the given line of the journal is on disk.

driver.py CONFIG OPERATION ACTION [LINE [BEFORE]]: with BEFORE, right before that line is written.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from baileys_resilience.failover.configuration import load_settings
from baileys_resilience.failover.operations import Operation
from baileys_resilience.steps.journal import Journal


def kill_at(line: int, *, before: bool) -> None:
    """The journal itself is the real one; only the moment of death is ours."""
    written = 0
    append = Journal.append

    def append_and_die(self: Journal, event: str, **details: Any) -> None:
        nonlocal written
        written += 1
        if before and written == line:
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, event, **details)
        if written == line:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = append_and_die  # type: ignore[method-assign]


def main() -> None:
    config, name, action = sys.argv[1:4]
    if len(sys.argv) > 4:
        kill_at(int(sys.argv[4]), before=len(sys.argv) > 5)
    operation = Operation(load_settings(Path(config)), name)
    if action == "run":
        operation.run()
    elif action == "resume":
        operation.resume()
    else:
        operation.undo("killed by a test")


main()
