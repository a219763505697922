# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Which flags a started process really holds, asked of the process itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Mapping, Sequence

from ..errors import ApplicationError
from .envfile import EnvFile, read_values
from .processes import environment_of, is_alive, wait_for

_EXEC_SECONDS = 1.0


def check_flags(pids: Sequence[int], flags: Mapping[str, str], *, strict: bool = True) -> None:
    """What the new process really holds: a variable in its environment wins over ``.env``, so a wrong one there
    undoes the switch.
    """
    for pid in pids:
        # Between fork and exec a new process still shows its parent's environment.
        if not wait_for(lambda pid=pid: not wrong_flags(pid, flags, strict), _EXEC_SECONDS):  # type: ignore[misc]
            raise ApplicationError(
                f"the started process holds other values for {', '.join(wrong_flags(pid, flags, strict))}",
                operation="start service",
                subject=f"pid {pid}",
                hint="remove these variables from the unit or ecosystem file, so that .env decides",
            )


def wrong_flags(pid: int, flags: Mapping[str, str], strict: bool) -> List[str]:
    """Names of flags that the process holds with another value; with ``strict`` also those that it does not hold."""
    actual = environment_of(pid)
    if not actual and is_alive(pid) and os.access(f"/proc/{pid}/environ", os.R_OK):
        return list(flags)  # right behind its exec a process shows no environment at all: it has not told yet
    wrong = [name for name, value in flags.items() if name in actual and actual[name] != value]
    return wrong or [name for name in flags if strict and actual and name not in actual]


def runs_with(flags: Mapping[str, str], env_path: Path, pids: Sequence[int]) -> bool:
    """Whether these processes use them: by .env, and by their own environment, which wins over it."""
    in_file = read_values(EnvFile(env_path).read(), list(flags))
    return in_file == dict(flags) and not any(wrong_flags(pid, flags, strict=False) for pid in pids)
