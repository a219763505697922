# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""How old the newest backups are, as whatever makes them says it: any tool can write this file.

Format: docs/formats.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ..clock import age_seconds, from_iso, utc_now
from .age_file import read_age_file

FORMAT = "baileys-resilience/backup-age"
VERSION = 1
_KIND = re.compile(r"[\w.-]{1,32}", re.ASCII)
_MOST_KINDS = 20
#: clocks of two hosts may differ by this; what is later than that would stay young for ever
_AHEAD_SECONDS = 300.0
_HINT = "see docs/monitor.md for what belongs in it; write it under another name, then mv it into its place"


@dataclass(frozen=True)
class BackupAges:
    """``taken`` is when the newest validated one of each kind was begun (ISO 8601), ``limits`` the seconds that one of
    a kind may be old, where it says so.
    """

    taken: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def ages(self) -> Dict[str, float]:
        return {kind: age_seconds(taken) for kind, taken in self.taken.items()}


def read_backup_age(path: Path) -> Optional[BackupAges]:
    """None where there is no such file. Raises StoreError for one that is damaged or of another version."""
    return read_age_file(path, "backup", FORMAT, VERSION, _made, hint=_HINT)


def _made(content: Dict[str, Any]) -> BackupAges:
    taken: Dict[str, str] = {}
    limits: Dict[str, float] = {}
    if len(content["backups"]) > _MOST_KINDS:
        raise ValueError(f"it has more than {_MOST_KINDS} kinds")
    for kind, each in content["backups"].items():
        if not _KIND.fullmatch(kind):
            raise ValueError(f"{kind!r} is no name of a kind")
        taken[kind] = str(each["taken_at"])
        if (from_iso(taken[kind]) - utc_now()).total_seconds() > _AHEAD_SECONDS:
            raise ValueError(f"{kind} is of a time to come ({taken[kind]})")
        if "max_age_seconds" in each:
            limits[kind] = float(each["max_age_seconds"])
            if not 0 < limits[kind] < float("inf"):
                raise ValueError(f"max_age_seconds of {kind} is no time")
    return BackupAges(taken, limits)
