# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Asking the application which sessions are connected: an URL, a command, or its log for code that has neither."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from ..errors import ApplicationError, DeadlineExceeded, ToolMissing
from .processes import look_up_user, run
from .settings import ApplicationSettings, HealthSettings

OPEN = "open"
LOGGED_OUT = "logged_out"
UNKNOWN = "unknown"
_REQUEST_SECONDS = 2.0


@dataclass(frozen=True)
class CompanyHealth:
    """``connection``: open, connecting, close, logged_out or unknown. ``keys`` is what the application says it
    loaded.
    """

    connection: str = UNKNOWN
    user: Optional[str] = None
    keys: Optional[int] = None
    store: Optional[str] = None
    last_error: Optional[str] = None


@dataclass(frozen=True)
class ApplicationHealth:
    """``answered`` False means that nothing could be learnt; ``pid`` is 0 where the application does not tell."""

    answered: bool
    pid: int = 0
    companies: Mapping[str, CompanyHealth] = field(default_factory=dict)
    problem: str = ""

    def company(self, company: str) -> CompanyHealth:
        return self.companies.get(company, CompanyHealth())


class HealthProbe:
    """One way of asking. For logs, only what was written behind ``log_offset`` counts."""

    def __init__(
        self, settings: HealthSettings, application: ApplicationSettings, *, log_file: str = "", log_offset: int = 0
    ) -> None:
        self._settings = settings
        self._application = application
        self._log_file = settings.log_file or log_file
        self._log_offset = log_offset

    def ask(self, companies: Tuple[str, ...]) -> ApplicationHealth:
        if self._settings.kind == "log":
            return self._from_log(companies)
        text = self._fetch() if self._settings.kind == "url" else self._command()
        if text.startswith("!"):
            return ApplicationHealth(False, problem=text[1:])
        try:
            return parse_health(json.loads(text))
        except (ValueError, TypeError, AttributeError, KeyError) as exc:
            return ApplicationHealth(False, problem=f"the answer cannot be read: {exc}")

    def _fetch(self) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._settings.url, timeout=_REQUEST_SECONDS) as answer:
                return str(answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as exc:
            # A degraded application answers 503 with the same document.
            body = exc.read().decode("utf-8", "replace")
            return body if body.startswith("{") else f"!HTTP {exc.code}"
        except (OSError, ValueError, http.client.HTTPException) as exc:
            return f"!{getattr(exc, 'reason', exc)}"

    def _command(self) -> str:
        try:
            done = run(
                self._settings.command,
                seconds=_REQUEST_SECONDS * 2,
                user=look_up_user(self._application.user),
                check=False,
            )
        except (ApplicationError, DeadlineExceeded, ToolMissing) as exc:
            return f"!{exc.cause}"
        return done.stdout.strip() or f"!ended with {done.returncode}"

    def _from_log(self, companies: Tuple[str, ...]) -> ApplicationHealth:
        try:
            with open(self._log_file, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                stream.seek(self._log_offset if self._log_offset <= size else 0)  # a rotated log starts anew
                text = stream.read().decode("utf-8", "replace")
        except OSError as exc:
            return ApplicationHealth(False, problem=f"log {self._log_file}: {exc.strerror}")
        found = {}
        for company in companies:
            # The text itself, no expression: "(files)" means its brackets. Company 12 is not the 12 of 112 or 123.
            before, _placeholder, behind = (re.escape(part) for part in self._pattern_parts())
            if re.search(rf"{before}(?<!\w){re.escape(company)}(?!\w){behind}(?!\w)", text):
                found[company] = CompanyHealth(OPEN)
        return ApplicationHealth(bool(text), companies=found)

    def _pattern_parts(self) -> Tuple[str, str, str]:
        return self._settings.log_pattern.partition("{company_id}")


def log_size(path: str) -> int:
    """The length of a log now, to know later what was written behind it; 0 when it is not there."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def parse_health(document: Mapping[str, Any]) -> ApplicationHealth:
    """The document of ``GET /health``: ``{"pid": 1, "companies": [{"company_id", "connection", "user", "keys_loaded",
    "store", "last_error"}]}``.
    """
    companies: Dict[str, CompanyHealth] = {}
    for entry in document.get("companies") or []:
        companies[str(entry["company_id"])] = CompanyHealth(
            str(entry.get("connection") or UNKNOWN),
            entry.get("user"),
            None if entry.get("keys_loaded") is None else int(entry["keys_loaded"]),
            entry.get("store"),
            entry.get("last_error"),
        )
    return ApplicationHealth(True, int(document.get("pid") or 0), companies)
