# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Sessions as directories of files in the sessions' home: staging beside the place, swap by rename, reading back.

::

    <home>/company_962301/              creds.json, <type>-<id>.json, .resilience-manifest.jsonl
    <home>/.resilience/staging/...      being written; never read by anybody else
    <home>/.resilience/previous/...     what a swap replaced, kept until it expires
    <home>/.resilience/runs/...         a failover's proven copies, until they are swapped in
    <home>/.resilience/lock             held by whoever writes here
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

from .. import files, guarded
from ..errors import Busy, ForeignFiles
from ..files import translate_os_error
from .codec import CREDS_FILE
from .guarded_home import PREVIOUS, PRIVATE_DIRECTORY, STAGING, GuardedHome
from .manifest import MANIFEST_FILE
from .model import DEFAULT_DIRECTORY_TEMPLATE, directory_name

SWAP_FILE = "swap.json"
PREVIOUS_EXPIRY_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class SessionsHome(GuardedHome):
    """The directory that holds the companies' directories."""

    path: Path
    template: str = DEFAULT_DIRECTORY_TEMPLATE
    owner: Optional[Tuple[int, int]] = None
    previous_expiry_seconds: float = field(default=PREVIOUS_EXPIRY_SECONDS)

    def directory(self, company: str) -> Path:
        return self.path / directory_name(self.template, company)

    def manifest(self, company: str) -> Path:
        return self.directory(company) / MANIFEST_FILE

    def companies(self) -> List[str]:
        """Companies that have a directory here, found by the template."""
        prefix, _placeholder, suffix = self.template.partition("{company_id}")
        found = []
        if self.path.is_dir():
            for entry in os.scandir(self.path):
                name = entry.name
                if entry.is_dir() and name.startswith(prefix) and name.endswith(suffix) and not name.startswith("."):
                    company = name[len(prefix) : len(name) - len(suffix)]
                    if company:
                        found.append(company)
        return sorted(found)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home against a second writer of ours."""
        self.prepare()
        with self.opened(PRIVATE_DIRECTORY) as private:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open("lock", flags, files.FILE_MODE, dir_fd=private)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise Busy(
                    "another export or failover writes here",
                    operation="lock sessions' home",
                    subject=str(self.path),
                    hint="wait for it to end, then run again",
                ) from exc
            self.finish_interrupted_swap()
            yield
        finally:
            os.close(descriptor)

    def owned(self, company: str) -> bool:
        """Whether a company's place and all in it belong to the owner and group that were asked for."""
        if self.owner is None:
            return True
        place = self.directory(company)
        try:
            for path in (place, *place.iterdir()):
                status = path.lstat()
                if any(wanted not in (-1, is_) for wanted, is_ in zip(self.owner, (status.st_uid, status.st_gid))):
                    return False
        except OSError as exc:
            raise translate_os_error(exc, "look into", place) from exc
        return True

    def check_replaceable(self, company: str) -> None:
        """Raise ForeignFiles when the company's place holds anything but a session: we would be deleting what is not
        ours.
        """
        place = self.directory(company)
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise ForeignFiles(
                "is not a directory of session files",
                operation="replace",
                subject=str(place),
                hint="move it away, or name another dest",
            )
        if not place.exists():
            return
        try:
            entries = list(os.scandir(place))
            names = [entry.name for entry in entries if not _is_session_file(entry)]
        except OSError as exc:
            raise translate_os_error(exc, "look into", place) from exc
        if names or (entries and not {CREDS_FILE, MANIFEST_FILE} & {entry.name for entry in entries}):
            shown = ", ".join(sorted(names)[:3]) or "files without creds.json"
            raise ForeignFiles(
                f"holds what is no session ({shown})",
                operation="replace",
                subject=str(place),
                hint="move those files away, or name another dest",
            )

    def swap_in(self, company: str, staged: Path, keep_as: Optional[Path] = None) -> Optional[Path]:
        """Put a staged directory in the company's place in one step. Returns where the old one went (``keep_as``)."""
        place = self.directory(company)
        if not os.path.lexists(place):
            self.rename(staged, place)
            self.sync(place)
            return None
        # The staged copy takes the name of the old one's keep first: the exchange then leaves the old one there, with
        # no moment in which a crash loses either.
        previous = keep_as or self.private / PREVIOUS / f"{place.name}.{time.time_ns()}"
        self.rename(staged, previous)
        if not self.exchange(previous, place):
            self._swap_in_two_steps(place, previous)
        self.sync(place, previous)
        return previous

    def _swap_in_two_steps(self, place: Path, previous: Path) -> None:
        """For file systems without an atomic exchange: the intent is on disk first, and
        :meth:`finish_interrupted_swap` completes it.
        """
        parked = previous.with_name(previous.name + ".old")
        intent = {"place": place.name, "new": previous.name, "old": parked.name}
        with self.opened(PRIVATE_DIRECTORY) as private:
            files.write_at(private, SWAP_FILE, json.dumps(intent).encode())
            self.rename(place, parked)
            self.rename(previous, place)
            self.rename(parked, previous)
            os.unlink(SWAP_FILE, dir_fd=private)

    def finish_interrupted_swap(self) -> None:
        """Complete a two-step swap that a crash cut in the middle. Only under the lock."""
        with self.opened(PRIVATE_DIRECTORY) as private:
            try:
                intent = self._read_intent(guarded.read_at(private, SWAP_FILE))
            except FileNotFoundError:
                return
            place = self.path / intent["place"]
            new, old = (self.private / PREVIOUS / intent[name] for name in ("new", "old"))
            if not os.path.lexists(place):
                self.rename(new, place)
            if os.path.lexists(old) and not os.path.lexists(new):
                self.rename(old, new)
            os.unlink(SWAP_FILE, dir_fd=private)

    def _read_intent(self, content: bytes) -> Dict[str, str]:
        """Names in the home and in ``previous``: an intent must not be able to name anything else on this machine."""
        try:
            intent = json.loads(content)
            names = {name: str(intent[name]) for name in ("place", "new", "old")}
        except (ValueError, KeyError, TypeError) as exc:
            raise self._strange_intent(f"cannot be read: {exc}") from exc
        for name in names.values():
            if name in ("", ".", "..", PRIVATE_DIRECTORY) or "/" in name:
                raise self._strange_intent("names what no swap of ours would name")
        return names

    def _strange_intent(self, cause: str) -> ForeignFiles:
        return ForeignFiles(
            cause,
            operation="complete interrupted swap",
            subject=str(self.private / SWAP_FILE),
            hint="find out who wrote it, look whether every company's directory is in its place, then remove the file",
        )

    def clear_staging(self) -> None:
        """Remove what an interrupted export left. Only under the lock."""
        with self.opened(PRIVATE_DIRECTORY, STAGING) as staging:
            for name in os.listdir(staging):
                guarded.remove(staging, name)

    def expire_previous(self) -> List[Path]:
        """Remove replaced directories older than the expiry; returns them."""
        removed = []
        limit = time.time() - self.previous_expiry_seconds
        with self.opened(PRIVATE_DIRECTORY, PREVIOUS) as previous:
            for name in os.listdir(previous):
                replaced = replaced_at(self.private / PREVIOUS / name)
                if replaced is not None and replaced < limit:
                    guarded.remove(previous, name)
                    removed.append(self.private / PREVIOUS / name)
        return removed


def replaced_at(previous: Path) -> Optional[float]:
    """When a directory below ``previous/`` was put there (seconds since 1970), by its name; None for a foreign one."""
    moment = previous.name.rsplit(".", 1)[-1]
    return int(moment) / 1e9 if moment.isdigit() else None


def _is_session_file(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    # The crash-safe rewrite of useMultiFileAuthState leaves .tmp and .bak files beside the real ones.
    return entry.name.endswith((".json", ".json.tmp", ".json.bak", ".tmp", ".bak")) or entry.name == MANIFEST_FILE
