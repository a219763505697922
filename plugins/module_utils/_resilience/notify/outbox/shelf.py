# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The messages of one service on disk. Only the outbox that holds the lock of the directory touches them.

``queue/<number>.json``, a message that waits; ``sent/<sha256 of its fingerprint>``, one that was sent: it moves there
by one rename, so that it is either to be sent or known as sent; ``state.json``, what is to be told about the service.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set

from ... import files
from ...errors import ResilienceError, StoreError
from .messages import Message, from_bytes

_NUMBERED = re.compile(r"(\d{12})\.json")
_STATE_FORMAT = "baileys-resilience/outbox-state"
_STATE_VERSION = 1
_SENT_KEPT = 1000
#: how long the same news is not taken again: a monitor that was killed may put it once more
SENT_SECONDS = 86400.0


@dataclass(frozen=True)
class Entry:
    """A message that waits. ``on_disk`` is false for one that the disk refused: it is sent, but a kill loses it."""

    number: int
    message: Message
    on_disk: bool = True

    @property
    def name(self) -> str:
        return f"{self.number:012d}.json"


class Shelf:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._queue, self._sent = directory / "queue", directory / "sent"
        for each in (directory, self._queue, self._sent):
            files.make_private_directory(each)
        #: digests of what was sent within SENT_SECONDS
        self.sent: Set[str] = set()
        #: files that were put aside, as sentences
        self.damaged: List[str] = []

    def load(self) -> List[Entry]:
        """What waits, in its order. What cannot be read is put aside."""
        self._forget_sent()
        entries = []
        for path in sorted(self._queue.iterdir()):
            if path.name.endswith(files.TEMPORARY_SUFFIX):  # put() did not return for it
                path.unlink()
                continue
            match = _NUMBERED.fullmatch(path.name)
            if match is None:
                continue
            try:
                entries.append(Entry(int(match[1]), from_bytes(path.read_bytes())))
            except (ResilienceError, OSError) as exc:
                cause = exc.cause if isinstance(exc, ResilienceError) else str(exc.strerror)
                self.damaged.append(f"{path.name}: {cause}")
                path.rename(path.with_suffix(".damaged"))
        return entries

    def add(self, entry: Entry, content: bytes) -> None:
        """Durable when it returns. Raises OSError."""
        with _opened(self._queue) as directory:
            files.write_at(directory, entry.name, content)

    def remove(self, entry: Entry) -> None:
        """It will not be sent."""
        if entry.on_disk:
            with contextlib.suppress(FileNotFoundError):
                (self._queue / entry.name).unlink()
            files.fsync_directory(self._queue)

    def delivered(self, entry: Entry) -> None:
        """It was sent: a kill before this rename sends it once more. Raises OSError."""
        digest = entry.message.digest
        if not digest or not entry.on_disk:
            self.remove(entry)
            self.sent.update({digest} if digest else ())
            return
        os.replace(self._queue / entry.name, self._sent / digest)
        files.fsync_directory(self._sent)
        files.fsync_directory(self._queue)
        self.sent.add(digest)
        if len(self.sent) > _SENT_KEPT:
            self._forget_sent()

    def read_state(self) -> Dict[str, Any]:
        """Empty where there is none, or none that is worth anything: it costs one word said twice."""
        try:
            content = json.loads((self._directory / "state.json").read_bytes())
            if content["format"] == _STATE_FORMAT and content["version"] == _STATE_VERSION:
                return dict(content["state"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def write_state(self, state: Dict[str, Any]) -> None:
        """Raises StoreError."""
        content = {"format": _STATE_FORMAT, "version": _STATE_VERSION, "state": state}
        files.write_json(self._directory / "state.json", content)

    def expire_all(self, seconds: float) -> None:
        """For a service that is no longer set: what is older than this goes."""
        for path in (*self._queue.iterdir(), *self._sent.iterdir()):
            if (_age(path) or 0.0) > seconds:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _forget_sent(self) -> None:
        found = sorted(((_age(path) or 0.0, path) for path in self._sent.iterdir()), key=lambda each: each[0])
        kept = [path for age, path in found if age < SENT_SECONDS][: _SENT_KEPT // 2]
        for path in {path for _age_of_it, path in found}.difference(kept):
            with contextlib.suppress(OSError):
                path.unlink()
        self.sent = {path.name for path in kept}


def services_in(directory: Path) -> List[str]:
    """Those that have a shelf."""
    try:
        return sorted(each.name for each in directory.iterdir() if (each / "queue").is_dir())
    except OSError as exc:
        raise files.translate_os_error(exc, "read outbox", directory) from exc


def as_store_error(exc: OSError, directory: Path) -> StoreError:
    error = files.translate_os_error(exc, "write outbox", directory)
    return error if isinstance(error, StoreError) else StoreError(error.cause, operation="write outbox")


def _age(path: Path) -> Optional[float]:
    """Since it was written; by the wall clock, and 0 for what is from before that was set back."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
