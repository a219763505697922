# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""The files of the page at ``/``. They hold no figures, so whoever reaches the port may have them; what they show they
ask the other paths for.

They are read when the monitor starts, and only from where the role health_monitor has put them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

from .server import Page, Show, json_page

INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_MOST_FILES, _MOST_BYTES = 40, 1024 * 1024


def page_files(directory: str) -> Tuple[Dict[str, Show], str]:
    """What to show by path, and why there is no page, where there is none: then ``/`` says so."""
    if not directory:
        return _none("no page is installed")
    found: Dict[str, Show] = {}
    try:
        files = sorted(each for each in Path(directory).iterdir() if each.suffix in _TYPES and each.is_file())
        for each in files[:_MOST_FILES]:
            with open(each, "rb") as stream:
                content = stream.read(_MOST_BYTES)
            found["/" if each.name == INDEX else f"/{each.name}"] = _show(Page(200, _TYPES[each.suffix], content))
    except OSError as error:
        return _none(f"{error.filename or directory}: {error.strerror}")
    return (found, "") if "/" in found else _none(f"{directory} holds no {INDEX}")


def _show(page: Page) -> Show:
    return lambda _query: page


def _none(why: str) -> Tuple[Dict[str, Show], str]:
    hint = "the role health_monitor installs it and sets page_dir; /api/status has all that it would show"
    return {"/": _show(json_page({"error": f"there is no page: {why}. HINT: {hint}"}, 404))}, why
