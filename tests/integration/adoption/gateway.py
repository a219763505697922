# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that knows nothing of this collection, live in a lab: tables, folders, flags and log lines of its own.

Its sessions are those that the lab paired; everything else of the lab's application is taken away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from lab import Lab, application

NAME = "chat-gateway"
SOURCES = Path(__file__).parent / "app"
ENV = """\
# Settings of the gateway
SESSION_STORE=tables
TENANTS={tenants}
PGHOST={host}
PGPORT={port}
PGDATABASE={database}
PGUSER={user}
PGPASSWORD={password}
GATEWAY_URL={gateway}
"""


@dataclass(frozen=True)
class Process:
    """What PM2 says of the application: a restart would change one of these."""

    pid: int
    started_at: int
    restarts: int


class Gateway:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.dir = lab.path / "srv" / NAME
        self.home = Path(lab.need_app().pm2_home)

    def move_in(self) -> None:
        """Take the place of the lab's application."""
        lab, server = self.lab, self.lab.need_postgres()
        lab.pm2("delete", application.PM2_NAME)
        with psycopg2.connect(**_direct(lab)) as connection, connection.cursor() as cursor:
            cursor.execute((SOURCES / "schema.sql").read_text("utf-8"))
        connection.close()
        shutil.copytree(SOURCES, self.dir, ignore=shutil.ignore_patterns("schema.sql"))
        self._install()
        shutil.rmtree(lab.need_app().dir)
        Path(lab.need_app().dir).mkdir()
        (self.dir / ".env").write_text(
            ENV.format(
                tenants=",".join(company.id for company in lab.companies),
                host=server.host,
                port=server.proxy_port,
                database=server.database,
                user=server.user,
                password=application.dotenv_quote(server.password),
                gateway=lab.need_standin().ws_url,
            )
        )
        (self.dir / ".env").chmod(0o600)
        lab.pm2("start", str(self.dir / "server" / "main.mjs"), "--name", NAME, "--cwd", str(self.dir),
                "--interpreter", lab.node)  # fmt: skip
        lab.pm2("save")
        self.wait_online()

    def _install(self) -> None:
        """The packages that the lab's application has, without its list of them."""
        app = Path(self.lab.need_app().dir)
        shutil.copytree(app / "node_modules", self.dir / "node_modules", symlinks=True)

    def wait_online(self, seconds: float = 30.0) -> None:
        limit = time.monotonic() + seconds
        log = self.home / "logs" / f"{NAME}-out.log"
        wanted = {f"tenant {company.id} is online" for company in self.lab.companies}
        while not log.exists() or not wanted <= set(log.read_text("utf-8").splitlines()):
            assert time.monotonic() < limit, log.read_text("utf-8") if log.exists() else self.lab.pm2("list")
            time.sleep(0.1)

    def process(self) -> Process:
        out = self.lab.pm2("jlist")
        (entry,) = [each for each in json.loads(out[out.index("[{") :]) if each["name"] == NAME]
        environment = entry["pm2_env"]
        return Process(entry["pid"], environment["pm_uptime"], environment["restart_time"])

    def files(self) -> dict[str, tuple[str, int, int]]:
        """SHA256, modification time and mode of every file of the application, and of PM2's saved list."""
        paths = [self.dir, *self.dir.rglob("*"), self.home / "dump.pm2"]
        return {str(path): _trace(path) for path in paths}

    def database(self) -> dict[str, list[Any]]:
        """Every row of the application's tables, and every object of the database that is not the server's own."""
        with psycopg2.connect(**_direct(self.lab)) as connection, connection.cursor() as cursor:
            found = {name: _ask(cursor, question) for name, question in QUESTIONS.items()}
        connection.close()
        return found

    def receives(self, text: str) -> bool:
        """Each session decrypts a message, and one in its group."""
        return all(
            self.lab.message(company.id, text, group=group) == "delivered"
            for company in self.lab.companies
            for group in (None, company.group)
        )

    def logins(self) -> list[Any]:
        return [(each.get("jid"), each.get("logins")) for each in self.lab.devices()]


QUESTIONS = {
    "tenants": "SELECT t::text FROM gateway.tenants t ORDER BY tenant",
    "secrets": "SELECT s::text FROM gateway.secrets s ORDER BY tenant, category, item",
    "schemas": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1",
    "relations": "SELECT relname, relacl::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
    " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1",
    "triggers": "SELECT tgname FROM pg_trigger ORDER BY 1",
}


def _ask(cursor: Any, question: str) -> list[Any]:
    cursor.execute(question)
    return list(cursor.fetchall())


def _direct(lab: Lab) -> dict[str, Any]:
    server = lab.need_postgres()
    return {"host": server.host, "port": server.direct_port, "dbname": server.database, "user": server.user,
            "password": server.password}  # fmt: skip


def _trace(path: Path) -> tuple[str, int, int]:
    status = path.lstat()
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    return hashlib.sha256(content).hexdigest(), status.st_mtime_ns, status.st_mode
