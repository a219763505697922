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
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from .. import files
from ..errors import Busy, ForeignFiles, NameCollision
from ..files import translate_os_error
from .codec import CREDS_FILE, short_id
from .manifest import MANIFEST_FILE, Entry, Header, ManifestWriter, read_manifest
from .model import DEFAULT_DIRECTORY_TEMPLATE, directory_name

PRIVATE_DIRECTORY = ".resilience"
PREVIOUS_EXPIRY_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class SessionsHome:
    """The directory that holds the companies' directories."""

    path: Path
    template: str = DEFAULT_DIRECTORY_TEMPLATE
    owner: Optional[Tuple[int, int]] = None
    previous_expiry_seconds: float = field(default=PREVIOUS_EXPIRY_SECONDS)

    def directory(self, company: str) -> Path:
        return self.path / directory_name(self.template, company)

    def manifest(self, company: str) -> Path:
        return self.directory(company) / MANIFEST_FILE

    @property
    def private(self) -> Path:
        return self.path / PRIVATE_DIRECTORY

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

    def prepare(self) -> None:
        """Make the home (0700) and its private part, and prove that files can be written there."""
        self.make_directory(self.path)
        for name in ("", "staging", "previous", "runs"):
            self.make_directory(self.private / name)
            self._give(self.private / name)  # also what an earlier export made for another owner
        probe = self.private / f"probe-{os.getpid()}"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as exc:
            raise translate_os_error(exc, "write to sessions' home", self.path) from exc

    def make_directory(self, path: Path) -> None:
        """Make ``path`` and its parents (0700), all for the owner: what root makes here, the application and the load
        check, which runs as its user, must be able to enter.
        """
        missing = [each for each in (path, *path.parents) if not each.exists()]
        files.make_private_directory(path)
        for each in missing:
            self._give(each)

    def _give(self, path: Path) -> None:
        if self.owner is None:
            return
        status = path.stat()
        if any(wanted not in (-1, present) for wanted, present in zip(self.owner, (status.st_uid, status.st_gid))):
            try:
                os.chown(path, *self.owner)
            except OSError as exc:
                raise translate_os_error(exc, "give to its owner", path) from exc

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home against a second writer of ours."""
        self.prepare()
        descriptor = os.open(self.private / "lock", os.O_RDWR | os.O_CREAT, files.FILE_MODE)
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
        for path in (place, *place.iterdir()):
            status = path.lstat()
            if any(wanted not in (-1, is_) for wanted, is_ in zip(self.owner, (status.st_uid, status.st_gid))):
                return False
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
        previous: Optional[Path] = None
        try:
            if place.exists():
                # The staged copy takes the name of the old one's keep first: the exchange then leaves the old one
                # there, with no moment in which a crash loses either.
                previous = keep_as or self.private / "previous" / f"{place.name}.{time.time_ns()}"
                os.rename(staged, previous)
                if not files.exchange(previous, place):
                    self._swap_in_two_steps(place, previous)
            else:
                os.rename(staged, place)
            files.fsync_directory(self.path)
            files.fsync_directory(self.private / "previous")
        except OSError as exc:
            raise translate_os_error(exc, "swap in", place) from exc
        return previous

    def _swap_in_two_steps(self, place: Path, previous: Path) -> None:
        """For file systems without an atomic exchange: the intent is on disk first, and
        :meth:`finish_interrupted_swap` completes it.
        """
        parked = previous.with_name(previous.name + ".old")
        intent = {"place": str(place), "new": str(previous), "old": str(parked)}
        files.write_json(self.private / "swap.json", intent)
        os.rename(place, parked)
        os.rename(previous, place)
        os.rename(parked, previous)
        (self.private / "swap.json").unlink()

    def finish_interrupted_swap(self) -> None:
        """Complete a two-step swap that a crash cut in the middle. Only under the lock."""
        record = self.private / "swap.json"
        if not record.exists():
            return
        intent = {name: Path(value) for name, value in json.loads(record.read_text("utf-8")).items()}
        if not intent["place"].exists():
            os.rename(intent["new"], intent["place"])
        if intent["old"].exists() and not intent["new"].exists():
            os.rename(intent["old"], intent["new"])
        record.unlink()

    def clear_staging(self) -> None:
        """Remove what an interrupted export left. Only under the lock."""
        for entry in (self.private / "staging").iterdir():
            shutil.rmtree(entry, ignore_errors=True)

    def expire_previous(self) -> List[Path]:
        """Remove replaced directories older than the expiry; returns them."""
        removed = []
        limit = time.time() - self.previous_expiry_seconds
        for entry in (self.private / "previous").iterdir():
            replaced = replaced_at(entry)
            if replaced is not None and replaced < limit:
                shutil.rmtree(entry, ignore_errors=True)
                removed.append(entry)
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


class EarlierCopy:
    """A durable copy of the same company whose unchanged files a new one can share as hard links.

    Nobody writes to either in place: Baileys meets a copy only after the other has been discarded.
    """

    def __init__(self, path: Path) -> None:
        entries = read_manifest(path / MANIFEST_FILE).entries()
        self._digests = {entry.file: entry.sha256 for entry in entries}
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

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

    def __init__(self, home: SessionsHome, header: Header, earlier: Optional[EarlierCopy] = None) -> None:
        self._home = home
        self._company = header.company
        self._earlier = earlier
        #: names of the files that are new on disk, to be made durable by the caller
        self.written: List[str] = [MANIFEST_FILE]
        name = home.directory(header.company).name
        self.path = home.private / "staging" / f"{name}.{os.getpid()}.{time.time_ns()}"
        try:
            os.mkdir(self.path, files.DIRECTORY_MODE)
            if home.owner:
                os.chown(self.path, *home.owner)
            self._directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            self._stream = open(self.path / MANIFEST_FILE, "wb", opener=_private_opener)  # noqa: SIM115 - closed by finish
            self.manifest = ManifestWriter(self._stream, header)
        except OSError as exc:
            raise translate_os_error(exc, "write company", self.path) from exc

    def add(
        self, key_type: str, key_id: str, name: str, content: bytes, digest: str, updated_at: Optional[str]
    ) -> None:
        try:
            if self._earlier and self._earlier.link(name, digest, self._directory):
                self.manifest.add(Entry(key_type, key_id, name, digest, len(content), updated_at))
                return
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, files.FILE_MODE, dir_fd=self._directory)
        except FileExistsError as exc:
            raise self._collision(key_type, key_id, name) from exc
        except OSError as exc:
            raise translate_os_error(exc, "write file of company", self._company) from exc
        try:
            self.written.append(name)
            if os.write(descriptor, content) != len(content):
                raise OSError(28, "No space left on device")
            if self._home.owner:
                os.fchown(descriptor, *self._home.owner)
            self.manifest.add(Entry(key_type, key_id, name, digest, len(content), updated_at))
        except OSError as exc:
            raise translate_os_error(exc, "write file of company", self._company) from exc
        finally:
            os.close(descriptor)

    def _collision(self, key_type: str, key_id: str, name: str) -> NameCollision:
        self.manifest.flush()
        self._stream.flush()
        other = next((e for e in _entries_so_far(self.path / MANIFEST_FILE) if e.file == name), None)
        twin = f"{other.type} {short_id(other.id)}" if other else "another key"
        return NameCollision(
            f"{key_type} {short_id(key_id)} and {twin} have the same file name",
            operation="export company",
            subject=self._company,
            hint="one of the two rows is not a key of Baileys: delete it, then export again",
        )

    def finish(self) -> str:
        """Seal the manifest; returns its SHA256. The caller syncs the file system once for all companies."""
        try:
            digest = self.manifest.finish()
            self._stream.flush()
            if self._home.owner:
                os.fchown(self._stream.fileno(), *self._home.owner)
            self.close()
        except OSError as exc:
            raise translate_os_error(exc, "write manifest of company", self._company) from exc
        return digest

    def close(self) -> None:
        with contextlib.suppress(OSError):  # finish has flushed; what is left after a failure is thrown away
            self._stream.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def discard(self) -> None:
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _private_opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, files.FILE_MODE)


def _entries_so_far(path: Path) -> Iterator[Entry]:
    with path.open("rb") as stream:
        for line in stream:
            if line.startswith(b"[") and line.endswith(b"]\n"):
                yield Entry(*json.loads(line))
