# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The code that runs from files: prepared ahead of time in a git worktree, switched to by a symbolic link.

Prepared at leisure (dependencies installed, commit pinned and compared: a tag that moved would run somebody else's
code); the switch itself is two renames. The application's directory is parked beside its place and the place becomes
a link to the worktree, so that no service manager has to learn a new path and a human sees at once which code is
live. Where the place is a link already (releases behind ``current``), it is repointed in one rename, and the link as it
was waits under the parked name.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

from .. import guarded
from ..clock import now_iso
from ..errors import Busy, Misconfigured, ResilienceError, StepFailed, UsageError
from ..files import make_private_directory, translate_os_error, write_json
from ..locks import held
from .processes import User, look_up_user, run
from .settings import FailoverSettings
from .shared_paths import check_shared

_GIT_SECONDS = 30.0
_INSTALL_SECONDS = 600.0


@dataclass(frozen=True)
class Prepared:
    """What the preparation left: ``commit`` is the pin that every later check compares with."""

    source: str
    commit: str
    worktree: str
    prepared_at: str


def default_worktree(settings: FailoverSettings) -> Path:
    return Path(settings.code.worktree or f"{settings.application.dir}-files")


def parked_directory(settings: FailoverSettings) -> Path:
    """Where the application's own directory waits while the place is a link."""
    return Path(f"{settings.application.dir}.on-postgres")


def _record_path(settings: FailoverSettings) -> Path:
    return settings.state / "prepared.json"


