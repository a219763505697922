# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application for tests that need several companies and no WhatsApp: FOLDER, then start, stop, status or health,
then the companies. It says that each is connected, from the store that its flag named at its start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FLAG = "USE_DATABASE_AUTH_STATE"


def running_pid(folder: Path) -> int:
    try:
        pid = int((folder / "toy.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else pid


def main(folder: Path, word: str, companies: list[str]) -> int:
    pid = running_pid(folder)
    if word == "start":
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        (folder / "toy.pid").write_text(str(child.pid))
        (folder / "store").write_text("files" if os.environ.get(FLAG) == "false" else "postgres")
    elif word == "stop" and pid:
        os.kill(pid, signal.SIGKILL)
        while running_pid(folder):
            time.sleep(0.01)
    elif word == "status":
        return 0 if pid else 3
    elif word == "health" and pid:
        store = (folder / "store").read_text()
        said = [{"company_id": company, "connection": "open", "store": store} for company in companies]
        sys.stdout.write(json.dumps({"pid": pid, "companies": said}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
