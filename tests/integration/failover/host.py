# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application host in a lab as these tests see it: operations on it, and a picture of all that must not change."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ResilienceError
from baileys_resilience.failover.operations import Operation, Outcome
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.steps.lease import HostLease
from lab import Lab, application
from tests.support.lab_settings import settings_content

#: not the application's: history of git, packages, and what this product keeps beside the sessions
_PASSED_OVER = {".git", "node_modules", ".resilience"}


@dataclass(frozen=True)
class Picture:
    """Everything a refused operation must leave alone."""

    files: dict[str, str]
    stores: bytes | None
    rows: str
    processes: tuple[tuple[str, int], ...]


class Host:
    def __init__(self, lab: Lab, **overrides: Any) -> None:
        self.lab = lab
        self._overrides: dict[str, Any] = {"mirror_dir": "", **overrides}

    def settings(self, **overrides: Any) -> FailoverSettings:
        both = {**self._overrides, **overrides}
        for name in set(self._overrides) & set(overrides):
            if isinstance(both[name], dict):
                both[name] = {**self._overrides[name], **overrides[name]}
        content = settings_content(self.lab, **both)
        standard = settings_content(self.lab)["application"]
        for name in ("service", "health"):
            content["application"][name] = {**standard[name], **content["application"][name]}
        return settings_from_dict(content)

    def operation(self, name: str = "failover", **overrides: Any) -> Operation:
        return Operation(self.settings(**overrides), name)

    def failover(self, **overrides: Any) -> Outcome:
        return self.operation("failover", **overrides).run()

    def failback(self, **overrides: Any) -> Outcome:
        return self.operation("failback", **overrides).run()

    @property
    def company(self) -> str:
        return self.lab.companies[0].id

    @property
    def app_dir(self) -> Path:
        return Path(self.lab.need_app().dir)

    @property
    def worktree(self) -> Path:
        return Path(f"{self.app_dir}-files")

    @property
    def env_file(self) -> Path:
        return Path(self.lab.need_app().env_file)

    @property
    def place(self) -> Path:
        return Path(self.lab.need_app().sessions_dir) / f"company_{self.company}"

    @property
    def state(self) -> Path:
        return Path(self.lab.state_dir)

    def pid(self) -> int:
        pid = int(application.pm2_processes(self.lab)[0]["pid"])
        assert pid, "PM2 runs no process, and a signal to 0 would go to the tests themselves"
        return pid

    def store(self) -> str:
        """The store that the application itself says it uses."""
        return str(self.lab.wait_open(20)["companies"][0]["store"])

    def picture(self) -> Picture:
        stores = self.state / "stores.json"
        return Picture(
            dict(_hashes(self.app_dir)),
            stores.read_bytes() if stores.exists() else None,
            self._rows(),
            tuple((str(each["name"]), int(each["pid"])) for each in application.pm2_processes(self.lab)),
        )

    def settled_picture(self) -> Any:
        """The picture once the application has written what it had to: it saves creds a moment after a message."""
        limit = time.monotonic() + 10
        while True:
            first = self.picture()
            time.sleep(0.3)
            if self.picture() == first or time.monotonic() > limit:
                return first

    def _rows(self) -> str:
        connection = self.lab.connect(direct=True)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT md5(string_agg(line, '' ORDER BY line COLLATE \"C\")) FROM ("
                    "SELECT a::text FROM whatsapp_auth a UNION ALL SELECT k::text FROM whatsapp_keys k) each(line)"
                )
                return str(cursor.fetchone()[0])
        finally:
            connection.close()

    def sql(self, statement: str, *values: Any) -> None:
        connection = self.lab.connect(direct=True)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
        finally:
            connection.close()

    @contextmanager
    def refuses(self, error: type[ResilienceError], *, cause: str, hint: str) -> Iterator[None]:
        """What is done inside fails with this error, says what to do, and has changed nothing when it is over."""
        before = self.settled_picture()
        with pytest.raises(ResilienceError) as caught:
            yield
        assert type(caught.value) is error, caught.value.as_dict()
        assert cause in str(caught.value), caught.value
        assert hint in str(caught.value), caught.value
        assert self.lab.need_postgres().password not in str(caught.value)
        assert self.picture() == before
        assert HostLease(self.state).current() is None
        staging = Path(self.lab.need_app().sessions_dir) / ".resilience" / "runs"
        assert not staging.is_dir() or not any(staging.iterdir())

    def assert_alive(self, text: str) -> None:
        """A real session: a contact's message is decrypted, and the contact decrypts the answer."""
        self.lab.wait_open(20)
        assert self.lab.message(self.company, text) == "delivered"
        self.lab.send(self.company, f"re: {text}")
        assert any(each.get("text") == f"re: {text}" for each in self.lab.inbox())


def _hashes(directory: Path) -> Iterator[tuple[str, str]]:
    """Every file with its content, mode and owner; links by where they lead."""
    for root, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - _PASSED_OVER)
        for name in [*names, *directories]:
            path = Path(root) / name
            status = path.lstat()
            what = str(path.readlink()) if path.is_symlink() else ""
            if path.is_file() and not what:
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            yield str(path.relative_to(directory)), f"{what} {status.st_mode:o} {status.st_uid}:{status.st_gid}"
