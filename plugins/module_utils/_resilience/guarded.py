# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Paths below directories that somebody else may write to, while we are root.

The application's user owns the sessions' home and mostly the directory around it, so it can put a link in the place of
anything there, at any moment. What acts on a path by its name would then act on what the link names, as root. Here each
component is opened by itself and never followed by the kernel; everything else acts on the descriptor.

A link is followed by one rule (systemd's for its tmpfiles is the same idea): one that root made leads where it likes;
one of another user leads only to what belongs to that user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections import deque
from typing import BinaryIO, Deque, Iterator, List, Optional, Tuple, Union

from .errors import ForeignFiles

PathLike = Union[str, "os.PathLike[str]"]
Owner = Tuple[int, int]
_LINK_LIMIT = 40
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Walk:
    """Goes down a path one component at a time. ``fd`` is where it is, ``names`` what is still to come."""

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self.names: Deque[str] = deque(_parts(os.path.join(os.getcwd(), self.path)))
        self.fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        #: of links that were followed and did not arrive yet: the user, not root, who made it, and how many names are
        #: left when it has
        self._under_way: List[Tuple[int, int]] = []
        self._links = 0

    def close(self) -> None:
        os.close(self.fd)

    def follow(self, name: str) -> bool:
        """Put where a link leads before the names to come; False when ``name`` is no link. Raises FileNotFoundError."""
        found = os.open(name, _LOOK, dir_fd=self.fd)
        try:
            status = os.fstat(found)
            if not stat.S_ISLNK(status.st_mode):
                return False
            self._links += 1
            if self._links > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)
            if os.geteuid() == 0 and status.st_uid != 0:
                self._under_way.append((status.st_uid, len(self.names)))
            leads_to = os.readlink("", dir_fd=found)
        finally:
            os.close(found)
        if leads_to.startswith("/"):
            self._go(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self.names.extendleft(reversed(_parts(leads_to)))
        return True

    def enter(self, name: str) -> None:
        self._go(os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=self.fd))
        self._arrive(os.fstat(self.fd).st_uid, len(self.names))

    def go_to_parent(self) -> str:
        """Enter all but the last component, and return that one as it stands: it may be a link, or not exist."""
        while len(self.names) > 1:
            name = self.names.popleft()
            if not self.follow(name):
                self.enter(name)
        return self.names[0] if self.names else "."

    def check(self, owner: int) -> None:
        """At the end: refuse what a stranger's link led to, unless it is the stranger's own."""
        self._arrive(owner, 0)

    def _arrive(self, owner: int, left: int) -> None:
        while self._under_way and left <= self._under_way[-1][1]:
            stranger, _left = self._under_way.pop()
            if stranger == owner:
                continue
            raise ForeignFiles(
                f"a link that user {stranger} made leads to what belongs to user {owner}",
                operation="open",
                subject=self.path,
                hint="find out why. If it is meant: name in the settings where it leads, or make the link root's own"
                " (chown -h root)",
            )

    def _go(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


def _parts(path: str) -> Tuple[str, ...]:
    return tuple(each for each in path.split("/") if each not in ("", "."))


def open_directory(path: PathLike, *, make_for: Optional[Owner] = None, make: bool = False) -> int:
    """A descriptor of the directory, which the caller closes. With ``make``, what is missing on the way is made (0700)
    and given to ``make_for``. Raises OSError, and ForeignFiles for a link that must not be followed.
    """
    walk = _Walk(path)
    try:
        while walk.names:
            name = walk.names.popleft()
            try:
                if not walk.follow(name):
                    walk.enter(name)
            except FileNotFoundError:
                if not make:
                    raise
                walk.check(os.fstat(walk.fd).st_uid)
                os.close(make_directory(walk.fd, name, owner=make_for))
                walk.enter(name)
        walk.check(os.fstat(walk.fd).st_uid)
        return os.open(".", _DIRECTORY, dir_fd=walk.fd)
    finally:
        walk.close()


def open_below(directory: int, name: str) -> int:
    """A descriptor of a directory in ``directory``; a link in its place is refused."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode):
            raise link_refused(name) from exc
        raise


def link_refused(name: str) -> ForeignFiles:
    return ForeignFiles(
        "is a link where a directory or file of ours belongs",
        operation="open",
        subject=name,
        hint="whoever owns the directory around it can have made it: find out why, remove it, then run again",
    )


def make_directory(directory: int, name: str, *, mode: int = 0o700, owner: Optional[Owner] = None) -> int:
    """Make a directory in ``directory`` and return its descriptor. Given away by that descriptor, and only while it is
    empty and ours: between making and giving somebody may have put another one in its place.
    """
    os.mkdir(name, mode, dir_fd=directory)
    made = open_below(directory, name)
    try:
        if os.fstat(made).st_uid != os.geteuid() or os.listdir(made):
            raise link_refused(name)
        if owner is not None:
            os.fchown(made, *owner)
    except BaseException:
        os.close(made)
        raise
    return made


@contextlib.contextmanager
def parent_of(path: PathLike) -> Iterator[Tuple[int, str]]:
    """The directory that holds ``path`` (a descriptor) and the name there, which is not followed."""
    walk = _Walk(path)
    try:
        name = walk.go_to_parent()
        walk.check(os.fstat(walk.fd).st_uid)
        directory = os.open(".", _DIRECTORY, dir_fd=walk.fd)
    finally:
        walk.close()
    try:
        yield directory, name
    finally:
        os.close(directory)


@contextlib.contextmanager
def place_of_file(path: PathLike) -> Iterator[Tuple[int, str, Optional[os.stat_result]]]:
    """The same for the file that ``path`` leads to in the end, so that a linked file stays linked; with its status,
    None where there is none yet.
    """
    walk = _Walk(path)
    status: Optional[os.stat_result] = None
    try:
        while True:
            name = walk.go_to_parent()
            walk.names.clear()
            try:
                if walk.follow(name):
                    continue
                status = os.lstat(name, dir_fd=walk.fd)
            except FileNotFoundError:
                pass
            break
        walk.check((status or os.fstat(walk.fd)).st_uid)
        directory = os.open(".", _DIRECTORY, dir_fd=walk.fd)
    finally:
        walk.close()
    try:
        yield directory, name, status
    finally:
        os.close(directory)


def read_file(path: PathLike) -> bytes:
    """The content of a file, by the same rule. A pipe or a device in its place would keep us waiting: refused."""
    with place_of_file(path) as (directory, name, _status):
        return read_at(directory, name)


#: of one file that somebody else may have made; a session of 100,000 keys is a tenth of it
_LARGEST_FILE = 256 * 1024 * 1024


def open_at(directory: int, name: str) -> BinaryIO:
    """A file in ``directory``, to be read. Raises OSError; ForeignFiles for what is no plain file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise link_refused(name) from exc
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise link_refused(name)
    return os.fdopen(descriptor, "rb")


def open_file(path: PathLike) -> BinaryIO:
    """The same for a file that is no link itself, in a directory that is reached by the rule."""
    directory = open_directory(os.path.dirname(os.path.abspath(os.fspath(path))))
    try:
        return open_at(directory, os.path.basename(os.fspath(path)))
    finally:
        os.close(directory)


def read_at(directory: int, name: str) -> bytes:
    """The content of a file in ``directory``. Raises OSError; ForeignFiles for what is no plain file."""
    with open_at(directory, name) as stream:
        content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return content


def rename(source: PathLike, target: PathLike) -> None:
    """Rename, and make both directories durable. Neither last component is followed."""
    with parent_of(source) as (from_directory, old), parent_of(target) as (to_directory, new):
        os.rename(old, new, src_dir_fd=from_directory, dst_dir_fd=to_directory)
        os.fsync(to_directory)
        os.fsync(from_directory)


def remove(directory: int, name: str) -> None:
    """Remove whatever has this name, directories with all in them; what is gone already is fine."""
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            # By way of the descriptor; below it rmtree follows no link. (Its dir_fd needs Python 3.11.)
            shutil.rmtree(f"/proc/self/fd/{directory}/{name}", ignore_errors=True)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
