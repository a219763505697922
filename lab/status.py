# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab status`: asks the things themselves, never the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg2

from . import application, faults, postgres, processes, services
from .errors import LabError
from .state import LabState


def dead_parts(state: LabState) -> list[str]:
    """Names of the recorded parts whose process is gone."""
    dead = []
    if state.postgres is None or postgres.postmaster_pid(state.postgres) is None:
        dead.append("PostgreSQL")
    for name, part in (("proxy", state.proxy), ("receivers", state.receivers), ("stand-in", state.standin)):
        if part is not None and not processes.is_alive(part.pid, part.started):
            dead.append(name)
    if state.app is not None and not application.pm2_is_alive(state):
        dead.append("PM2")
    return dead


def collect(state: LabState) -> dict[str, Any]:
    """The state of every part, each with `ok` and, when it is not, `error`."""
    parts: dict[str, dict[str, Any]] = {
        "postgres": _ask(lambda: _postgres(state, direct=True)),
        "proxy": _ask(lambda: _proxy(state)),
        "postgres_through_proxy": _ask(lambda: _postgres(state, direct=False)),
        "receivers": _ask(lambda: services.call_json(state.need_receivers().telegram_api_url, timeout_seconds=3)),
    }
    if state.standin is not None:
        parts["standin"] = _ask(
            lambda: {
                "devices": services.call_json(state.need_standin().control_url + "/status", timeout_seconds=3)[
                    "devices"
                ]
            }
        )
    if state.app is not None:
        parts["pm2"] = _ask(lambda: _pm2(state))
        parts["app"] = _ask(lambda: _app(state))
    active = [asdict(fault) for fault in faults.active(state.path)]
    return {
        "dir": state.dir,
        "phase": state.phase,
        "ok": all(part["ok"] for part in parts.values()) and not active,
        "faults": active,
        "parts": parts,
    }


def _ask(question: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **question()}
    except LabError as exc:
        return {"ok": False, "error": " ".join(str(exc).split())}


def _postgres(state: LabState, *, direct: bool) -> dict[str, Any]:
    server = state.need_postgres()
    pid = postgres.postmaster_pid(server)
    if direct and pid is not None and postgres.is_frozen(pid):
        raise LabError(f"PostgreSQL (pid {pid}) is frozen", "lab heal")
    try:
        connection = postgres.connect(server, direct=direct, timeout_seconds=3)
    except psycopg2.OperationalError as exc:
        raise LabError(f"PostgreSQL does not answer: {exc}".strip(), "lab heal") from exc
    try:
        with connection.cursor() as cursor:
            cursor.execute("""SELECT current_setting('server_version'), (SELECT count(*) FROM whatsapp_auth),
                                     (SELECT count(*) FROM whatsapp_keys)""")
            version, companies, keys = cursor.fetchall()[0]
    finally:
        connection.close()
    return {
        "port": server.direct_port if direct else server.proxy_port,
        "version": version,
        "companies": companies,
        "keys": keys,
        "pid": pid,
    }


def _proxy(state: LabState) -> dict[str, Any]:
    answer = services.ask_proxy(state.need_proxy())
    if answer["mode"] != "pass":
        raise LabError(f"the proxy is in mode {answer['mode']}", "lab heal")
    return answer


def _pm2(state: LabState) -> dict[str, Any]:
    listed = application.pm2_processes(state)
    name = state.need_app().pm2_name
    if not any(item["name"] == name and item["status"] == "online" for item in listed):
        raise LabError(f"PM2 has no online process {name}: {listed}", f"see {state.need_app().pm2_home}/logs")
    return {"processes": listed}


def _app(state: LabState) -> dict[str, Any]:
    health: dict[str, Any] = services.call_json(state.need_app().health_url, timeout_seconds=3)
    closed = [item["company_id"] for item in health["companies"] if item["connection"] != "open"]
    if closed:
        raise LabError(f"not open: {', '.join(closed)}", f"see {state.need_app().health_url}")
    return {"health": health}
