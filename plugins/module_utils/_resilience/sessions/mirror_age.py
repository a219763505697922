# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What the live mirror tells those who may not read it: how old it is. Its directory holds sessions and is closed; this
small file holds none, and may be read by the monitor's user.

Format: docs/formats/mirror.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from ..clock import age_seconds, from_iso
from ..errors import ResilienceError, StoreError
from ..files import translate_os_error, write_json

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
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise translate_os_error(exc, "read age of the mirror", path) from exc
    except ValueError as exc:
        raise _damaged(path, "it is no JSON") from exc
    try:
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"it is not {FORMAT} of version {VERSION}")
        found = MirrorAge(**{name: each for name, each in content.items() if name not in ("format", "version")})
        if found.scanned_at:
            from_iso(found.scanned_at)
    except (KeyError, TypeError, ValueError, AttributeError, ResilienceError) as exc:
        raise _damaged(path, str(exc)) from exc
    return found


def _damaged(path: Path, cause: str) -> StoreError:
    return StoreError(
        f"cannot be read: {cause}",
        operation="read age of the mirror",
        subject=str(path),
        hint="it is written anew by the mirror's next scan: is its service of the same release?",
    )
