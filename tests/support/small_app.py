# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""small_app.py FOLDER start|stop|status|health: an application that holds no session, for tests of what surrounds it.

It reads the store from its environment, else from FOLDER/app/.env, as dotenv does. FOLDER/connection holds what it
says of every company's connection ("open" without that file).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

FLAG = "USE_DATABASE_AUTH_STATE"


def pid_of(folder: Path) -> int:
    """0 when it does not run."""
    try:
        pid = int((folder / "app.pid").read_text())
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return 0
    return 0 if ended else pid


def start(folder: Path) -> None:
    if pid_of(folder):
        return
    values = dict(line.split("=", 1) for line in (folder / "app" / ".env").read_text().splitlines() if "=" in line)
    store = "postgres" if os.environ.get(FLAG, values[FLAG]) == "true" else "files"
    nothing = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing)
    (folder / "app.pid").write_text(str(child.pid))
    (folder / "store").write_text(store)
    with (folder / "starts").open("a") as log:
        log.write(f"{store}\n")


def stop(folder: Path) -> None:
    pid = pid_of(folder)
    if pid and not (folder / "deaf").exists():
        os.kill(pid, signal.SIGKILL)


def health(folder: Path) -> dict[str, object]:
    connection = folder / "connection"
    state = connection.read_text() if connection.exists() else "open"
    store = (folder / "store").read_text()
    companies = (folder / "companies").read_text().split()
    each = [{"company_id": company, "connection": state, "store": store} for company in companies]
    return {"pid": pid_of(folder), "companies": each}


def main() -> int:
    folder, word = Path(sys.argv[1]), sys.argv[2]
    if word == "start":
        start(folder)
    elif word == "stop":
        stop(folder)
    elif word == "status":
        return 0 if pid_of(folder) else 3
    elif not pid_of(folder):
        return 1
    else:
        print(json.dumps(health(folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
