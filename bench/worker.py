# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An export in processes of its own, so that their memory can be told: JSON on stdin, figures on stdout."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.transfer import ExportRequest, run_export


def main() -> None:
    order = json.load(sys.stdin)
    request = ExportRequest(
        ConnectParams(**order["params"]), TableMapping(), SessionsHome(Path(order["home"])), jobs=order["jobs"]
    )
    started = time.perf_counter()
    report = run_export(request).report
    took = time.perf_counter() - started
    assert not report.failed, report.failed
    json.dump(
        {
            "seconds": took,
            "keys": sum(each.keys for each in report.exported),
            "rss_mb": [_own_peak_mb(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024],
        },
        sys.stdout,
    )


def _own_peak_mb() -> float:
    """From /proc: getrusage would tell the peak of the process that started this one, which exec hands on."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
