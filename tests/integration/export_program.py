# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An export in a process of its own, to be killed: HOME JOBS HOST PORT DB USER, the password on stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies, export_in_processes
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot


def main() -> None:
    place, jobs, host, port, dbname, user = sys.argv[1:]
    params = ConnectParams(host, int(port), dbname, user, sys.stdin.readline().rstrip("\n"))
    home = SessionsHome(Path(place))
    print("begin", flush=True)
    with open_snapshot(params, TableMapping()) as snapshot:
        companies = snapshot.companies()
        if int(jobs) == 1:
            export_companies(snapshot, home, companies)
        else:
            export_in_processes(lambda: open_snapshot(params, TableMapping()), home, companies, int(jobs))


if __name__ == "__main__":
    main()
