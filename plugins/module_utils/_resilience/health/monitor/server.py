# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The small HTTP server: figures, what is now, what was, and the page that shows them. It only shows what was published
or written; nothing that it is asked makes the monitor look or wait.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import ipaddress
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import parse_qsl

from ...errors import Misconfigured, ResilienceError, UsageError

_REQUEST_SECONDS = 5.0
#: a browser asks six things at once
_MOST_AT_ONCE = 32
_MOST_PARAMETERS = 20
#: less is not worth the time
_LEAST_PACKED_BYTES = 1024
#: a page that somebody managed to write into runs nothing and sends nothing away
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
)


class Page(NamedTuple):
    status: int
    content_type: str
    content: bytes


JSON, TEXT = "application/json", "text/plain; charset=utf-8"
#: what follows the question mark
Query = Mapping[str, str]
#: UsageError becomes 400, what else the library raises 503, both with its sentence
Show = Callable[[Query], Page]


def json_page(content: Any, status: int = 200) -> Page:
    return Page(status, JSON, (json.dumps(content, default=str) + "\n").encode())


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Endpoint:
    """Listens from :meth:`start` on. ``open_paths`` need no token."""

    def __init__(
        self, host: str, port: int, pages: Dict[str, Show], *, token: str = "", open_paths: Tuple[str, ...] = ()
    ) -> None:
        if not token and not is_loopback(host):
            raise Misconfigured(
                "whoever reaches this address would read the state of every company",
                operation="listen",
                subject=f"{host}:{port}",
                hint="set listen.token, or listen on 127.0.0.1 behind a reverse proxy",
            )
        self._server = _listening(host, port, _handler(pages, token, open_paths, _Bound()))
        self.port: int = self._server.server_address[1]
        self.host = host

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Bound:
    """So many requests at once; more are sent away, since each holds a thread."""

    def __init__(self) -> None:
        self.room = threading.BoundedSemaphore(_MOST_AT_ONCE)


def _listening(host: str, port: int, handler: Any) -> ThreadingHTTPServer:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = type("Server", (ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True})
    try:
        server: ThreadingHTTPServer = kind((host, port), handler)
    except OSError as exc:
        raise Misconfigured(
            f"cannot listen there: {exc.strerror or exc}",
            operation="listen",
            subject=f"{host}:{port}",
            hint=f"see who does (ss -ltnp 'sport = :{port}'), or set listen.port to a free one",
        ) from exc
    return server


def _handler(pages: Dict[str, Show], token: str, open_paths: Tuple[str, ...], bound: _Bound) -> Any:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS
        server_version = "baileys-resilience"
        sys_version = ""

        def do_GET(self) -> None:
            if not bound.room.acquire(blocking=False):
                self._send(json_page({"error": "too many requests at once"}, 503))
                return
            try:
                self._send(self._page())
            finally:
                bound.room.release()

        do_HEAD = do_GET

        def _page(self) -> Page:
            path, _mark, query = self.path.partition("?")
            show = pages.get(path)
            if token and path not in open_paths and not _same(self.headers.get("Authorization"), f"Bearer {token}"):
                return json_page({"error": "a token is needed: Authorization: Bearer ..."}, 401)
            # A name that leads here is how a web page on somebody's screen would read us.
            if not token and not _is_local_name(self.headers.get("Host")):
                return json_page({"error": "ask by an address of this host"}, 403)
            if show is None:
                return json_page({"error": f"there is {', '.join(each for each in pages if '.' not in each)}"}, 404)
            return _shown(show, query)

        def _send(self, page: Page) -> None:
            try:
                content, packed = page.content, self._takes_gzip() and len(page.content) >= _LEAST_PACKED_BYTES
                if packed:
                    content = gzip.compress(content, 5, mtime=0)
                self.send_response(page.status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(content)))
                for name, value in _HEADERS:
                    self.send_header(name, value)
                if packed:
                    self.send_header("Content-Encoding", "gzip")
                if page.status == 401:
                    self.send_header("WWW-Authenticate", "Bearer")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
            except OSError:
                self.close_connection = True  # nobody reads any more

        def _takes_gzip(self) -> bool:
            given = (self.headers.get("Accept-Encoding") or "") if self.headers else ""
            return "gzip" in (each.partition(";")[0].strip() for each in given.split(","))

        def log_message(self, *_arguments: object) -> None:
            """A line for each scrape would fill the journal."""

    return Handler


def _shown(show: Show, query: str) -> Page:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return json_page({"error": f"more than {_MOST_PARAMETERS} parameters"}, 400)
    try:
        return show(dict(pairs))
    except UsageError as error:
        return json_page({"error": str(error)}, 400)
    except ResilienceError as error:
        return json_page({"error": str(error)}, 503)


def _same(given: Optional[str], wanted: str) -> bool:
    def digest(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return hmac.compare_digest(digest(given or ""), digest(wanted))


def _is_local_name(host: Optional[str]) -> bool:
    if not host:
        return True  # HTTP/1.0, which no browser speaks
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)
