# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Asking the application's client over its admin socket (docs/formats.md): HTTP over a unix socket of the application's
user. Nothing that it says is believed to have the shape that was agreed upon.
"""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ..errors import ApplicationError, Unavailable
from ..local_http import listener_of, request

SOCKET = "admin.sock"
#: asked before anything is held: of a process that hangs the answer would not be waited for
STATUS_SECONDS = 2.0
_LONGEST_TEXT = 4096
_LONGEST_SENTENCE = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


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
            f"the client does not answer: {_sentence(exc)}",
            operation=f"{method} {path}",
            subject=place,
            hint="is the application running, and is this its client's directory (failover_client_dir)?",
        ) from exc
    if status != 200 or not isinstance(content, dict):
        said = content if isinstance(content, dict) else {}
        raise ClientRefuses(
            f"the client refuses: {_sentence(said.get('error') or status)}",
            operation=f"{method} {path}",
            subject=place,
            hint="see the application's log",
            why=str(said.get("name", "")),
        )
    return content


def process_of(client_dir: str) -> int:
    """The process of the running client, which not every service manager tells; 0 where nobody listens, or it is not to
    be seen from here.
    """
    try:
        return listener_of(str(Path(client_dir) / SOCKET), seconds=STATUS_SECONDS)
    except OSError:
        return 0


def _sentence(said: object) -> str:
    """It goes to a terminal and into reports: one line, without what moves a cursor."""
    return _CONTROL.sub(" ", str(said))[:_LONGEST_SENTENCE]


def text_of(said: object) -> str:
    """A text that the client has said; "" for none. Raises ValueError for anything else."""
    if said is None:
        return ""
    if not isinstance(said, str) or len(said) > _LONGEST_TEXT or _CONTROL.search(said):
        raise ValueError("no text")
    return said


def below(said: object, *names: str) -> Any:
    """What an answer has at this place; None where there is no such place."""
    for name in names:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def ask_status(client_dir: str, *, seconds: float = STATUS_SECONDS) -> Dict[str, Any]:
    """``GET /status``, as far as anybody here needs it: ``sessions_dir``, ``export_dir``, ``sessions`` (a list) and
    ``drained`` (ids). Raises Unavailable, and ApplicationError also for an answer of another shape.
    """
    answer = ask(client_dir, "GET", "/status", seconds=seconds)
    try:
        return {
            "sessions_dir": text_of(answer.get("sessions_dir")),
            "export_dir": text_of(answer.get("export_dir")),
            "sessions": [_session(each) for each in answer.get("sessions", [])],
            "drained": list(below(answer, "drained", "companies") or {}),
        }
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise ApplicationError(
            "the client's word on itself is not to be understood",
            operation="GET /status",
            subject=str(Path(client_dir) / SOCKET),
            hint="is it the session client of this collection? See the application's log",
        ) from exc


def _session(said: Mapping[str, Any]) -> Dict[str, Any]:
    outage: Optional[Mapping[str, Any]] = said.get("outage")
    hold: Optional[Mapping[str, Any]] = said.get("hold")
    return {
        "company": text_of(said["company"]),
        "state": text_of(said.get("state")),
        "store": text_of(said.get("store")),
        "counts": {text_of(kind): int(number) for kind, number in (said.get("counts") or {}).items()},
        "undecodable": int(said.get("undecodable") or 0),
        "epoch": int(said.get("epoch") or 0),
        "outage": None if outage is None else {"journal_error": text_of(outage.get("journal_error"))},
        "hold": {name: text_of(hold.get(name)) for name in ("hold", "to", "phase", "since")} if hold else None,
    }


def journal_errors(client_dir: str, *, seconds: float = 1.0) -> Dict[str, str]:
    """Companies whose running client cannot write its journal, with the reason. Empty where nobody answers: then what
    lies on disk is all there is.
    """
    try:
        found = ask_status(client_dir, seconds=seconds)["sessions"]
    except (Unavailable, ApplicationError):
        return {}
    errors = {each["company"]: (each["outage"] or {}).get("journal_error", "") for each in found}
    return {company: error for company, error in errors.items() if error}
