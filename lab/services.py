# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own small servers: starting them, and talking to them."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from . import ports, processes
from .errors import LabError
from .state import PROJECT, Postgres, Proxy, Receivers, StandIn


def _own_environment(lab_dir: Path, extra: dict[str, str] | None = None) -> dict[str, str]:
    own = {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    return processes.lab_environment(lab_dir, {**own, **(extra or {})})


def _started(pid: int) -> int:
    ticks = processes.start_ticks(pid)
    if ticks is None:
        raise LabError(f"process {pid} ended right after its start", "see the lab's logs folder")
    return ticks


def start_proxy(lab_dir: Path, postgres: Postgres, control_port: int = 0) -> Proxy:
    """Start the proxy before PostgreSQL; sets `postgres.proxy_port`, and takes the port set there if there is one."""
    port = postgres.proxy_port or ports.reserve()
    ready = processes.spawn_ready(
        [
            sys.executable,
            "-m",
            "lab.proxy",
            "--upstream",
            f"{postgres.host}:{postgres.direct_port}",
            "--port",
            str(port),
            "--control-port",
            str(control_port or ports.reserve()),
            "--ready-file",
            str(lab_dir / "proxy.ready"),
        ],
        lab_dir / "proxy.ready",
        lab_dir / "logs" / "proxy.log",
        _own_environment(lab_dir),
        lab_dir,
    )
    postgres.proxy_port = ready["port"]
    return Proxy(pid=ready["pid"], control=ready["control"], started=_started(ready["pid"]))


def ask_proxy(proxy: Proxy, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send one line to the proxy's control port: {} asks, {"mode": ...} sets. Returns its status."""
    host, _, port = proxy.control.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(json.dumps(request or {}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
    except (OSError, ValueError) as exc:
        raise LabError(f"the proxy does not answer on {proxy.control}: {exc}", "lab heal starts it again") from exc
    if "error" in answer:
        raise LabError(f"the proxy refused: {answer['error']}")
    return answer


def start_receivers(lab_dir: Path) -> Receivers:
    folder = lab_dir / "receivers"
    key, token, chat_id = secrets.token_hex(16), f"123456:stand-in-{secrets.token_hex(8)}", "-1001234567890"
    settings = {"LAB_SENTRY_KEY": key, "LAB_TELEGRAM_TOKEN": token, "LAB_TELEGRAM_CHAT_ID": chat_id}
    ready = processes.spawn_ready(
        [sys.executable, "-m", "lab.receivers", "--dir", str(folder), "--ready-file", str(lab_dir / "receivers.ready")],
        lab_dir / "receivers.ready",
        lab_dir / "logs" / "receivers.log",
        _own_environment(lab_dir, settings),
        lab_dir,
    )
    return Receivers(
        pid=ready["pid"],
        sentry_dsn=f"http://{key}@127.0.0.1:{ready['sentry_port']}/1",
        telegram_api_url=f"http://127.0.0.1:{ready['telegram_port']}",
        telegram_token=token,
        telegram_chat_id=chat_id,
        sentry_log=str(folder / "sentry.jsonl"),
        telegram_log=str(folder / "telegram.jsonl"),
        started=_started(ready["pid"]),
    )


def start_standin(lab_dir: Path, node: str) -> StandIn:
    script = PROJECT / "lab" / "node" / "standin" / "server.mjs"
    ready = processes.spawn_ready(
        [
            node,
            str(script),
            "--ready-file",
            str(lab_dir / "standin" / "ready"),
            "--log",
            str(lab_dir / "logs" / "standin.log"),
        ],
        lab_dir / "standin" / "ready",
        lab_dir / "logs" / "standin.out",
        processes.lab_environment(lab_dir),
        lab_dir,
    )
    return StandIn(
        pid=ready["pid"], ws_url=ready["ws_url"], control_url=ready["control_url"], started=_started(ready["pid"])
    )


def call_json(url: str, content: dict[str, Any] | None = None, timeout_seconds: float = 10.0) -> Any:
    """GET, or POST when there is content, on one of the lab's HTTP services; never through a web proxy."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_seconds) as response:
            return json.load(response)
    except urllib.error.HTTPError as exc:
        detail = exc.read().decode("utf-8", "replace")[:500]
        raise LabError(f"{url} answered {exc.code}: {detail}") from exc
    except (OSError, ValueError) as exc:
        raise LabError(f"{url} does not answer: {exc}") from exc
