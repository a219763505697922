# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample application: its git repository, packages, paired companies, `.env`, and its life under PM2."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from . import nodejs, ports, processes, services
from .errors import LabError, LabTimeout
from .state import PROJECT, App, Company, LabState, write_private

PM2_NAME = "baileys-whatsapp-service"
TAG = "emergency-file-fallback-v1"
KEYS_PER_COMPANY = 1333
# A unix socket's path holds 107 bytes; PM2 adds "/interactor.sock" to its home.
LONGEST_PM2_HOME = 107 - len("/interactor.sock")
LONGEST_CLIENT_DIR = 107 - len("/admin.sock")
OPEN_TIMEOUT_SECONDS = 60.0

ENV_FILE = """\
# Settings of {name}; read by dotenv, which does not override what the process already has.

# Where sessions live: all three false means files in baileys_sessions/.
USE_REPOSITORY_PATTERN=true
USE_DATABASE_AUTH_STATE=true
USE_LEGACY_SUPABASE=false

# PostgreSQL (other datacentre)
POSTGRES_HOST={host}
POSTGRES_PORT={port}
POSTGRES_DB={database}
POSTGRES_USER={user}
POSTGRES_PASSWORD={password}
POSTGRES_SSL_MODE=disable

# The service itself
PORT={app_port}
WA_WEB_SOCKET_URL={ws_url}
"""

CLIENT_ENV = """
# The session client
WA_SESSION_DIR={dir}
WA_SESSION_EXPORT_DIR={exports}
"""


def build(state: LabState) -> App:
    """Make the application's repository with its remote, install its packages, and choose its ports and PM2 home."""
    app_dir = state.path / "app"
    remote = state.path / "app-remote.git"
    env = nodejs.environment(state.path, state.node)
    script = PROJECT / "lab" / "app" / "build-repo.mjs"
    processes.run(
        [
            *(state.node, str(script), "--dir", str(app_dir), "--remote", str(remote)),
            *(["--client"] if state.client_dir else []),
        ],
        env=env,
        cwd=state.path,
        timeout_seconds=60,
        what="making the application's repository",
    )
    nodejs.install_app(state.path, state.node, state.npm_cli, app_dir)
    port = ports.reserve()
    return App(
        dir=str(app_dir),
        env_file=str(app_dir / ".env"),
        sessions_dir=str(app_dir / "baileys_sessions"),
        port=port,
        health_url=f"http://127.0.0.1:{port}/health",
        pm2_name=PM2_NAME,
        pm2_home=folder_for_sockets(state, "pm2", LONGEST_PM2_HOME),
        pm2_bin=str(PROJECT / "lab" / "node" / "node_modules" / "pm2" / "bin" / "pm2"),
        remote=str(remote),
        tag=TAG,
        tag_commit=_git(state, app_dir, "rev-parse", f"{TAG}^{{commit}}"),
        head_commit=_git(state, app_dir, "rev-parse", "HEAD"),
    )


def _git(state: LabState, app_dir: Path, *arguments: str) -> str:
    env = processes.lab_environment(state.path)
    return processes.run(
        ["git", "-C", str(app_dir), *arguments], env=env, cwd=state.path, timeout_seconds=20, what=f"git {arguments[0]}"
    ).strip()


def folder_for_sockets(state: LabState, name: str, longest: int) -> str:
    """A private folder of this name in the lab, or outside where the lab's path is too long for a socket's."""
    home = state.path / name
    if len(str(home)) > longest:
        home = Path(tempfile.mkdtemp(prefix=f"lab-{name}-"))
        if len(str(home)) > longest:
            home.rmdir()
            raise LabError(
                f"no folder with a path short enough for the sockets of {name}: {state.path / name} and {home} are "
                f"longer than {longest} bytes",
                "choose a shorter --dir, or set TMPDIR=/tmp",
            )
        # Recorded at once: `down` must find it even if nothing after this line happens.
        state.outside.append(str(home))
        state.save()
    home.mkdir(mode=0o700, exist_ok=True)
    return str(home)


