# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror in a process of its own, to be killed: scans without a pause. DIRECTORY HOST PORT DB USER, the password on
stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from baileys_resilience.failover.mirror import Mirror
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping


def main() -> None:
    directory, host, port, dbname, user = sys.argv[1:]
    params = ConnectParams(host, int(port), dbname, user, sys.stdin.readline().rstrip("\n"))
    mirror = Mirror(params, TableMapping(), Path(directory))
    print("begin", flush=True)
    while True:
        mirror.scan_once(thorough=True)


if __name__ == "__main__":
    main()
