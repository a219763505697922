# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with small_app.py on a real database: quick enough to cut a run off in each of its moments.

What only a real session can show (that it still decrypts) is shown with the lab's application in tests/faults.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.record import StoreRecord
from baileys_resilience.steps.journal import Journal
from tests.support import small_app
from tests.support.databases import Database
from tests.support.synthetic import make_companies

PROGRAM = Path(small_app.__file__)


class SmallHost:
    def __init__(self, folder: Path, database: Database, companies: int = 2) -> None:
        self.folder = folder
        self.stop_seconds = 30.0
        self.database = database
        made = make_companies(companies)
        self.ids = [each.id for each in made]
        database.fill(*made)
        (folder / "app").mkdir(parents=True)
        (folder / "app" / ".env").write_text(f"PORT=1\n{small_app.FLAG}=true\n")
        (folder / "companies").write_text(" ".join(self.ids))
        self.reboot()

    def content(self, **policy: Any) -> dict[str, Any]:
        params = self.database.params
        words = {word: [sys.executable, str(PROGRAM), str(self.folder), word] for word in ("start", "stop", "status")}
        return {
            "host": "small", "companies": self.ids,
            "database": {
                "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
                "password": params.password, "ssl_mode": "disable", "connect_timeout_seconds": 2,
            },
            "sessions_dir": str(self.folder / "app" / "baileys_sessions"),
            "state_dir": str(self.folder / "state"), "mirror_dir": "",
            "application": {
                "dir": str(self.folder / "app"),
                "service": {"manager": "argv", "name": "small", "stop_seconds": self.stop_seconds, **words},
                "health": {
                    "kind": "command", "command": [*words["status"][:-1], "health"], "deadline_seconds": 3,
                },
            },
            "code": {"source": "none"},
            "policy": {
                "confirm": "all", "operator": "test", "cooldown_seconds": 0, "connect_seconds": 2, **policy,
            },
        }  # fmt: skip

    def settings(self, **policy: Any) -> FailoverSettings:
        return settings_from_dict(self.content(**policy))

    def operation(self, name: str = "failover", **policy: Any) -> Operation:
        return Operation(self.settings(**policy), name)

    def reboot(self) -> None:
        """The service manager starts the application with what .env says, as after a boot."""
        environment = {name: value for name, value in os.environ.items() if name != small_app.FLAG}
        for word in ("stop", "start"):
            subprocess.run([sys.executable, PROGRAM, self.folder, word], env=environment, check=True)

    @property
    def store(self) -> str:
        """What the running application uses; "down" when it does not run."""
        return (self.folder / "store").read_text() if small_app.pid_of(self.folder) else "down"

    @property
    def recorded(self) -> set[str]:
        record = StoreRecord(self.settings().state)
        return {record.get(company).store for company in self.ids}

    def place(self, number: int = 0) -> Path:
        return self.settings().home().directory(self.ids[number])

    def write_session(self, number: int, key_id: str) -> None:
        """What the application does in its store when somebody new writes: a key more."""
        company = self.ids[number]
        if self.store == "files":
            template = next(self.place(number).glob("session-*.json"))
            (self.place(number) / f"session-{key_id}.json").write_bytes(template.read_bytes())
        else:
            self.database.run(
                "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, updated_at) SELECT company_id,"
                " key_type, %s, value, clock_timestamp() FROM whatsapp_keys WHERE company_id = %s AND"
                " key_type = 'session' LIMIT 1",
                key_id, company,
            )  # fmt: skip

    def has_session(self, number: int, key_id: str, store: str) -> bool:
        if store == "files":
            return (self.place(number) / f"session-{key_id}.json").exists()
        found = self.database.run(
            "SELECT 1 FROM whatsapp_keys WHERE company_id = %s AND key_id = %s", self.ids[number], key_id
        )
        return bool(found)

    def say_connection(self, state: str) -> None:
        (self.folder / "connection").write_text(state)

    def journal(self) -> list[dict[str, Any]]:
        newest = max((self.folder / "state" / "runs").iterdir())
        return Journal(newest / "journal.jsonl").events()

    def end(self) -> None:
        (self.folder / "deaf").unlink(missing_ok=True)
        small_app.stop(self.folder)


class CutOff(BaseException):
    """A death of the process, for what runs in the process of the test."""


@contextmanager
def cut_off(monkeypatch: pytest.MonkeyPatch, event: str, step: str, *, before: bool = False) -> Iterator[None]:
    """What is run inside dies right behind (or before) that line of the journal."""
    append: Callable[..., None] = Journal.append

    def append_and_die(self: Journal, what: str, **details: Any) -> None:
        found = what == event and details.get("step") == step
        if found and before:
            raise CutOff
        append(self, what, **details)
        if found:
            raise CutOff

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", append_and_die)
        with pytest.raises(CutOff):
            yield
