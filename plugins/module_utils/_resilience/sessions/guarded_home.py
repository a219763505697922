# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Acting inside a sessions' home that belongs to the application's user, as root: everything by descriptors.

The private part is ours and closed to that user, so what waits in it (staging, what a swap replaced, an intent) is what
we put there. Should the user put a directory or link of its own in the place of the private part, it is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple

from .. import files, guarded
from ..errors import ForeignFiles, UsageError
from ..files import translate_os_error

PRIVATE_DIRECTORY = ".resilience"
STAGING, PREVIOUS, RUNS = "staging", "previous", "runs"
#: the load check runs as the application's user and must pass through to the copies, and read no list
_PASSABLE_MODE = 0o711
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class GuardedHome:
    """``path`` may lead through links of root's; below it no link is followed. ``owner`` is (uid, gid)."""

    path: Path
    owner: Optional[Tuple[int, int]]

    @property
    def private(self) -> Path:
        return self.path / PRIVATE_DIRECTORY

    def prepare(self) -> None:
        """Make the home (0700, the owner's) and its private part (ours), and prove that files can be written there."""
        try:
            home = guarded.open_directory(self.path, make=True, make_for=self.owner)
            try:
                private = self._make_ours(home, PRIVATE_DIRECTORY, _PASSABLE_MODE)
            finally:
                os.close(home)
            try:
                for name, mode in ((STAGING, 0o700), (PREVIOUS, 0o700), (RUNS, _PASSABLE_MODE)):
                    os.close(self._make_ours(private, name, mode))
                probe = f"probe-{secrets.token_hex(8)}"
                files.write_at(private, probe, b"")
                os.unlink(probe, dir_fd=private)
            finally:
                os.close(private)
        except (FileExistsError, NotADirectoryError) as exc:
            raise files.not_a_directory(self.path) from exc
        except OSError as exc:
            raise translate_os_error(exc, "write to sessions' home", self.path) from exc

    def make_run_directory(self, path: Path) -> None:
        """Make a directory of ours directly below ``runs``."""
        with self.at(path) as (directory, name):
            os.close(self._make_ours(directory, name, _PASSABLE_MODE))

    @contextlib.contextmanager
    def opened(self, *names: str) -> Iterator[int]:
        """A descriptor of a directory below the home, reached without a link. Errors are typed, also of what is done
        with it.
        """
        with self._typed(), self._opened(names) as directory:
            yield directory

    @contextlib.contextmanager
    def at(self, path: Path) -> Iterator[Tuple[int, str]]:
        """The directory that holds ``path``, which lies below the home, and the name there."""
        try:
            names = path.relative_to(self.path).parts
        except ValueError:
            names = ()
        if not names or ".." in names:
            raise UsageError(
                f"is not below the sessions' home {self.path}",
                operation="open",
                subject=str(path),
                hint="sessions_dir was changed while a run was open: set it back until the run has ended",
            )
        with self._typed(), self._opened(names[:-1]) as directory:
            yield directory, names[-1]

    def rename(self, source: Path, target: Path) -> None:
        """Rename within the home. Not durable by itself: a sync waits for the disk, and many moves need one."""
        with self.at(source) as (from_directory, old), self.at(target) as (to_directory, new):
            os.rename(old, new, src_dir_fd=from_directory, dst_dir_fd=to_directory)

    def sync(self, *places: Path) -> None:
        """Make the renames into and out of the directories that hold ``places`` durable."""
        for place in places:
            with self.at(place) as (directory, _name):
                os.fsync(directory)

    def exchange(self, first: Path, second: Path) -> bool:
        """Swap two of the home's directories in one step; False where the file system cannot. Both must exist."""
        with self.at(first) as (first_directory, one), self.at(second) as (second_directory, other):
            return files.exchange(one, other, first_dir_fd=first_directory, second_dir_fd=second_directory)

    def remove(self, path: Path) -> None:
        """Remove a directory or file of the home; what is gone already is fine."""
        if os.path.lexists(path):
            with self.at(path) as (directory, name):
                guarded.remove(directory, name)

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                raise guarded.link_refused(f"{exc.filename} in {self.path}") from exc
            raise translate_os_error(exc, "act in sessions' home", self.path) from exc

    @contextlib.contextmanager
    def _opened(self, names: Sequence[str]) -> Iterator[int]:
        directory = guarded.open_directory(self.path)
        try:
            for depth, name in enumerate(names, 1):
                below = guarded.open_below(directory, name)
                os.close(directory)
                directory = below
                if _is_ours(names[:depth]):
                    self._check_ours(directory, name)
            yield directory
        finally:
            os.close(directory)

    def _make_ours(self, directory: int, name: str, mode: int) -> int:
        try:
            ours = guarded.make_directory(directory, name)
        except FileExistsError:
            ours = guarded.open_below(directory, name)
        try:
            self._take(ours, name, mode)
        except BaseException:
            os.close(ours)
            raise
        return ours

    def _take(self, ours: int, name: str, mode: int) -> None:
        """Earlier versions gave this to the owner, and a run as the owner's user makes it theirs."""
        status = os.fstat(ours)
        if os.geteuid() == 0 and self.owner and status.st_uid == self.owner[0]:
            os.fchown(ours, 0, 0)
        wanted = mode if self.owner else files.DIRECTORY_MODE
        if os.fstat(ours).st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != wanted:
            os.fchmod(ours, wanted)
        self._check_ours(ours, name)

    def _check_ours(self, directory: int, name: str) -> None:
        status = os.fstat(directory)
        # Who is not root has no more rights than the one who could trick it.
        if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & _OTHERS_MAY_WRITE):
            raise ForeignFiles(
                f"belongs to user {status.st_uid} (mode {stat.S_IMODE(status.st_mode):04o}), and root would act on what"
                " that user puts there",
                operation="open",
                subject=f"{name} in {self.path}",
                hint=f"look what it is, then: mv {self.private} away; the next run makes it anew",
            )


def _is_ours(names: Sequence[str]) -> bool:
    """``.resilience``, what is directly below it, and the directories of runs: not the companies' in them."""
    return names[0] == PRIVATE_DIRECTORY and (len(names) < 3 or (len(names) == 3 and names[1] == RUNS))
