# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The configuration file of a host: what the role writes, and the command and the mirror service read."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from .._thirdparty import require
from ..errors import Misconfigured
from ..files import translate_os_error
from .settings import FailoverSettings, settings_from_dict


def load_settings(path: Path) -> FailoverSettings:
    """Read the configuration (JSON or YAML) that the role ``failover`` writes. It holds passwords: others must not
    read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("utf-8")
    except FileNotFoundError as exc:
        raise Misconfigured(
            "there is no configuration",
            operation="read configuration",
            subject=str(path),
            hint="run failover_prepare.yml on this host, or name one with --config",
        ) from exc
    except UnicodeDecodeError as exc:
        raise _unreadable(path, exc) from exc
    except OSError as exc:
        raise translate_os_error(exc, "read configuration", path) from exc
    if mode & 0o077:
        raise Misconfigured(
            f"others may read it (mode {mode:04o}), and it holds passwords",
            operation="read configuration",
            subject=str(path),
            hint=f"chmod 0600 {path}",
        )
    if text.lstrip().startswith("{"):
        content = _from_json(path, text)
    else:
        yaml = require("yaml")
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as exc:
            raise _unreadable(path, exc) from exc
    if not isinstance(content, dict):
        raise _unreadable(path, ValueError("it holds no settings"))
    return settings_from_dict(content)


def _from_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: Exception) -> Misconfigured:
    # YAML's errors quote the line, which may hold a password: only where it is.
    mark = getattr(exc, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(exc, 'problem', '')}" if mark else str(exc)
    return Misconfigured(
        f"cannot be read: {where}",
        operation="read configuration",
        subject=str(path),
        hint="run failover_prepare.yml again",
    )
