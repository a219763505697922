# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""HTTP over a unix socket of another user, or a port of this host, with a deadline for the whole answer."""

from __future__ import annotations

import http.client
import os
import socket
import struct
import time
from typing import Any, Mapping, Optional, Tuple

from . import guarded
from .errors import ForeignFiles

_LARGEST_ANSWER = 16 * 1024 * 1024
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class _Socket(socket.socket):
    """The time-out of a plain one begins anew with each byte."""

    limit = 0.0

    @classmethod
    def made(cls, family: socket.AddressFamily, seconds: float) -> _Socket:
        opened = cls(family, socket.SOCK_STREAM)
        opened.limit = time.monotonic() + seconds
        opened.settimeout(seconds)
        return opened

    def recv_into(self, *words: Any) -> int:
        left = self.limit - time.monotonic()
        try:
            if left > 0:
                self.settimeout(left)
                return super().recv_into(*words)
        except (TimeoutError, socket.timeout):  # two things until Python 3.10
            pass
        raise TimeoutError("no end of its answer in time")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = _Socket.made(socket.AF_UNIX, float(self.timeout or 0))
        _connect(self.sock, self._path)


class _PortConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.sock = _Socket.made(family, float(self.timeout or 0))
        self.sock.connect((self.host, self.port))


def _owner_around(path: str) -> int:
    try:
        directory = guarded.open_directory(os.path.dirname(os.path.abspath(path)))
    except ForeignFiles as exc:
        raise PermissionError(str(exc)) from exc
    try:
        return os.fstat(directory).st_uid
    finally:
        os.close(directory)


def _connect(opened: socket.socket, path: str) -> int:
    """Returns the process that listens there. Whoever may write to the directory may put a link to anybody's socket
    there, and we may be root: what is said then has to be said to a process of that user.
    """
    owner = _owner_around(path)
    opened.connect(path)
    given = opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _gid = _CREDENTIALS.unpack(given)
    if os.geteuid() == 0 and user != owner:
        raise PermissionError(f"a process of user {user} listens there, and the directory is that of user {owner}")
    return int(pid)


def listener_of(socket_path: str, *, seconds: float) -> int:
    """The process that listens there, as the kernel knows it; 0 for one that is not to be seen from here. Raises
    OSError like :func:`request`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        opened.settimeout(seconds)
        return _connect(opened, socket_path)


def request(socket_path: str, method: str, path: str, *, seconds: float) -> Tuple[int, bytes]:
    """Status and content. Raises OSError (TimeoutError behind the deadline, PermissionError for a socket of another
    user than that of its directory), ValueError for an answer without an end, or http.client.HTTPException.
    """
    return _answer(_UnixConnection(socket_path, seconds), method, path)


def request_port(
    port: int,
    method: str,
    path: str,
    *,
    seconds: float,
    headers: Optional[Mapping[str, str]] = None,
    host: str = "127.0.0.1",
) -> Tuple[int, bytes]:
    """The same of a port, on the loopback address if nothing else is said."""
    connection = _PortConnection(host, port, timeout=seconds)
    return _answer(connection, method, path, headers)


def _answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Optional[Mapping[str, str]] = None,
) -> Tuple[int, bytes]:
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, _whole(response)
    finally:
        connection.close()


def _whole(response: http.client.HTTPResponse) -> bytes:
    content = b""
    while len(content) <= _LARGEST_ANSWER:
        piece = response.read1(65536)
        if not piece:
            return content
        content += piece
    raise ValueError("its answer is too long")
