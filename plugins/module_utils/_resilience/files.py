# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Durable files: temporary name, fsync, rename, fsync of the directory. Modes 0600 and 0700 unless said otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import grp
import json
import os
import pwd
import re
import secrets
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from . import guarded
from .errors import NoSpace, NotWritable, ResilienceError, StepFailed, StoreError, UsageError

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
#: of files that are being written: a name that nobody else gives, so that what a kill left can be told and removed
TEMPORARY_SUFFIX = ".resilience-new"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100

PathLike = Union[str, "os.PathLike[str]"]


def translate_os_error(exc: OSError, operation: str, subject: PathLike) -> ResilienceError:
    """The typed error for what the operating system said about a path."""
    name = os.fspath(subject)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace(
            exc.strerror or "disk full", operation=operation, subject=name, hint="free space there, then run again"
        )
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotWritable(
            exc.strerror or "no permission",
            operation=operation,
            subject=name,
            hint="check owner, mode and mount, or run as root",
        )
    return StoreError(
        exc.strerror or str(exc), operation=operation, subject=name, hint="check that the path is what was meant"
    )


def fsync_directory(path: PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_path(path: PathLike) -> None:
    """Make the content of one file durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise translate_os_error(exc, "sync", path) from exc


def write_durably(
    path: PathLike, content: bytes, *, mode: int = FILE_MODE, owner: Optional[Tuple[int, int]] = None
) -> None:
    """Replace ``path`` by ``content``: after a crash there is the old file or the new one, whole.

    A symbolic link is followed by the rule of :mod:`guarded`, so that a linked .env stays a link. ``owner`` is (uid,
    gid).
    """
    try:
        with guarded.place_of_file(path) as (directory, name, _status):
            write_at(directory, name, content, mode=mode, owner=owner)
    except OSError as exc:
        raise translate_os_error(exc, "write", path) from exc


def write_at(
    directory: int, name: str, content: bytes, *, mode: int = FILE_MODE, owner: Optional[Tuple[int, int]] = None
) -> None:
    """The same for ``name`` in a directory that is open (a descriptor). Raises OSError."""
    temporary = f".{name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def leftovers(directory: int, name: str) -> List[str]:
    """What writes of ``name`` that were killed left in its directory: it may hold all that the file holds."""
    ours = re.compile(re.escape(f".{name}.") + "[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX))
    return [each for each in sorted(os.listdir(directory)) if ours.fullmatch(each)]


def write_json(path: PathLike, value: Any, *, mode: int = FILE_MODE, owner: Optional[Tuple[int, int]] = None) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_durably(path, text.encode("utf-8"), mode=mode, owner=owner)


def read_json(path: PathLike, *, hint: str) -> Dict[str, Any]:
    """What :func:`write_json` wrote; empty without a file. Raises StepFailed with ``hint`` for what is no JSON."""
    try:
        content: Dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise translate_os_error(exc, "read", path) from exc
    except ValueError as exc:
        raise StepFailed("it is no JSON", operation="read", subject=os.fspath(path), hint=hint) from exc
    return content


def make_private_directory(path: PathLike) -> Path:
    """Make ``path`` and its parents; what is made is 0700, what was there keeps its mode."""
    directory = Path(path)
    try:
        missing = [directory, *directory.parents]
        for each in reversed([d for d in missing if not d.exists()]):
            each.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except OSError as exc:
        raise translate_os_error(exc, "make directory", path) from exc
    if not directory.is_dir():
        raise not_a_directory(path)
    return directory


def check_can_write(path: PathLike, operation: str) -> None:
    """Raise unless ``path`` is a directory that takes files, or can be made. Leaves no trace: the file that is tried
    has no name.
    """
    place = next(each for each in (Path(path), *Path(path).parents) if os.path.lexists(each))
    if not place.is_dir():
        raise StoreError(
            "is not a directory", operation=operation, subject=str(place), hint="move the file out of the way"
        )
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_WRONLY, FILE_MODE))
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            raise translate_os_error(exc, operation, place) from exc
        # This file system knows no files without a name. One without blocks, such as /sys, takes none at all.
        if not os.access(place, os.W_OK | os.X_OK) or not os.statvfs(place).f_blocks:
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise translate_os_error(denied, operation, place) from exc


def not_a_directory(path: PathLike) -> StoreError:
    return StoreError(
        "is not a directory", operation="make directory", subject=os.fspath(path), hint="move the file out of the way"
    )


def exchange(
    first: PathLike, second: PathLike, *, first_dir_fd: int = _AT_FDCWD, second_dir_fd: int = _AT_FDCWD
) -> bool:
    """Swap two paths in one atomic step (renameat2, Linux >= 3.15). False where kernel or file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    result = libc.renameat2(
        first_dir_fd, os.fsencode(first), second_dir_fd, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise translate_os_error(OSError(number, os.strerror(number)), "exchange", first)


def sync_file_system(path: PathLike) -> None:
    """Write everything pending on the file system of ``path`` to disk: one call instead of an fsync a file (10 ms for
    1,313).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise translate_os_error(exc, "sync", path) from exc
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "syncfs"):
            if libc.syncfs(descriptor) != 0:
                number = ctypes.get_errno()
                raise translate_os_error(OSError(number, os.strerror(number)), "sync", path)
        else:
            os.sync()
    finally:
        os.close(descriptor)


def resolve_owner(owner: Optional[str], group: Optional[str]) -> Optional[Tuple[int, int]]:
    """(uid, gid) of the names (or numbers) given; -1 where only one is given; None where neither is."""
    if not owner and not group:
        return None
    return (_number(owner, "user", _uid), _number(group, "group", _gid))


def owner_of_directory(path: PathLike) -> Optional[Tuple[int, int]]:
    """(uid, gid) of a directory to whose owner root should give what it makes there; None where there is none, or where
    it is our own.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_uid, status.st_gid) if os.geteuid() == 0 and status.st_uid != 0 else None


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _number(name: Optional[str], kind: str, look_up: Any) -> int:
    if not name:
        return -1
    if name.isdigit():
        return int(name)
    try:
        return int(look_up(name))
    except KeyError as exc:
        raise UsageError(
            f"{kind} does not exist", operation="look up", subject=name, hint=f"create the {kind}, or name another"
        ) from exc
