# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application host without PM2 and without code to switch: what a failover does with the data, step by step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from baileys_resilience.failover.mirror.commands import mirror_for
from baileys_resilience.failover.operations import Operation, Outcome
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.progress import Silent
from baileys_resilience.sessions.directory_source import DirectorySource
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.verify import inspect_company
from tests.support import small_app
from tests.support.databases import Database


class DataHost:
    """Everything below ``root``; the application runs from the start, on PostgreSQL."""

    def __init__(self, root: Path, database: Database, companies: list[str], **overrides: Any) -> None:
        self.root, self.database, self.companies = root, database, companies
        self.params = database.params
        self._overrides = overrides
        (root / "app").mkdir(parents=True)
        (root / "app" / ".env").write_text("PORT=1\nUSE_DATABASE_AUTH_STATE=true\n")
        (root / "companies").write_text(" ".join(companies))
        self.tell("start", USE_DATABASE_AUTH_STATE="true")

    def argv(self, word: str) -> list[str]:
        return [sys.executable, small_app.__file__, str(self.root), word]

    def tell(self, word: str, **env: str) -> int:
        return subprocess.run(self.argv(word), env={**os.environ, **env}, check=False, timeout=20).returncode

    def settings(self, **overrides: Any) -> FailoverSettings:
        given = {**self._overrides, **overrides}
        policy = {"confirm": "all", "operator": "maria", "cooldown_seconds": 0, "connect_seconds": 2}
        return settings_from_dict({
            "host": "app1", "companies": self.companies, "database": _connection(self.params),
            "sessions_dir": str(self.root / "app" / "baileys_sessions"), "state_dir": str(self.root / "state"),
            "application": {
                "dir": str(self.root / "app"),
                "service": {"manager": "argv", "name": "app", **{w: self.argv(w) for w in ("start", "stop", "status")}},
                "health": {"kind": "command", "command": self.argv("health"), "deadline_seconds": 3},
            },
            **given,
            "policy": {**policy, **given.get("policy", {})},
        })  # fmt: skip

    def operation(self, name: str = "failover", **overrides: Any) -> Operation:
        return Operation(self.settings(**overrides), name)

    def begun(self, upto: str, name: str = "failover", **overrides: Any) -> Operation:
        """An open run whose steps are done up to and with ``upto``."""
        operation = self.operation(name, **overrides)
        operation.begin()
        names = operation.step_names
        for step in names[: names.index(upto) + 1]:
            operation.step(step)
        return operation

    def completed(self, operation: Operation) -> dict[str, Any]:
        """Run what is left, step by step as a playbook does: a resume would copy anew what was not stopped yet."""
        run = operation._run(operation._open_run())
        for step in operation.step_names:
            if not run.state.done(step):
                operation.step(step)
        return report_of(operation.finish())

    def mirror_now(self, **overrides: Any) -> None:
        mirror_for(self.settings(**overrides), Silent()).scan_once()

    @property
    def store(self) -> str:
        """Where the application runs, as it says itself; empty when it is down."""
        return (self.root / "store").read_text() if small_app.pid_of(self.root) else ""

    @property
    def home(self) -> Path:
        return self.root / "app" / "baileys_sessions"

    def place(self, company: str) -> Path:
        return self.home / f"company_{company}"

    def creds(self, company: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.place(company) / "creds.json").read_bytes())
        return content

    def keys_in_files(self, company: str) -> dict[tuple[str, str], str]:
        return inspect_company(DirectorySource(self.settings().home()), company).digests

    def keys_in_rows(self, company: str) -> dict[tuple[str, str], str]:
        with open_snapshot(self.database.params, TableMapping()) as snapshot:
            return inspect_company(snapshot, company).digests

    def writes_on_files(self, company: str, version: str, number: int = 0) -> None:
        """As Baileys does: a session is written again, in place."""
        path = sorted(self.place(company).glob("session-*.json"))[number]
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "version": version}))

    def close(self) -> None:
        self.tell("stop")


def report_of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.report is not None, outcome.message
    return outcome.report


def _connection(params: ConnectParams) -> dict[str, Any]:
    return {
        "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
        "password": params.password, "ssl_mode": "disable", "connect_timeout_seconds": 2,
    }  # fmt: skip
