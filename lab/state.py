# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab consists of, as written to `<lab>/lab.json` (mode 0600: it holds the lab's passwords)."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .errors import LabStateError

PROJECT = Path(__file__).resolve().parent.parent
STATE_FILE = "lab.json"
FORMAT = 1
S = TypeVar("S", bound="LabState")


@dataclass
class Company:
    id: str
    jid: str = ""
    group: str = ""


@dataclass
class Postgres:
    """The server: `host`:`direct_port` for the lab itself, `host`:`proxy_port` for everybody else."""

    direct_port: int
    proxy_port: int
    host: str
    database: str
    user: str
    password: str = field(repr=False)
    superuser: str
    superuser_password: str = field(repr=False)
    pid: int
    data_dir: str
    bin_dir: str


@dataclass
class Proxy:
    pid: int
    control: str
    started: int


@dataclass
class StandIn:
    pid: int
    ws_url: str
    control_url: str
    started: int


@dataclass
class App:
    dir: str
    env_file: str
    sessions_dir: str
    port: int
    health_url: str
    pm2_name: str
    pm2_home: str
    pm2_bin: str
    remote: str
    tag: str
    tag_commit: str
    head_commit: str


@dataclass
class Receivers:
    pid: int
    sentry_dsn: str = field(repr=False)
    telegram_api_url: str
    telegram_token: str = field(repr=False)
    telegram_chat_id: str
    sentry_log: str
    telegram_log: str
    started: int


@dataclass
class LabState:
    """One lab. Parts are None until they run, or for good in a lab made with `--no-app`."""

    dir: str
    mirror_dir: str
    state_dir: str
    phase: str = "starting"
    node: str = ""
    npm_cli: str = ""
    companies: list[Company] = field(default_factory=list)
    postgres: Postgres | None = None
    proxy: Proxy | None = None
    standin: StandIn | None = None
    app: App | None = None
    receivers: Receivers | None = None
    outside: list[str] = field(default_factory=list)
    #: where the application's session client keeps journals and caches; empty where the application has none
    client_dir: str = ""
    format: int = FORMAT

    @property
    def path(self) -> Path:
        return Path(self.dir)

    def need_postgres(self) -> Postgres:
        return _present(self.postgres, "PostgreSQL", self.dir)

    def need_proxy(self) -> Proxy:
        return _present(self.proxy, "proxy", self.dir)

    def need_standin(self) -> StandIn:
        return _present(self.standin, "stand-in for the WhatsApp server", self.dir)

    def need_app(self) -> App:
        return _present(self.app, "application", self.dir)

    def need_receivers(self) -> Receivers:
        return _present(self.receivers, "receivers", self.dir)

    def save(self) -> None:
        write_private(self.path / STATE_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls: type[S], directory: str | os.PathLike[str]) -> S:
        path = Path(directory).resolve() / STATE_FILE
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError as exc:
            raise LabStateError(f"no lab in {path.parent}", f"start one: lab up --dir {path.parent}") from exc
        except ValueError as exc:
            raise LabStateError(f"{path} is not readable JSON: {exc}", f"lab down --dir {path.parent}") from exc
        return cls.from_json(raw)

    @classmethod
    def from_json(cls: type[S], raw: dict[str, Any]) -> S:
        if raw.get("format") != FORMAT:
            raise LabStateError(
                f"{raw.get('dir')} was made by another version of the lab",
                "remove it with the version that made it, or end its processes by hand",
            )
        parts: dict[str, type[Any]] = {
            "postgres": Postgres,
            "proxy": Proxy,
            "standin": StandIn,
            "app": App,
            "receivers": Receivers,
        }
        values = dict(raw, companies=[Company(**company) for company in raw["companies"]])
        for name, part in parts.items():
            values[name] = part(**raw[name]) if raw.get(name) else None
        return cls(**values)


P = TypeVar("P")


def _present(part: P | None, what: str, directory: str) -> P:
    if part is None:
        raise LabStateError(
            f"the lab in {directory} has no {what}", "it was made with --no-app, or `lab up` did not end"
        )
    return part


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole: a reader sees the old content or the new."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    os.replace(temporary, path)
