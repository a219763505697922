# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small application under PM2 that belongs to an unprivileged user who owns nothing else, not even a home."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baileys_resilience.failover.settings import POSTGRES_FLAGS, FailoverSettings, settings_from_dict
from lab import nodejs
from tests.system.containers import PROJECT, wait_until
from tests.system.postgres15 import Cluster, free_port

USER, GROUP = "nobody", "nogroup"
NAME = "baileys-whatsapp-service"


@dataclass(frozen=True)
class OwnedApp:
    folder: Path
    port: int
    database: Cluster
    companies: list[str]

    @property
    def uid(self) -> int:
        return pwd.getpwnam(USER).pw_uid

    @property
    def directory(self) -> Path:
        return self.folder / "app"

    @property
    def env_file(self) -> Path:
        return self.directory / ".env"

    @property
    def sessions(self) -> Path:
        return self.directory / "baileys_sessions"

    @property
    def pm2_words(self) -> list[str]:
        return [str(self.folder / "node"), str(self.directory / "node_modules" / "pm2" / "bin" / "pm2")]

    def settings(self, user: str = USER, **service: Any) -> FailoverSettings:
        params = self.database.params
        manager = {"manager": "pm2", "name": NAME, "pm2": self.pm2_words, "pm2_home": str(self.folder / "pm2")}
        return settings_from_dict({
            "host": "app", "companies": self.companies, "sessions_dir": str(self.sessions), "group": GROUP,
            "state_dir": str(self.folder / "state"),
            "database": {
                "host": params.host, "port": params.port, "dbname": params.dbname, "user": params.user,
                "password": params.password, "ssl_mode": params.ssl_mode, "ca_cert": params.ca_cert,
            },
            "application": {
                "dir": str(self.directory), "user": user, "service": {**manager, **service},
                "health": {"url": f"http://127.0.0.1:{self.port}/health", "deadline_seconds": 20},
            },
            "load_check": {"node": self.pm2_words[0], "script": str(self.folder / "load_check.mjs")},
            "policy": {"confirm": "all", "operator": "test", "cooldown_seconds": 0},
        })  # fmt: skip

    def pm2(self, *words: str) -> str:
        """As the owner does it."""
        entry = pwd.getpwnam(USER)
        done = subprocess.run(
            [*self.pm2_words, *words], cwd=self.directory, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[],
            env={"PATH": os.defpath, "HOME": entry.pw_dir, "PM2_HOME": str(self.folder / "pm2")},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def entry(self) -> dict[str, Any]:
        listed = next(line for line in self.pm2("jlist").splitlines() if line.startswith("["))
        found: dict[str, Any] = json.loads(listed)[0]
        return found


@contextmanager
def owned_app(database: Cluster, companies: list[str]) -> Iterator[OwnedApp]:
    """The application runs on PostgreSQL, as its flags say."""
    # Short, for PM2's sockets; and the checkout may lie where the user may not go, so what it needs is mounted here.
    folder = Path(tempfile.mkdtemp(prefix="baileys-pm2-"))
    app = OwnedApp(folder, free_port(), database, companies)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        for path in (app.directory, app.directory / "node_modules", folder / "pm2"):
            path.mkdir()
        for name in ("node", "load_check.mjs"):
            (folder / name).touch()
        stack.enter_context(_mounted(Path(nodejs.find()[0]).resolve(), folder / "node"))
        stack.enter_context(_mounted(PROJECT / "lab" / "node" / "node_modules", app.directory / "node_modules"))
        stack.enter_context(
            _mounted(PROJECT / "roles" / "toolkit" / "files" / "load_check.mjs", folder / "load_check.mjs")
        )
        shutil.copy(Path(__file__).with_name("files_app.mjs"), app.directory / "app.mjs")
        values = {"PORT": app.port, "COMPANIES": ",".join(companies), "SESSIONS_DIR": app.sessions, **POSTGRES_FLAGS}
        app.env_file.write_text("# of the owner\n" + "".join(f"{name}={value}\n" for name, value in values.items()))
        app.env_file.chmod(0o640)
        for path in (folder, app.directory, app.directory / "app.mjs", app.env_file, folder / "pm2"):
            shutil.chown(path, USER, GROUP)
        stack.callback(app.pm2, "kill")
        app.pm2("start", "app.mjs", "--name", NAME, "--interpreter", app.pm2_words[0])
        wait_until(lambda: app.entry()["pm2_env"]["status"] == "online", 20, "the application is online")
        yield app


@contextmanager
def _mounted(source: Path, target: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", source, target], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=True, timeout=20)
