# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The page at ``/``. It holds no figures, so whoever reaches the port may have it; what it shows it asks the other
paths for.

It is one file, JSON: texts by the names of files. It is read when the monitor starts, and only from where the role
health_monitor has put it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

from .server import Page, Show, json_page

INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


def page_files(path: str) -> Tuple[Dict[str, Show], str]:
    """What to show by path, and why there is no page, where there is none: then ``/`` says so."""
    if not path:
        return _none("none is installed")
    try:
        content: Any = json.loads(Path(path).read_bytes())
        files = {"/" if name == INDEX else f"/{name}": _show(text, Path(name).suffix) for name, text in content.items()}
    except OSError as error:
        return _none(f"{path}: {error.strerror}")
    except (ValueError, KeyError, AttributeError):
        return _none(f"{path} holds none")
    return (files, "") if "/" in files else _none(f"{path} holds no {INDEX}")


def _show(text: str, suffix: str) -> Show:
    page = Page(200, _TYPES[suffix], text.encode())
    return lambda _query: page


def _none(why: str) -> Tuple[Dict[str, Show], str]:
    hint = "the role health_monitor installs it (page_file in its configuration); /api/status says what it would show"
    page = json_page({"error": f"there is no page: {why}. HINT: {hint}"}, 404)
    return {"/": lambda _query: page}, why
