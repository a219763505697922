# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the live mirror tells those who may not read it: how old it is. Its directory holds sessions and is closed; this
small file holds none, and may be read by the monitor's user.

Format: docs/formats/mirror.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from ..clock import age_seconds, from_iso
from ..files import write_json
from .age_file import read_age_file

FORMAT = "baileys-resilience/mirror-age"
VERSION = 1
_MODE = 0o644


@dataclass(frozen=True)
class MirrorAge:
    """``scanned_at`` is when the last complete scan began by this host's clock, empty where there was none;
    ``tried_at`` is of the last that was tried, with its ``error``. ``unusable`` says why the mirror cannot be used.
    ``aside``: every company lives on files, so there is nothing to mirror.
    """

    scanned_at: str = ""
    tried_at: str = ""
    error: str = ""
    unusable: str = ""
    aside: bool = False

    @property
    def age_seconds(self) -> Optional[float]:
        return age_seconds(self.scanned_at) if self.scanned_at else None


def write_mirror_age(path: Path, age: MirrorAge) -> None:
    write_json(path, {"format": FORMAT, "version": VERSION, **asdict(age)}, mode=_MODE)


def read_mirror_age(path: Path) -> Optional[MirrorAge]:
    """None where there is no such file. Raises StoreError for one that is damaged or of another version."""
    hint = "it is written anew by the mirror's next scan: is its service of the same release?"
    return read_age_file(path, "mirror", FORMAT, VERSION, _made, hint=hint)


def _made(content: Dict[str, Any]) -> MirrorAge:
    found = MirrorAge(**content)
    if found.scanned_at:
        from_iso(found.scanned_at)
    return found
