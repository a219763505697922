# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Locks between processes of one host. The kernel lets go of them when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Iterator

from .errors import Busy
from .files import FILE_MODE, translate_os_error

_POLL_SECONDS = 0.05


@contextlib.contextmanager
def held(path: Path, wait_seconds: float, busy: Busy) -> Iterator[int]:
    """Hold the lock of ``path``: a directory that is there, or a file, made where it is not. Raises ``busy`` when
    somebody else holds it for longer than ``wait_seconds``, and NotWritable where it may not be opened. Yields the
    descriptor.
    """
    try:
        flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
        descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    except OSError as exc:
        raise translate_os_error(exc, "lock", path) from exc
    try:
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as exc:
                if time.monotonic() >= until:
                    raise busy from exc
                time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)
