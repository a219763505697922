# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""HTTP over a unix socket or a port of this host, with a deadline for the whole answer."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Mapping, Optional, Tuple

_LARGEST_ANSWER = 16 * 1024 * 1024


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(socket_path: str, method: str, path: str, *, seconds: float) -> Tuple[int, bytes]:
    """Status and content. Raises OSError (TimeoutError behind the deadline), ValueError for an answer without an end,
    or http.client.HTTPException.
    """
    return _answer(_UnixConnection(socket_path, seconds), method, path, seconds)


def request_port(
    port: int, method: str, path: str, *, seconds: float, headers: Optional[Mapping[str, str]] = None
) -> Tuple[int, bytes]:
    """The same of a port on the loopback address."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    return _answer(connection, method, path, seconds, headers)


def _answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    seconds: float,
    headers: Optional[Mapping[str, str]] = None,
) -> Tuple[int, bytes]:
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, _read_within(response, seconds)
    finally:
        connection.close()


def _read_within(response: http.client.HTTPResponse, seconds: float) -> bytes:
    """All of the answer, or TimeoutError: the socket's own time-out begins anew with each byte."""
    limit = time.monotonic() + seconds
    content = b""
    while len(content) <= _LARGEST_ANSWER:
        piece = response.read1(65536)
        if not piece:
            return content
        content += piece
        if time.monotonic() > limit:
            raise TimeoutError(f"no end of its answer after {seconds:g} s")
    raise ValueError("its answer is too long")
