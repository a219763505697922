# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Small JSON files that tell how old a copy is, for those who may not read the copy: the one way to read them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Optional, TypeVar

from ..errors import ResilienceError, StoreError
from ..files import translate_os_error

T = TypeVar("T")
_LARGEST_BYTES = 1024 * 1024


def read_age_file(
    path: Path, what: str, format_name: str, version: int, make: Callable[[Dict[str, Any]], T], *, hint: str
) -> Optional[T]:
    """What ``make`` makes of the file's content without format and version; None where there is no such file. Raises
    StoreError for one that is damaged or of another version, also where ``make`` finds that.
    """
    operation = f"read age of the {what}"
    try:
        content: Any = json.loads(_read(path))
        if content["format"] != format_name or content["version"] != version:
            raise ValueError(f"it is not {format_name} of version {version}")
        return make({name: each for name, each in content.items() if name not in ("format", "version")})
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise translate_os_error(exc, operation, path) from exc
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, ResilienceError) as exc:
        cause = "it is no JSON" if isinstance(exc, json.JSONDecodeError) else str(exc)
        raise StoreError(f"cannot be read: {cause}", operation=operation, subject=str(path), hint=hint) from exc


def _read(path: Path) -> str:
    """Whoever writes it is somebody else: a pipe would keep us waiting, and what has no end would fill the memory.
    Raises OSError, ValueError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no plain file")
        content = stream.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError("it is too long")
    return content.decode("utf-8")
