# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What imports that may still be taken back have written to PostgreSQL, so that the next one knows its own rows.

After an undone failback the session goes on on files. The rows that the import wrote are then neither what was exported
nor what the files hold, and written after the switch: without this memory they look like another writer's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping, Optional, Set
from urllib.parse import quote

from .. import files
from ..files import translate_os_error
from .codec import sha256
from .verify import KeyName


class Imported:
    """One file a company, a line a row: a hash of its type, id and content. No key and no id can be read from it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def remember(self, company: str, digests: Mapping[KeyName, str]) -> None:
        """Durable when this returns. Called before the commit: a line too many names content that was this session's,
        and that is nobody else's either.
        """
        path = self._path(company)
        files.make_private_directory(self._directory)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, files.FILE_MODE)
            with os.fdopen(descriptor, "w") as stream:
                stream.writelines(f"{_line(name, digest)}\n" for name, digest in digests.items())
                stream.flush()
                os.fsync(descriptor)
        except OSError as exc:
            raise translate_os_error(exc, "remember import", path) from exc
        files.fsync_directory(self._directory)

    def recall(self, company: str) -> Written:
        try:
            return Written(set(self._path(company).read_text("ascii").split()))
        except FileNotFoundError:
            return Written(set())
        except OSError as exc:
            raise translate_os_error(exc, "recall import", self._path(company)) from exc

    def forget(self, company: str) -> None:
        """The rows are the session now."""
        self._path(company).unlink(missing_ok=True)

    def _path(self, company: str) -> Path:
        return self._directory / quote(company, safe="")


class Written:
    """The rows of one company that are our own."""

    def __init__(self, lines: Set[str]) -> None:
        self._lines = lines

    def holds(self, name: KeyName, digest: Optional[str]) -> bool:
        return digest is not None and _line(name, digest) in self._lines


def _line(name: KeyName, digest: str) -> str:
    return sha256("\0".join((*name, digest)).encode("utf-8", "surrogatepass"))
