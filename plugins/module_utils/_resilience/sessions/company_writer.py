# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Writing one company's files into staging, where nobody else comes, and giving them to their owner when they are
whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Callable, Iterator, List, Optional

from .. import files, guarded
from ..errors import NameCollision
from ..files import translate_os_error
from .codec import short_id
from .directory_store import SessionsHome
from .file_writer import FileWriter
from .guarded_home import PRIVATE_DIRECTORY, STAGING
from .manifest import MANIFEST_FILE, Entry, Header, ManifestWriter, read_manifest


class EarlierCopy:
    """A durable copy of the same company whose unchanged files a new one can share as hard links.

    Nobody writes to either in place: Baileys meets a copy only after the other has been discarded.
    """

    def __init__(self, home: SessionsHome, path: Path) -> None:
        entries = read_manifest(path / MANIFEST_FILE).entries()
        self._digests = {entry.file: entry.sha256 for entry in entries}
        with home.at(path) as (directory, name):
            self._directory = guarded.open_below(directory, name)

    def link(self, name: str, digest: str, directory: int) -> bool:
        """Make ``name`` in ``directory`` (a descriptor) a link to the same content; False when there is none."""
        if self._digests.get(name) != digest:
            return False
        os.link(name, name, src_dir_fd=self._directory, dst_dir_fd=directory, follow_symlinks=False)
        return True

    def close(self) -> None:
        os.close(self._directory)


class CompanyWriter:
    """Writes one company's files and manifest into a staging directory. Modes 0600 in 0700."""

    def __init__(
        self, home: SessionsHome, header: Header, wrote: Callable[[], None], earlier: Optional[EarlierCopy] = None
    ) -> None:
        """``wrote`` is called after each new file."""
        self._home = home
        self._company = header.company
        self._earlier = earlier
        self._wrote = wrote
        #: names of the files that are new on disk, to be made durable by the caller
        self.written: List[str] = [MANIFEST_FILE]
        name = home.directory(header.company).name
        self.path = home.private / STAGING / f"{name}.{os.getpid()}.{time.time_ns()}"
        try:
            with home.opened(PRIVATE_DIRECTORY, STAGING) as staging:
                self._directory = guarded.make_directory(staging, self.path.name)
            self._stream = os.fdopen(self._create(MANIFEST_FILE), "wb")
            self.manifest = ManifestWriter(self._stream, header)
            self._files = FileWriter(header.company, self._directory, home.owner)
        except OSError as exc:
            raise translate_os_error(exc, "write company", self.path) from exc

    def add(
        self, key_type: str, key_id: str, name: str, content: bytes, digest: str, updated_at: Optional[str]
    ) -> None:
        try:
            self.manifest.add(Entry(key_type, key_id, name, digest, len(content), updated_at))
            if self._earlier and self._earlier.link(name, digest, self._directory):
                return
            self._files.add(name, content)
        except FileExistsError as exc:
            raise self._collision(exc.filename) from exc
        except OSError as exc:
            raise translate_os_error(exc, "write file of company", self._company) from exc
        self.written.append(name)
        self._wrote()

    def _create(self, name: str) -> int:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.FILE_MODE, dir_fd=self._directory)

    def _collision(self, name: str) -> NameCollision:
        self.manifest.flush()
        self._stream.flush()
        keys = [f"{e.type} {short_id(e.id)}" for e in _entries_so_far(self.path / MANIFEST_FILE) if e.file == name]
        return NameCollision(
            f"{' and '.join(keys)} have the same file name",
            operation="export company",
            subject=self._company,
            hint="one of the two rows is not a key of Baileys: delete it, then export again",
        )

    def finish(self) -> str:
        """Seal the manifest; returns its SHA256. The caller syncs the file system once for all companies."""
        try:
            self._files.finish()
            digest = self.manifest.finish()
            self._stream.flush()
            if self._home.owner:
                os.fchown(self._stream.fileno(), *self._home.owner)
                # Last: until now nobody but us could put anything into it.
                os.fchown(self._directory, *self._home.owner)
            self.close()
        except FileExistsError as exc:
            raise self._collision(exc.filename) from exc
        except OSError as exc:
            raise translate_os_error(exc, "write files of company", self._company) from exc
        return digest

    def close(self) -> None:
        self._files.close()
        with contextlib.suppress(OSError):  # finish has flushed; what is left after a failure is thrown away
            self._stream.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def discard(self) -> None:
        self.close()
        self._home.remove(self.path)


def _entries_so_far(path: Path) -> Iterator[Entry]:
    with path.open("rb") as stream:
        for line in stream:
            if line.startswith(b"[") and line.endswith(b"]\n"):
                yield Entry(*json.loads(line))
