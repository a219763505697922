# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session client on the application's host: its socket, its directory, its database."""

from __future__ import annotations

import json
from typing import Any

from application import App, find_app
from machines import wait_until
from testinfra.host import Host

USER = "whatsapp"
SERVICE = "baileys-whatsapp-service"
APP = "/opt/baileys-whatsapp-service"
PACKAGE = f"{APP}/vendor/session-client"
DATA = "/var/lib/baileys-resilience-client"
SOCKET = f"{DATA}/admin.sock"
NODE = "/srv/node/bin/node"
NPM = f"{NODE} /srv/node/lib/node_modules/npm/bin/npm-cli.js"
ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.settimeout(30)
connection.sock.connect(sys.argv[1])
connection.request(sys.argv[2], sys.argv[3])
answer = connection.getresponse()
print(answer.read().decode())
sys.exit(answer.status != 200)
"""

HEALTH = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:3000/health", timeout=10).read().decode())
"""


class Client:
    """As root asks it, who may; the application's user where that is what counts."""

    def __init__(self) -> None:
        self.app: App = find_app("app-client")
        self.host: Host = self.app.host
        self.companies = sorted(self.app.companies)

    def ask(self, path: str, method: str = "GET") -> str:
        answer: str = self.host.check_output("python3 -c %s %s %s %s", ASK, SOCKET, method, path)
        return answer

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("/status"))
        return found

    def sessions(self) -> dict[str, dict[str, Any]]:
        return {each["company"]: each for each in self.status()["sessions"]}

    def states(self) -> dict[str, str]:
        """Empty while no process listens."""
        answered = self.host.run("python3 -c %s %s GET /status", ASK, SOCKET)
        if answered.rc != 0:
            return {}
        return {each["company"]: each["state"] for each in json.loads(answered.stdout)["sessions"]}

    def wait_for(self, state: str) -> None:
        wanted = dict.fromkeys(self.companies, state)
        wait_until(lambda: self.states() == wanted, 60, f"every session is {state}")

    def wait_connected(self) -> None:
        """Whatever the database does."""
        wanted = dict.fromkeys(self.companies, "open")
        wait_until(lambda: self._connections() == wanted, 60, "every session is connected")

    def _connections(self) -> dict[str, str]:
        answered = self.host.run("python3 -c %s", HEALTH)
        if answered.rc != 0:
            return {}
        return {each["company_id"]: each["connection"] for each in json.loads(answered.stdout)["companies"]}

    def health_check(self) -> Any:
        """As the application's user types it."""
        return self.host.run(
            f"cd {PACKAGE} && runuser --user {USER} -- env HOME=/home/{USER} WA_SESSION_DIR={DATA}"
            f" {NPM} run --silent health-check"
        )

    def journals(self) -> list[str]:
        return sorted(self.host.check_output(f"find {DATA} -name '*.journal' -printf '%f\\n'").split())

    def database(self, action: str) -> None:
        self.host.check_output(f"systemctl {action} postgresql")

    def sql(self, statement: str) -> list[list[str]]:
        shown = self.host.check_output("cd / && runuser -u postgres -- psql -XqtAd whatsapp -c %s", statement)
        return [line.split("|") for line in shown.splitlines()]

    def pid(self) -> int:
        return int(self.host.check_output(f"systemctl show --property=MainPID --value {SERVICE}"))