def pair(state: LabState, keys: int = KEYS_PER_COMPANY) -> None:
    """Pair every company with the stand-in by real Baileys; fills both tables and the companies' jids."""
    server, standin = state.need_postgres(), state.need_standin()
    identifiers = [company.id for company in state.companies]
    env = nodejs.environment(
        state.path,
        state.node,
        {
            "PGHOST": server.host,
            "PGPORT": str(server.direct_port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
            "PGDATABASE": server.database,
        },
    )
    out = processes.run(
        [
            state.node,
            str(PROJECT / "lab" / "node" / "pair.mjs"),
            "--ws",
            standin.ws_url,
            "--control",
            standin.control_url,
            "--companies",
            ",".join(identifiers),
            "--keys",
            str(keys),
            "--json",
        ],
        env=env,
        cwd=state.path,
        timeout_seconds=60 + 10 * len(identifiers),
        what="pairing the companies",
    )
    paired = {entry["company_id"]: entry for entry in json.loads(out)["companies"]}
    missing = [identifier for identifier in identifiers if identifier not in paired]
    if missing:
        raise LabError(f"not paired: {', '.join(missing)}", f"see {state.path / 'logs' / 'standin.log'}")
    state.companies = [
        Company(id=identifier, jid=paired[identifier]["jid"], group=paired[identifier]["group"])
        for identifier in identifiers
    ]


def dotenv_quote(value: str) -> str:
    """A value as dotenv reads it back.

    dotenv knows no escapes but \\n and \\r inside double quotes, so a value goes into quotes that it does not contain.
    """
    if value and all(char.isalnum() or char in "_-.:/,@+" for char in value):
        return value
    for quote in ("'", "`"):
        if quote not in value and "\n" not in value:
            return f"{quote}{value}{quote}"
    if '"' not in value and "\\n" not in value and "\\r" not in value:
        return f'"{value}"'
    raise LabError("a value with all three kinds of quotes cannot be written for dotenv")


def write_env(state: LabState) -> None:
    server, app, standin = state.need_postgres(), state.need_app(), state.need_standin()
    write_private(
        Path(app.env_file),
        ENV_FILE.format(
            name=app.pm2_name,
            host=server.host,
            port=server.proxy_port,
            database=server.database,
            user=server.user,
            password=dotenv_quote(server.password),
            app_port=app.port,
            ws_url=dotenv_quote(standin.ws_url),
        )
        + _client_env(state),
    )


def _client_env(state: LabState) -> str:
    if not state.client_dir:
        return ""
    return CLIENT_ENV.format(dir=dotenv_quote(state.client_dir), exports=dotenv_quote(f"{state.client_dir}/exports"))


def pm2(state: LabState, *arguments: str, timeout_seconds: float = 30.0) -> str:
    """Run PM2 with the lab's PM2_HOME. Its daemon holds only this environment, so `.env` decides all settings."""
    app = state.need_app()
    env = nodejs.environment(state.path, state.node, {"PM2_HOME": app.pm2_home, "PM2_DISCRETE_MODE": "true"})
    return processes.run(
        [state.node, app.pm2_bin, *arguments],
        env=env,
        cwd=Path(app.dir),
        timeout_seconds=timeout_seconds,
        what=f"pm2 {arguments[0]}",
    )


def start(state: LabState) -> None:
    app = state.need_app()
    pm2(state, "start", "src/index.js", "--name", app.pm2_name, "--cwd", app.dir, "--interpreter", state.node)
    wait_open(state)


def wait_open(state: LabState, timeout_seconds: float = OPEN_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Wait until /health shows every company open."""
    app = state.need_app()
    wanted = {company.id for company in state.companies}
    last: dict[str, Any] = {}

    def all_open() -> dict[str, Any] | None:
        nonlocal last
        try:
            last = services.call_json(app.health_url, timeout_seconds=2)
        except LabError as exc:
            last = {"error": exc.message}
            return None
        found = {item["company_id"] for item in last["companies"] if item["connection"] == "open"}
        return last if wanted <= found else None

    try:
        return processes.wait_until(all_open, "every company open", timeout_seconds, 0.1)
    except LabTimeout as exc:
        raise LabTimeout(f"{exc.message}; last health: {json.dumps(last)[:2000]}", f"see {app.pm2_home}/logs") from exc


def pm2_is_alive(state: LabState) -> bool:
    try:
        daemon = int((Path(state.need_app().pm2_home) / "pm2.pid").read_text())
    except (OSError, ValueError):
        return False
    return processes.is_alive(daemon)


def pm2_processes(state: LabState) -> list[dict[str, Any]]:
    """`pm2 jlist`: name, pid and status of each process. Asking a dead PM2 would start one, so look first."""
    if not pm2_is_alive(state):
        return []
    out = pm2(state, "jlist")
    # PM2 may print a notice before the list.
    listed = json.loads(out[out.index("[{") if "[{" in out else out.rindex("[") :])
    return [
        {
            "name": item["name"],
            "pid": item["pid"],
            "status": item["pm2_env"]["status"],
            "restarts": item["pm2_env"]["restart_time"],
        }
        for item in listed
    ]


def remove_outside(state: LabState) -> None:
    for path in state.outside:
        shutil.rmtree(path, ignore_errors=True)
