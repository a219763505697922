# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""One POST over HTTP(S), with the standard library: no redirects, a short answer, every failure as a value."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Mapping, Optional

_MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """``status`` is None when there was no answer; ``failure`` then says why, without the address."""

    status: Optional[int]
    body: bytes = b""
    retry_after: Optional[float] = None
    failure: str = ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the secret in the address to wherever the answer says."""

    def redirect_request(self, *args: Any, **keywords: Any) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
    """POST ``body``. Never raises for what the network or the other side does, nor for an address that is none."""
    try:
        request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
        if request.type not in ("http", "https"):
            return Answer(None, failure="the address is not one of http or https")
        with _opener(request.host).open(request, timeout=timeout_seconds) as response:
            return Answer(response.status, response.read(_MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(exc.code, _read(exc), _seconds(exc.headers.get("Retry-After")))
    except urllib.error.URLError as exc:
        return Answer(None, failure=_reason(exc.reason))
    except http.client.InvalidURL:  # its text is the address
        return Answer(None, failure="the address is not usable")
    except (OSError, http.client.HTTPException) as exc:
        return Answer(None, failure=_reason(exc))
    except ValueError:  # so is this one's
        return Answer(None, failure="the address is not usable")


def _opener(host: str) -> urllib.request.OpenerDirector:
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if name in ("localhost", "::1") or name.startswith("127."):
        # A proxy of the environment cannot reach what listens on this host.
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _read(response: urllib.error.HTTPError) -> bytes:
    try:
        return response.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _seconds(text: Optional[str]) -> Optional[float]:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _reason(reason: object) -> str:
    if isinstance(reason, (TimeoutError, socket.timeout)):
        return "no answer in time"
    if isinstance(reason, ssl.SSLError):
        return f"TLS failed: {reason.reason or type(reason).__name__}"
    if isinstance(reason, socket.gaierror):
        return "the host's name is not known"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return type(reason).__name__
