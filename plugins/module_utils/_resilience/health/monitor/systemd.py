# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Telling systemd how we are: READY=1, WATCHDOG=1, STOPPING=1 over the socket that it names (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from typing import Mapping, Optional


class Systemd:
    """Does nothing where no systemd asks for it."""

    def __init__(self, environment: Optional[Mapping[str, str]] = None) -> None:
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        # An @ stands for the zero byte of an abstract socket.
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *words: str) -> None:
        """Never raises: systemd ends us where it does not hear the watchdog, which says the same."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(words).encode(), self._address)
        except OSError:
            pass