def read_prepared(settings: FailoverSettings) -> Optional[Prepared]:
    try:
        return Prepared(**json.loads(_record_path(settings).read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as exc:
        raise Misconfigured(
            f"cannot be read: {exc}",
            operation="read preparation",
            subject=str(_record_path(settings)),
            hint="run failover_prepare.yml again",
        ) from exc


class Git:
    """git in the application's repository, as its owner."""

    def __init__(self, repository: Path, user: Optional[User]) -> None:
        self._repository = repository
        self._user = user
        home = user.home if user else os.path.expanduser("~")
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": home,
            "GIT_TERMINAL_PROMPT": "0",
            "LANG": "C.UTF-8",
        }

    def __call__(self, *words: str, check: bool = True) -> str:
        argv = ["git", "-C", str(self._repository), *words]
        return run(argv, seconds=_GIT_SECONDS, user=self._user, env=self._env, check=check).stdout.strip()

    def commit_of(self, name: str) -> str:
        """The commit a tag or other name stands for; empty when there is none."""
        return self("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)


def expected_commit(settings: FailoverSettings, git: Git) -> str:
    """The commit to prepare. Raises Misconfigured when the tag is missing or is not the pinned commit."""
    code = settings.code
    if code.source == "archive":
        return code.commit or git.commit_of("HEAD")
    actual = git.commit_of(f"refs/tags/{code.tag}")
    if not actual:
        raise Misconfigured(
            "the tag does not exist",
            operation="find code",
            subject=code.tag,
            hint="create it with the role's tag.yml (failover_code_commit says where), or: git fetch --tags",
        )
    if code.commit and git.commit_of(code.commit) != actual:
        raise Misconfigured(
            f"the tag points to {actual[:12]}, the pinned commit is {code.commit[:12]}",
            operation="find code",
            subject=code.tag,
            hint="a tag that moves runs somebody else's code: find out who moved it, then set failover_code_commit",
        )
    return actual


def would_prepare(settings: FailoverSettings) -> bool:
    """Whether :func:`prepare` would change anything. Raises what it would refuse; writes nothing."""
    if settings.code.source == "none":
        return False
    commit = _wanted_commit(settings, Git(settings.application.directory, look_up_user(settings.application.user)))
    return _as_prepared(settings, commit) is None


def _wanted_commit(settings: FailoverSettings, git: Git) -> str:
    """The commit to prepare. Raises Misconfigured for a tag that is not where it was when it was prepared."""
    commit = expected_commit(settings, git)
    before = read_prepared(settings)
    if before and before.commit != commit and settings.code.source == "tag" and not settings.code.commit:
        raise Misconfigured(
            f"the tag points to {commit[:12]}, it was prepared at {before.commit[:12]}",
            operation="prepare code",
            subject=settings.code.tag,
            hint="a tag that moves runs somebody else's code: find out who moved it, then set failover_code_commit",
        )
    return commit


def _as_prepared(settings: FailoverSettings, commit: str) -> Optional[Prepared]:
    """The preparation as it is, when it is as it should be."""
    before = read_prepared(settings)
    wanted = (settings.code.source, commit, str(default_worktree(settings)))
    if before is None or (before.source, before.commit, before.worktree) != wanted:
        return None
    return None if worktree_problem(settings, before) else before


def prepare(settings: FailoverSettings) -> Mapping[str, Any]:
    """Make or refresh the worktree, one controller at a time. ``changed`` is False when it was as it should be."""
    if settings.code.source == "none":
        return {"changed": False, "source": "none"}
    make_private_directory(settings.state)
    busy = Busy("somebody else prepares it", operation="prepare code", subject=settings.host, hint="run this again")
    with held(settings.state / "prepare.lock", _INSTALL_SECONDS, busy):
        return _prepare(settings)


def _prepare(settings: FailoverSettings) -> Mapping[str, Any]:
    user = look_up_user(settings.application.user)
    git = Git(settings.application.directory, user)
    commit = _wanted_commit(settings, git)
    before = _as_prepared(settings, commit)
    if before:
        return {"changed": False, **asdict(before)}
    worktree = default_worktree(settings)
    _make_worktree(git, worktree, commit, user)
    user = user or _owner_of(worktree)
    if settings.code.source == "archive":
        _overlay(worktree, settings, user)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": user.home if user else os.path.expanduser("~"),
        "NODE_ENV": "production",
    }
    run(settings.code.install, seconds=_INSTALL_SECONDS, user=user, env=environment, cwd=worktree)
    prepared = Prepared(settings.code.source, commit, str(worktree), now_iso())
    problem = worktree_problem(settings, prepared)
    if problem:
        raise StepFailed(
            problem, operation="prepare code", subject=str(worktree), hint="see the output of the install command"
        )
    write_json(_record_path(settings), asdict(prepared))
    return {"changed": True, **asdict(prepared)}


def _make_worktree(git: Git, worktree: Path, commit: str, user: Optional[User]) -> None:
    """The owner's git fills the directory; we make and remove it, since in a folder like /opt the owner may not."""
    if worktree.exists() and not (worktree / ".git").exists() and any(worktree.iterdir()):
        raise Misconfigured(
            "exists and is no git worktree",
            operation="prepare code",
            subject=str(worktree),
            hint="move it away, or set failover_code_worktree",
        )
    try:
        with guarded.parent_of(worktree) as (parent, name):
            if worktree.exists():
                guarded.remove(parent, name)
            owner = (user.uid, user.gid) if user else None
            os.close(guarded.make_directory(parent, name, mode=0o755, owner=owner))
    except OSError as exc:
        raise translate_os_error(exc, "prepare code", worktree) from exc
    git("worktree", "prune")
    git("worktree", "add", "--detach", "--force", str(worktree), commit)


def _overlay(worktree: Path, settings: FailoverSettings, user: Optional[User]) -> None:
    source, target = worktree / settings.code.archive_path, worktree / settings.code.archive_target
    if not source.is_dir():
        raise Misconfigured(
            "the archived code is not there",
            operation="prepare code",
            subject=str(source),
            hint="set failover_code_archive_path to its directory",
        )
    for tree in (source, target):
        _refuse_links_out(tree, worktree)
    # As the user whose code it is, like git and npm: as root, a link in there would name any file of this machine.
    run(["mkdir", "-p", "--", str(target)], seconds=_GIT_SECONDS, user=user)
    run(["cp", "-RPp", "--", f"{source}/.", str(target)], seconds=_GIT_SECONDS, user=user)


def _owner_of(worktree: Path) -> Optional[User]:
    """Whose the worktree is, where that is somebody else than us."""
    status = worktree.stat()
    if os.geteuid() != 0 or status.st_uid == 0:
        return None
    return User("", status.st_uid, status.st_gid, str(worktree))


def _refuse_links_out(tree: Path, worktree: Path) -> None:
    """Raise Misconfigured for a link in ``tree`` that leads out of the worktree: its code would not be what the commit
    holds, and a copy through it would land elsewhere.
    """
    inside = os.path.realpath(worktree) + os.sep
    places = itertools.chain([tree], (Path(root, n) for root, ds, ns in os.walk(tree) for n in (*ds, *ns)))
    for path in places:
        if path.is_symlink() and not (os.path.realpath(path) + os.sep).startswith(inside):
            raise Misconfigured(
                f"is a link to {os.readlink(path)}, out of the prepared code",
                operation="prepare code",
                subject=str(path),
                hint="remove the link from that commit, or choose another with failover_code_commit",
            )


def worktree_problem(settings: FailoverSettings, prepared: Prepared) -> str:
    """Why the prepared code cannot be used now; empty when it can. Quick: no install, no network."""
    worktree = Path(prepared.worktree)
    if not worktree.is_dir():
        return "the worktree is gone"
    if not (worktree / "node_modules").is_dir() and (worktree / "package.json").exists():
        return "its dependencies are not installed"
    own = [name for name in settings.code.shared if _is_own(worktree / name)]
    if own:
        return f"it has its own {', '.join(own)}, where the application's must be linked"
    actual = Git(worktree, look_up_user(settings.application.user)).commit_of("HEAD")
    if actual != prepared.commit:
        return f"it is at {actual[:12] or 'no commit'}, prepared was {prepared.commit[:12]}"
    return ""


def _is_own(path: Path) -> bool:
    return path.exists() and not path.is_symlink()


def check_prepared(settings: FailoverSettings) -> Prepared:
    """Raise Misconfigured unless the code is ready to be switched to: prepared, unmoved, complete, and with all that it
    shares with the application.
    """
    check_shared(settings, default_worktree(settings))
    prepared = read_prepared(settings)
    if prepared is None or prepared.source != settings.code.source:
        raise Misconfigured(
            "no code is prepared",
            operation="check code",
            subject=settings.code.source,
            hint="run failover_prepare.yml on this host",
        )
    git = Git(settings.application.directory, look_up_user(settings.application.user))
    problem = worktree_problem(settings, prepared)
    wanted = str(default_worktree(settings))
    if prepared.worktree != wanted:
        problem = f"it is prepared there, and the settings name {wanted}"
    if not problem and settings.code.source == "tag" and expected_commit(settings, git) != prepared.commit:
        problem = f"the tag {settings.code.tag} moved away from the prepared commit {prepared.commit[:12]}"
    if problem:
        raise Misconfigured(
            problem,
            operation="check code",
            subject=prepared.worktree,
            hint="find out why (a wrong application.dir or failover_code_worktree, perhaps), then run"
            " failover_prepare.yml again",
        )
    return prepared


class CodeSwitch:
    """Moves the application's place between its own directory and the worktree."""

    def __init__(self, settings: FailoverSettings) -> None:
        self._settings = settings
        self._place = settings.application.directory
        self._parked = parked_directory(settings)
        self._worktree = default_worktree(settings)

    def on_files(self) -> bool:
        return self._place.is_symlink() and os.path.realpath(self._place) == os.path.realpath(self._worktree)

    def origin(self) -> Path:
        """The directory of the code that runs on PostgreSQL, wherever it is now."""
        if self._parked_is_directory():
            return self._parked
        if self.on_files():
            return Path(os.path.realpath(self._parked))
        return Path(os.path.realpath(self._place))

    def _parked_is_directory(self) -> bool:
        return self._parked.is_dir() and not self._parked.is_symlink()

    def to_files(self, origin: Path) -> None:
        """``origin``: where the place led before (noted by the step before it acted). Safe to repeat after a crash."""
        try:
            self.check_parking()
            if not self._place.is_symlink() and self._place.is_dir():
                guarded.rename(self._place, self._parked)
            elif self._place.is_symlink() and not self.on_files():
                self._park_link()
            self._link_shared(self._parked if self._parked_is_directory() else origin)
            self._link(self._place, self._worktree)
        except OSError as exc:
            raise translate_os_error(exc, "switch code", self._place) from exc

    def to_origin(self, origin: Path) -> None:
        try:
            if self._parked_is_directory():
                if self._place.is_symlink():
                    _unlink(self._place)
                if not self._place.exists():
                    guarded.rename(self._parked, self._place)
            elif self.on_files() and self._parked.is_symlink():
                guarded.rename(self._parked, self._place)
            elif self.on_files():
                self._link(self._place, origin)
            elif self._parked.is_symlink():
                _unlink(self._parked)  # parked by a switch that went no further
        except OSError as exc:
            raise translate_os_error(exc, "switch code", self._place) from exc

    def repair_git(self) -> str:
        """The worktree and its repository know each other by path; tell them where they are. Not needed to run, so
        only reported.
        """
        try:
            Git(self.origin(), look_up_user(self._settings.application.user))("worktree", "repair", str(self._worktree))
        except ResilienceError as exc:
            return exc.cause
        return ""

    def check_parking(self) -> None:
        """Raise UsageError when something that is not ours stands where the directory or link is to be parked."""
        if self.on_files() or not os.path.lexists(self._place):
            return
        free = self._place.is_symlink() and self._parked.is_symlink()
        if not free and os.path.lexists(self._parked):
            raise UsageError(
                "exists although nothing is switched",
                operation="switch code",
                subject=str(self._parked),
                hint="look what it is and move it away",
            )

    def _park_link(self) -> None:
        """Keep the link that is, also a relative one: failback runs when nobody remembers where it led."""
        self._link(self._parked, Path(os.readlink(self._place)))

    @staticmethod
    def _link(place: Path, target: Path) -> None:
        with guarded.parent_of(place) as (directory, name):
            temporary = f".{name}.switch"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            os.symlink(target, temporary, dir_fd=directory)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    def _link_shared(self, origin: Path) -> None:
        for name in self._settings.code.shared:
            link, target = self._worktree / name, origin / name
            if link.is_symlink() or not link.exists():
                if not target.exists() and not target.is_symlink():
                    continue
                self._link(link, target)


def _unlink(link: Path) -> None:
    with guarded.parent_of(link) as (directory, name):
        os.unlink(name, dir_fd=directory)
