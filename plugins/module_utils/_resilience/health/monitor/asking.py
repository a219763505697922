# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the monitor that runs on this host says."""

from __future__ import annotations

import http.client
import json
from typing import Any, Dict

from ...errors import Refused, Unavailable
from ...local_http import request_port
from .clients import read_token
from .configuration import ListenSettings

STATUS_PATH, LATENCY_PATH, HISTORY_PATH, COMPANIES_PATH = (
    "/api/status",
    "/api/latency",
    "/api/history",
    "/api/companies",
)
#: who listens on all addresses is asked on the nearest
_NEAREST = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_HINT = "systemctl status baileys-resilience-monitor"


def ask_monitor(listen: ListenSettings, path: str, *, seconds: float = 5.0) -> Dict[str, Any]:
    """Raises Unavailable where none answers, or not with what a monitor says, and Refused for another token."""
    host = _NEAREST.get(listen.host, listen.host)
    said: Dict[str, Any] = {"operation": "ask the monitor", "subject": f"{host}:{listen.port}{path}", "hint": _HINT}
    token = listen.token or (read_token(listen.token_file) if listen.token_file else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        status, content = request_port(listen.port, "GET", path, seconds=seconds, headers=headers, host=host)
        found = json.loads(content)
    except (OSError, http.client.HTTPException) as exc:
        raise Unavailable(getattr(exc, "strerror", None) or str(exc) or type(exc).__name__, **said) from exc
    except ValueError as exc:
        raise Unavailable("what listens there is no monitor", **said) from exc
    if status == 401:
        raise Refused(
            "it refuses the token of this configuration", **{**said, "hint": "restart it: it runs with an older one"}
        )
    if status != 200 or not isinstance(found, dict):
        cause = found.get("cause") or found.get("error") if isinstance(found, dict) else ""
        raise Unavailable(str(cause or f"it answers {status}"), **said)
    return found
