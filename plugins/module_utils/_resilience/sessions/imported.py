# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Rows in PostgreSQL that are this session's own although neither the export nor the files hold them, so that an import
does not take them for another writer's.

After an undone failback the session goes on on files, and what its import wrote stays in the rows. And what the
application's client sent to a frozen server, that server may write hours later: long after the switch, and long
overtaken by what the client has in its journal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, Mapping, Optional, Set, Tuple
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
        """One content of each key."""
        self.remember_all(company, digests.items())

    def remember_all(self, company: str, contents: Iterable[Tuple[KeyName, str]]) -> None:
        """Durable when this returns. Called before the commit: a line too many names content that was this session's,
        and that is nobody else's either.
        """
        path = self._path(company)
        files.make_private_directory(self._directory)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, files.FILE_MODE)
            with os.fdopen(descriptor, "w") as stream:
                stream.writelines(f"{_line(name, digest)}\n" for name, digest in contents)
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
