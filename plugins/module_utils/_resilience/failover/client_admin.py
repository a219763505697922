# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Asking the application's client over its admin socket (docs/formats.md): HTTP over a unix socket of the application's
user.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, Dict

from ..errors import ApplicationError, Unavailable
from ..local_http import request

SOCKET = "admin.sock"


def ask(client_dir: str, method: str, path: str, *, seconds: float) -> Dict[str, Any]:
    """The answer of the running client. Raises Unavailable when nobody answers, ApplicationError when it refuses."""
    place = str(Path(client_dir) / SOCKET)
    try:
        status, answer = request(place, method, path, seconds=seconds)
        content = json.loads(answer)
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as exc:
        raise Unavailable(
            f"the client does not answer: {exc}",
            operation=f"{method} {path}",
            subject=place,
            hint="is the application running, and is this its client's directory (failover_client_dir)?",
        ) from exc
    if status != 200 or not isinstance(content, dict):
        said = content.get("error", "") if isinstance(content, dict) else ""
        raise ApplicationError(
            f"the client refuses: {said or status}",
            operation=f"{method} {path}",
            subject=place,
            hint="see the application's log",
        )
    return content


def journal_errors(client_dir: str, *, seconds: float = 1.0) -> Dict[str, str]:
    """Companies whose running client cannot write its journal, with the reason. Empty where nobody answers: then what
    lies on disk is all there is.
    """
    try:
        sessions = ask(client_dir, "GET", "/status", seconds=seconds).get("sessions", [])
    except (Unavailable, ApplicationError):
        return {}
    outages = {str(each.get("company")): each.get("outage") or {} for each in sessions if isinstance(each, dict)}
    return {company: str(outage["journal_error"]) for company, outage in outages.items() if outage.get("journal_error")}
