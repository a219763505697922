# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a failover in a lab, in the form of the configuration file that the role writes on a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab import Lab

PROJECT = Path(__file__).resolve().parents[2]
LOAD_CHECK = PROJECT / "roles" / "toolkit" / "files" / "load_check.mjs"


def settings_content(lab: Lab, **overrides: Any) -> dict[str, Any]:
    """The configuration for ``lab``; a dict given for a name is laid over the default of that name."""
    server, app = lab.need_postgres(), lab.need_app()
    content: dict[str, Any] = {
        "host": "lab-app",
        "companies": [company.id for company in lab.companies],
        "database": {
            "host": server.host, "port": server.proxy_port, "dbname": server.database, "user": server.user,
            "password": server.password, "ssl_mode": "disable", "connect_timeout_seconds": 2,
        },
        "sessions_dir": app.sessions_dir,
        "state_dir": lab.state_dir,
        "mirror_dir": lab.mirror_dir,
        "client_dir": lab.client_dir,
        "application": {
            "dir": app.dir,
            "env_file": app.env_file,
            "service": {
                "manager": "pm2", "name": app.pm2_name, "pm2": [lab.node, app.pm2_bin], "pm2_home": app.pm2_home,
            },
            "health": {"kind": "url", "url": app.health_url, "deadline_seconds": 15},
        },
        "code": {"source": "archive", "install": [lab.node, lab.npm_cli, "ci", "--omit=dev", "--prefer-offline"]},
        "load_check": {"node": lab.node, "script": str(LOAD_CHECK)},
        "policy": {"confirm": "all", "operator": "test", "cooldown_seconds": 0, "connect_seconds": 2},
    }  # fmt: skip
    for name, value in overrides.items():
        content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
    return content


def write_settings(lab: Lab, path: Path, **overrides: Any) -> Path:
    path.write_text(json.dumps(settings_content(lab, **overrides)))
    path.chmod(0o600)
    return path
