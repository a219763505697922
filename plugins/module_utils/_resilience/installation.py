# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Putting this package itself on a host: its sources, read through whatever loader brought them (a zip, mostly), as a
tree of files. The tree is staged beside its place and swapped in by one rename.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List

from .errors import Busy, ForeignFiles, Misconfigured
from .files import exchange, fsync_directory, translate_os_error
from .locks import held

NAME = "baileys_resilience"
_MARK = b"baileys.resilience"
# Readable by all: the library holds no secret, and cron jobs of other users may run the command.
_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755
#: an installation takes less than a second
_PATIENCE_SECONDS = 60.0


@dataclass
class TreeChanges:
    """Paths below the package, sorted."""

    added: List[str] = field(default_factory=list)
    updated: List[str] = field(default_factory=list)
    removed: List[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed)

    def lines(self) -> List[str]:
        """One line a file, names only."""
        return [f"{kind} {name}" for kind, names in vars(self).items() for name in names]


def package_sources(package: str) -> Dict[str, bytes]:
    """Every Python source that can be imported below ``package``, by its path in the package."""
    found: Dict[str, bytes] = {}
    for path, name in _walk(package, ""):
        content = pkgutil.get_data(package, path)
        if content is None:
            raise Misconfigured(
                f"the source of {name} cannot be read", operation="read package", subject=package, hint="install again"
            )
        found[path] = content
    return found


def _walk(package: str, prefix: str) -> Iterator[tuple[str, str]]:
    yield f"{prefix}__init__.py", package
    for each in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if each.ispkg:
            yield from _walk(f"{package}.{each.name}", f"{prefix}{each.name}/")
        else:
            yield f"{prefix}{each.name}.py", f"{package}.{each.name}"


def compare(place: Path, wanted: Dict[str, bytes]) -> TreeChanges:
    """What an installation would change; compiled files do not count."""
    present = {name: (place / name).read_bytes() for name in _files(place)}
    return TreeChanges(
        added=sorted(name for name in wanted if name not in present),
        updated=sorted(name for name in wanted if name in present and present[name] != wanted[name]),
        removed=sorted(name for name in present if name not in wanted),
    )


def _files(place: Path) -> List[str]:
    found: List[str] = []
    for folder, directories, names in os.walk(place):
        directories[:] = [name for name in directories if name != "__pycache__"]
        found.extend(os.path.relpath(os.path.join(folder, name), place) for name in names)
    return found


def check_ours(place: Path) -> None:
    """Raise ForeignFiles when ``place`` holds something else than an earlier installation."""
    if not place.exists() and not place.is_symlink():
        return
    init = place / "__init__.py"
    if place.is_symlink() or not place.is_dir() or not init.is_file() or _MARK not in init.read_bytes():
        raise ForeignFiles(
            "is no installation of this library",
            operation="install library",
            subject=str(place),
            hint="move it away, or name another path",
        )


def install(place: Path, sources: Dict[str, bytes]) -> None:
    """Make ``place`` hold exactly ``sources``. A crash leaves the old tree or the new one, whole; what it had staged is
    removed by the next installation, which waits for one that still runs.
    """
    try:
        for each in reversed([d for d in (place.parent, *place.parent.parents) if not d.exists()]):
            each.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        busy = Busy(
            "another installation runs", operation="install library", subject=str(place), hint="run this again later"
        )
        with held(place.parent, _PATIENCE_SECONDS, busy), _staging(place) as staged:
            _write_tree(staged, sources)
            if not place.exists():
                os.rename(staged, place)
            elif not exchange(staged, place):
                # A file system without an atomic exchange: for a moment there is none, never half of one.
                parked = staged.with_name(staged.name + ".old")
                os.rename(place, parked)
                os.rename(staged, place)
                os.rename(parked, staged)
            fsync_directory(place.parent)
    except OSError as exc:
        raise translate_os_error(exc, "install library", place) from exc


@contextlib.contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """A directory beside ``place``; whatever is in it at the end goes, and what a killed installation left there."""
    _remove_leftovers(place)
    staged = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    for left in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(left, ignore_errors=True)


def _write_tree(root: Path, sources: Dict[str, bytes]) -> None:
    root.chmod(_DIRECTORY_MODE)
    for name, content in sorted(sources.items()):
        path = root / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            path.parent.chmod(_DIRECTORY_MODE)
        with open(path, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), _FILE_MODE)
            os.fsync(stream.fileno())
    for folder, _directories, _names in os.walk(root):
        fsync_directory(folder)


def remove(place: Path) -> None:
    try:
        shutil.rmtree(place)
        _remove_leftovers(place)
        fsync_directory(place.parent)
    except OSError as exc:
        raise translate_os_error(exc, "remove library", place) from exc
