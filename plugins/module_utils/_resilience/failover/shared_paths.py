# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the code that runs from files shares with the application's own directory, and whether that is enough."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import Misconfigured
from .settings import FailoverSettings


def check_shared(settings: FailoverSettings, worktree: Path) -> None:
    """Raise Misconfigured when what both codes need would be left behind by the switch: sessions and .env below the
    application's directory are found from the prepared code only where they are shared.
    """
    application = settings.application
    needed = {"sessions_dir": Path(settings.sessions_dir), "application.env_file": application.env_path}
    for setting, path in needed.items():
        inside = _inside(path, application.directory)
        if inside and not any(_covers(name, inside) for name in settings.code.shared):
            raise Misconfigured(
                f"{inside} lies in the application's directory and would vanish when the code is switched",
                operation="check code",
                subject=setting,
                hint=f"add {inside} to code.shared (failover_code_shared), which is {', '.join(settings.code.shared)}",
            )
    for name in settings.code.shared:
        around = os.path.dirname(os.path.normpath(name))
        # What is not there is passed over by the switch, but the sessions' home is made by then.
        linked = (application.directory / name).exists() or Path(settings.sessions_dir) == application.directory / name
        # Without a worktree the complaint is that nothing is prepared.
        if linked and around and worktree.is_dir() and not (worktree / around).is_dir():
            raise Misconfigured(
                f"the prepared code has no directory {around} to link it in",
                operation="check code",
                subject=f"{name} of code.shared",
                hint=f"share {around} itself (failover_code_shared)",
            )


def _inside(path: Path, directory: Path) -> str:
    """The name of ``path`` in ``directory``, also where it is reached by a link; empty when it is not in there."""
    pairs = [(os.path.normpath(path), os.path.normpath(directory))]
    if not directory.is_symlink():
        pairs.append((os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(directory)))
    for each, around in pairs:
        if each.startswith(around + os.sep):
            return os.path.relpath(each, around)
    return ""


def _covers(shared: str, inside: str) -> bool:
    name = os.path.normpath(shared)
    return inside == name or inside.startswith(name + os.sep)
