# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader of docs/adoption.md: his application is live, and his machine and his host are this one."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import Lab, postgres
from tests.integration.adoption.gateway import Gateway

PROJECT = Path(__file__).resolve().parents[3]
VENV = Path(sys.executable).parent.parent


class Reader:
    """Does what the page says, with his own names in the place of the page's."""

    def __init__(self, gateway: Gateway, folder: Path, tarball: Path) -> None:
        self.gateway, self.folder = gateway, folder
        lab, server, app = gateway.lab, gateway.lab.need_postgres(), gateway.lab.need_app()
        self.password = server.password
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name, words in {"pm2": f'"{lab.node}" "{app.pm2_bin}"', "node": f'"{lab.node}"'}.items():
            (self.bin / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (self.bin / name).chmod(0o755)
        self.names = {
            "install baileys.resilience": f"install {tarball}",  # as Galaxy would give it
            "/srv/chat-gateway": str(gateway.dir),
            "/home/deploy/.pm2": app.pm2_home,
            "/usr/local/bin/pm2": str(self.bin / "pm2"),
            "/usr/local/bin/node": lab.node,
            "/etc/ssl/certs/db-root.pem": "",
            "host=db.example.net port=5432 dbname=whatsapp user=wa_app": (
                f"host={server.host} port={server.proxy_port} dbname={server.database} user={server.user}"
            ),
            "db.example.net:5432": f"{server.host}:{server.proxy_port}",
            "db.example.net": server.host,
            "port: 5432": f"port: {server.proxy_port}",
            "login_db: whatsapp": f"login_db: {server.database}",
            "login_user: wa_app": f"login_user: {server.user}",
            "verify-full": "disable",
        }

    def translate(self, text: str) -> str:
        for theirs, ours in self.names.items():
            text = text.replace(theirs, ours)
        return re.sub(r"\bdeploy\b", getpass.getuser(), text)

    def write_inventory(self, text: str) -> None:
        """What the page shows, and beside it what makes this machine a host without root."""
        (self.folder / "inventory.yml").write_text(self.translate(text))
        variables = self.folder / "group_vars"
        variables.mkdir(exist_ok=True)
        (variables / "all.yml").write_text(yaml.safe_dump(self._without_root()))

    def _without_root(self) -> dict[str, Any]:
        host = self.folder / "host"
        return {
            "ansible_connection": "local",
            "ansible_become": False,
            "ansible_python_interpreter": sys.executable,
            "baileys_resilience_prefix": str(host / "opt"),
            "baileys_resilience_bin_dir": str(host / "bin"),
            "baileys_resilience_state_dir": str(host / "var"),
            "baileys_resilience_mirror_dir": str(host / "var" / "mirror"),
            "baileys_resilience_config_file": str(host / "etc" / "failover.json"),
            "baileys_resilience_python": str(VENV / "bin" / "python"),
            # Not fetched from an index for each run of a test; molecule does that on a blank host.
            "toolkit_manage_venv": False,
            "toolkit_venv": str(VENV),
            "toolkit_config_dir": str(host / "etc"),
            # A job for a cron that nobody runs: a test leaves nothing with the machine's own.
            "failover_scheduler": "cron",
            "failover_cron_dir": str(host / "cron"),
            # The monitor is written down and not started: that wants a user and a systemd.
            "health_monitor_manage_user": False,
            "health_monitor_manage_service": False,
            "health_monitor_config_file": str(host / "etc" / "monitor.json"),
            "health_monitor_state_dir": str(host / "monitor"),
            "health_monitor_unit_dir": str(host / "units"),
        }

    def run(self, script: str, *, expect: int = 0) -> str:
        """Run a block of the page as its reader does, typing the password where he is asked for it."""
        for each in ("cron", "units"):
            (self.folder / "host" / each).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.translate(script)],
            cwd=self.folder, env=self._environment(), input=f"{self.password}\n", stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{script}\n{done.stdout}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "USER") if name in os.environ}
        places = [self.folder / "host" / "bin", self.bin, VENV / "bin", postgres.bin_dir(), *os.get_exec_path()]
        return {
            **kept,
            "PATH": os.pathsep.join(map(str, places)),
            "PM2_HOME": str(self.gateway.home),
            "PM2_DISCRETE_MODE": "true",
            "PAGER": "",
            # psql would ask on a terminal, which a test has not.
            "PGPASSWORD": self.password,
            "WA_APP_PASSWORD": self.password,
            "BAILEYS_RESILIENCE_CONFIG": str(self.folder / "host" / "etc" / "failover.json"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    lab = Lab.up(tmp_path_factory.mktemp("labs") / "adoption", companies=2)
    try:
        live = Gateway(lab)
        live.move_in()
        yield live
    finally:
        lab.down()


@pytest.fixture(scope="module")
def reader(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory, collections_path: Path) -> Reader:
    (tarball,) = (PROJECT / "build").glob("baileys-resilience-*.tar.gz")
    return Reader(gateway, tmp_path_factory.mktemp("reader"), tarball)
