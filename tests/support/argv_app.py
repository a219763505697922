# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application without sessions: argv_app.py ROOT start|stop|status|health. It knows which store it was started on.

ROOT/companies names the companies that it says are connected.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def pid_of(root: Path) -> int:
    """The living process, 0 when there is none."""
    try:
        pid = int((root / "app.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else pid


def start(root: Path) -> None:
    if pid_of(root):
        return
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=quiet, stdout=quiet, stderr=quiet)
    (root / "app.pid").write_text(str(process.pid))
    (root / "store").write_text("postgres" if os.environ.get("USE_DATABASE_AUTH_STATE") == "true" else "files")


def main() -> int:
    root, word = Path(sys.argv[1]), sys.argv[2]
    pid = pid_of(root)
    if word == "start":
        start(root)
    elif word == "stop" and pid:
        os.kill(pid, signal.SIGKILL)
    elif word in ("status", "health") and not pid:
        return 3
    elif word == "health":
        store = (root / "store").read_text()
        companies = [
            {"company_id": company, "connection": "open", "store": store}
            for company in (root / "companies").read_text().split()
        ]
        sys.stdout.write(json.dumps({"pid": pid, "companies": companies}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
