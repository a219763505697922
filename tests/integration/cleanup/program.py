# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cleanup that kills itself in a phase: PHASE STATE_DIR KEY_FILE HOST PORT DB USER, the password on stdin."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from baileys_resilience.cleanup import archive, batches, run
from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping

PHASES = ("begun", "half a batch", "before the commit", "after the commit", "between batches", "before the end")
BATCH_ROWS = 6


def die(*_arguments: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class HalfWritten:
    """A file that takes the first half of what it is given, and then the power fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, content: Any) -> int:
        self._stream.write(content[: len(content) // 2])
        os.fsync(self._stream.fileno())
        die()
        return 0


def arm(phase: str) -> None:
    """Let the process die there, in its second batch where there are several."""
    write_batch, tell_outcome, write_line = archive.Writer.batch, archive.Writer.outcome, archive.Writer.line
    writer: Any = archive.Writer

    def batch(self: Any, header: archive.BatchHeader, rows: archive.Rows) -> None:
        if header.number == 2 and phase == "half a batch":
            self._stream = HalfWritten(self._stream)
        write_batch(self, header, rows)
        if header.number == 2 and phase == "before the commit":
            die()

    def outcome(self: Any, number: int, word: str) -> None:
        if number == 2 and phase == "after the commit":
            die()
        tell_outcome(self, number, word)
        if number == 2 and phase == "between batches":
            die()

    def line(self: Any, content: Any) -> None:
        if phase == "before the end" and "run_ended" in content:
            die()
        write_line(self, content)
        if phase == "begun" and "format" in content:
            die()

    writer.batch, writer.outcome, writer.line = batch, outcome, line


def main() -> None:
    phase, state_dir, key_file, host, port, dbname, user = sys.argv[1:]
    params = ConnectParams(host, int(port), dbname, user, sys.stdin.readline().rstrip("\n"))
    batches.BATCH_ROWS = BATCH_ROWS
    arm(phase)
    run.clean_up(
        CleanupSettings(params, TableMapping(), Path(state_dir), archive_key_file=Path(key_file) if key_file else None)
    )


if __name__ == "__main__":
    main()
