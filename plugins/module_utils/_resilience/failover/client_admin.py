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


class ClientRefuses(ApplicationError):
    """``why`` is the name that it gave its error, where its sentence is not all that counts."""

    def __init__(self, cause: str, *, why: str = "", **about: Any) -> None:
        super().__init__(cause, **about)
        self.why = why


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
        said = content if isinstance(content, dict) else {}
        raise ClientRefuses(
            f"the client refuses: {said.get('error') or status}",
            operation=f"{method} {path}",
            subject=place,
            hint="see the application's log",
            why=str(said.get("name", "")),
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
