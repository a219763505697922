# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What can be known to be wrong before anything is touched, asked without writing anything.

The plan asks everything and lists every answer; the steps ask again what they need and raise the first. So a plan
without a line ``BLOCKED`` and a daily check that finds nothing mean what they say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List, Sequence

from ..errors import NoSpace, ResilienceError
from ..files import check_can_write, translate_os_error
from .code import check_prepared
from .common_steps import preflight_service
from .context import FailoverContext
from .envfile import EnvFile
from .judgement import refuse_contradictions, unusable_places, use_owner_of_service
from .load_check import ask_baileys, find_tools
from .processes import look_up_user
from .source_reports import SourceReport
from .staging import module_dir

#: Raises what is wrong, and changes nothing.
Check = Callable[[FailoverContext], object]

#: room for the copy, the copy it replaces, and what Baileys adds: blocks a file, and inodes
_BYTES_A_KEY = 8192
_SPARE_BYTES = 64 * 1024 * 1024


def ask(context: FailoverContext, checks: Sequence[Check]) -> List[ResilienceError]:
    """What each of them finds wrong, in their order, each sentence once."""
    found: List[ResilienceError] = []
    for check in checks:
        try:
            check(context)
        except ResilienceError as exc:
            if str(exc) not in map(str, found):
                found.append(exc)
    return found


def require(context: FailoverContext, checks: Sequence[Check]) -> None:
    """Raise the first thing that is wrong."""
    for check in checks:
        check(context)


def failover_checks(context: FailoverContext) -> List[Check]:
    """What costs no time: a run asks this before it begins, too."""
    return [
        check_env,
        check_state,
        check_home,
        unusable_places,
        _check_code,
        _check_parking,
        _check_switch,
        _check_tools,
    ]


def failover_rehearsals(context: FailoverContext) -> List[Check]:
    """What starts programs. A run leaves this to its steps before the stop, which ask the same a moment later."""
    return [_check_application, _check_baileys]


def check_env(context: FailoverContext) -> None:
    EnvFile(context.settings.application.env_path).check_writable()


def check_state(context: FailoverContext) -> None:
    check_can_write(context.settings.state, "write journal")


def check_home(context: FailoverContext) -> None:
    check_can_write(context.home.private, "write to sessions' home")


def _check_application(context: FailoverContext) -> None:
    """The service can be found, what it says fits the record, and it could read what would be written."""
    found = preflight_service(context)
    refuse_contradictions(context, found)
    use_owner_of_service(context, found)


def _check_code(context: FailoverContext) -> None:
    if context.switches_code:
        check_prepared(context.settings)


def _check_parking(context: FailoverContext) -> None:
    if context.switches_code:
        context.code.check_parking()


def _check_switch(context: FailoverContext) -> None:
    place = context.settings.application.directory
    if context.switches_code and not os.access(place.parent, os.W_OK):
        raise translate_os_error(PermissionError(13, "is not writable"), "switch code", place.parent)


def _check_tools(context: FailoverContext) -> None:
    settings = context.settings.load_check
    if settings.script:
        find_tools(settings.node, settings.script)


def _check_baileys(context: FailoverContext) -> None:
    """Node is new enough and Baileys can be imported: what the proof of the files will need."""
    settings = context.settings.load_check
    if not settings.script:
        return
    if not settings.module_dir:
        _check_code(context)  # of code that is not ready, its Baileys tells nothing more
    ask_baileys(
        settings.node,
        settings.script,
        module_dir(context),
        deadline_seconds=settings.deadline_seconds,
        user=look_up_user(context.settings.application.user),
    )


def check_space(context: FailoverContext, reports: Sequence[SourceReport]) -> None:
    """Raise NoSpace when the sessions' home has no room for a copy of what the largest source holds."""
    keys = max((sum(offer.keys for offer in report.offers.values()) for report in reports), default=0)
    status = os.statvfs(_nearest(context.home.path))
    needed = keys * _BYTES_A_KEY + _SPARE_BYTES
    free = status.f_bavail * status.f_frsize
    if free < needed or (status.f_files and status.f_favail < keys * 2):
        raise NoSpace(
            f"free: {free // 2**20} MiB, {status.f_favail} inodes; needed: {needed // 2**20} MiB, {keys * 2} inodes",
            operation="check space",
            subject=str(context.home.path),
            hint="free space there; nothing was touched",
        )


def _nearest(path: Path) -> Path:
    """The directory that is there already: the home itself may be made only by the run."""
    return next(each for each in (path, *path.parents) if each.exists())
