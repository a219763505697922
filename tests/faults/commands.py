# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command as an operator runs it on a host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(config: Path, *words: str, expect: int = 0) -> dict[str, Any]:
    """Run baileys-resilience --json; returns its answer."""
    done = subprocess.run(
        [sys.executable, "-m", "baileys_resilience.cli", "--config", str(config), "--json", *words],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr + done.stdout
    answer: dict[str, Any] = json.loads((done.stdout or done.stderr).strip().splitlines()[-1])
    return answer
