# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a systemd host: one call of the library's service manager, its answer as one line of JSON.

python3 service_program.py status|stop|start '{"unit": "...", "flags": {...}}'
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from baileys_resilience.errors import ResilienceError
from baileys_resilience.failover.processes import environment_of
from baileys_resilience.failover.services import make_service
from baileys_resilience.failover.settings import ApplicationSettings, ServiceSettings


def main(word: str, arguments: dict[str, object]) -> dict[str, object]:
    service = make_service(ApplicationSettings(service=ServiceSettings("systemd", str(arguments["unit"]))))
    flags = arguments.get("flags", {})
    assert isinstance(flags, dict)
    try:
        status = service.start(flags) if word == "start" else service.stop() if word == "stop" else service.status()
    except ResilienceError as exc:
        return exc.as_dict()
    seen = {name: environment_of(pid).get(name) for pid in status.pids for name in flags}
    return {**asdict(status), "environment": seen}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
