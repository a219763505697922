# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the admin socket of a session client where no client is needed: HTTP over a unix socket, with answers
that a test gives. The real one is met in tests/integration/client.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: (status, body) by "METHOD path?query"; of a list, the next one each time, and the last one ever after
Answers = dict[str, Any]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    answers: Answers
    asked: list[str]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def _answer(self) -> None:
        asked = f"{self.command} {self.path}"
        self.server.asked.append(asked)
        given = self.server.answers.get(asked, (404, {"error": f"no {asked}"}))
        status, body = (given.pop(0) if len(given) > 1 else given[0]) if isinstance(given, list) else given
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def client(directory: Path, answers: Answers) -> Iterator[list[str]]:
    """Gives the list of what is asked."""
    directory.mkdir(exist_ok=True)
    place = directory / "admin.sock"
    with _Server(str(place), _Handler) as server:
        server.answers, server.asked = answers, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.asked
        finally:
            server.shutdown()
            thread.join()
            place.unlink()


class _Dribble(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.over.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(b" ")

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def dribbling(directory: Path) -> Iterator[None]:
    """A socket that answers a byte at a time, and never to the end."""
    place = directory / "admin.sock"
    with socketserver.ThreadingUnixStreamServer(str(place), _Dribble) as server:
        server.daemon_threads = True
        over = threading.Event()
        server.over = over  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            over.set()
            server.shutdown()
            thread.join()
            place.unlink()
