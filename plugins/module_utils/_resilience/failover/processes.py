# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Running programs (argument lists, a deadline, as the application's user) and asking /proc about processes."""

from __future__ import annotations

import os
import pwd
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..errors import ApplicationError, DeadlineExceeded, ToolMissing, UsageError

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int
    home: str


def look_up_user(name: str) -> Optional[User]:
    """The user to run as; None when that is who we are already (or nobody is named)."""
    if not name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError as exc:
        raise UsageError(
            "user does not exist",
            operation="look up",
            subject=name,
            hint="set application.user to the owner of the service",
        ) from exc
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(
            f"only root can act as {name}",
            operation="look up",
            subject=name,
            hint="run as root (become: true), or as that user",
        )
    return User(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    user: Optional[User] = None,
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[Path] = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises ToolMissing, DeadlineExceeded, or ApplicationError with the last lines it
    wrote.
    """
    identity: Dict[str, Any] = {}
    if user is not None:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": os.getgrouplist(user.name, user.gid)}
    try:
        done = _run(list(argv), seconds, dict(env) if env is not None else None, cwd, identity)
    except FileNotFoundError as exc:
        raise ToolMissing(
            f"{exc.filename} not found", operation="run", subject=argv[0], hint="install it, or give its full path"
        ) from exc
    except PermissionError as exc:
        raise ToolMissing(
            "is not executable", operation="run", subject=argv[0], hint="check its path and mode"
        ) from exc
    except subprocess.TimeoutExpired as exc:
        raise DeadlineExceeded(
            f"no end after {seconds:g} s", operation="run", subject=" ".join(argv[:3]), hint="run it by hand to see why"
        ) from exc
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-600:]
        raise ApplicationError(
            f"ended with {done.returncode}: {said}",
            operation="run",
            subject=" ".join(argv[:3]),
            hint="run it by hand to see why",
        )
    return done


def _run(
    argv: List[str], seconds: float, env: Optional[Dict[str, str]], cwd: Optional[Path], identity: Mapping[str, Any]
) -> subprocess.CompletedProcess[str]:
    """Output goes to files: a daemon that a start command leaves behind would keep a pipe open and us waiting."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=cwd, **identity
        ) as child:
            try:
                _wait(child, seconds)
            except BaseException:
                child.kill()
                raise
        return subprocess.CompletedProcess(argv, child.returncode, _text(out), _text(err))


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Without pipes, subprocess looks every 50 ms whether it has ended, and a failover starts a dozen programs."""
    try:
        descriptor = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # an old kernel, or a container that forbids it
        child.wait(seconds)
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        if not ended.poll(seconds * 1000):
            raise subprocess.TimeoutExpired(child.args, seconds)
    finally:
        os.close(descriptor)
    child.wait()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def identity_of(pid: int) -> str:
    """What tells a process from a later one with its number: this boot, and the moment of its start. Empty when it is
    gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot} {stat.rpartition(')')[2].split()[19]}"


def owner_of(pid: int) -> Optional[Tuple[int, int]]:
    """(uid, gid) that a process runs as; None when it is gone."""
    try:
        status = os.stat(f"/proc/{pid}")
    except OSError:
        return None
    return status.st_uid, status.st_gid


def user_of(owner: Optional[Tuple[int, int]]) -> Optional[User]:
    """The user to run as what must not run as root, where only the owner of the files is known; None when that is who
    we are.
    """
    if owner is None or os.geteuid() != 0 or owner[0] in (-1, 0):
        return None
    try:
        entry = pwd.getpwuid(owner[0])
        return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    except KeyError:
        return User("", owner[0], max(owner[1], 0) or owner[0], "/")


def environment_of(pid: int) -> Dict[str, str]:
    """The environment a process was started with; empty where we may not look."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (each.partition(b"=") for each in content.split(b"\0") if b"=" in each)
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, _equals, value in pairs}


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; False at the deadline."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True
