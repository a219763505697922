# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The monitor's request, as root reads it: a file of another user, in a directory of another user. Whatever it is, it
is removed; nothing in it decides what is done, or on what.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Optional

from .. import guarded
from ..clock import from_iso, utc_now
from ..errors import ForeignFiles, ResilienceError, UsageError
from ..files import translate_os_error
from ..health.monitor.requesting import DIRECTORY, REQUEST_FILE, REQUEST_FORMAT, VERSION

#: either way, since a clock may have been set meanwhile
FRESH_SECONDS = 120.0
_LARGEST = 16 * 1024
_LONGEST_TEXT = 300
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]+")
_OPERATION = "read the monitor's request"
_HINT = "look at what else the monitor's user did on this host; to fail over yourself: emergency_failover.yml --check"


@dataclass(frozen=True)
class Request:
    """Texts of the monitor, for people to read: printable, one line, cut."""

    host: str
    at: str
    since: str
    database: str
    client: str
    evidence: str

    def as_dict(self) -> Dict[str, str]:
        return asdict(self)


def take_request(state_dir: Path, user_id: int) -> Optional[Request]:
    """The request in the monitor's state directory, once; None where there is none. Raises ForeignFiles for one that is
    not a plain file of this user, UsageError for one that is old, or is no request; it is gone then, too.
    """
    try:
        directory = guarded.open_directory(state_dir / DIRECTORY)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise translate_os_error(exc, _OPERATION, state_dir / DIRECTORY) from exc
    try:
        return _read(directory, user_id)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise translate_os_error(exc, _OPERATION, state_dir / DIRECTORY / REQUEST_FILE) from exc
    finally:
        try:
            guarded.remove(directory, REQUEST_FILE)
        finally:
            os.close(directory)


def _read(directory: int, user_id: int) -> Request:
    with guarded.open_at(directory, REQUEST_FILE) as stream:
        status = os.fstat(stream.fileno())
        if status.st_uid != user_id:
            raise ForeignFiles(
                f"it is of user {status.st_uid}, and the monitor is user {user_id}",
                operation=_OPERATION,
                subject=REQUEST_FILE,
                hint=_HINT,
            )
        text = stream.read(_LARGEST + 1)
    written = utc_now().timestamp() - status.st_mtime
    if len(text) > _LARGEST:
        raise _refused("it is too long")
    try:
        content: Any = json.loads(text)
        if (content["format"], content["version"]) != (REQUEST_FORMAT, VERSION):
            raise ValueError("it is of another format")
        made = Request(**{name: shown(content[name]) for name in Request.__dataclass_fields__})
        age = max(abs((utc_now() - from_iso(made.at)).total_seconds()), abs(written))
    except (KeyError, TypeError, ValueError, RecursionError, ResilienceError) as exc:
        raise _refused(f"it is no request: {shown(exc)}") from exc
    if age > FRESH_SECONDS:
        raise _refused(f"it is {age:.0f} s old, and after {FRESH_SECONDS:.0f} s all may be otherwise")
    return made


def shown(said: object) -> str:
    """It goes to a terminal, into reports and to people: one line, without what moves a cursor."""
    return _NOT_SHOWN.sub("?", str(said))[:_LONGEST_TEXT]


def _refused(cause: str) -> UsageError:
    return UsageError(cause, operation=_OPERATION, subject=REQUEST_FILE, hint=_HINT)
