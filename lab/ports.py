# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Free loopback ports that stay free until their server takes them, also when several labs start at once."""

from __future__ import annotations

import errno
import random
import socket

from .errors import LabError

# Below the kernel's ephemeral range: no outgoing connection takes the port of a server that is down for a fault.
LOWEST, HIGHEST = 15000, 32000
ATTEMPTS = 200
_reserved: list[socket.socket] = []


def reserve() -> int:
    """A free port that other labs do not get.

    A server that sets SO_REUSEADDR, as PostgreSQL, Node.js and our proxy do, can listen on it all the same: Linux lets
    two such sockets share a port as long as only one listens.
    """
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, HIGHEST)
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Without SO_REUSEADDR at first: this bind must fail where anybody else holds the port.
            holder.bind(("127.0.0.1", port))
        except OSError as exc:
            holder.close()
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(holder)
        return port
    raise LabError(f"no free loopback port between {LOWEST} and {HIGHEST}")


def release() -> None:
    """Give up the reservations; the servers that listen by now keep their ports."""
    while _reserved:
        _reserved.pop().close()
