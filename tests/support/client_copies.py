# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals and caches as the session client writes them (docs/formats.md), for what needs no client."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from tests.support.synthetic import Company, expected_content

MOMENT = "2026-01-31T03:00:00.000Z"
COMPANY = "962301"
CREDS = '{"me":{"id":"1:1@s.whatsapp.net"}}'
KEYS = {("session", "a.1"): '{"a":1}', ("pre-key", "7"): '{"b":2}'}


def line_of(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n"


def write_cache(
    directory: Path,
    *,
    company: str = COMPANY,
    outage: str | None = "one",
    keys: dict[tuple[str, str], str] | None = None,
    epoch: int = 0,
    tokens: tuple[str, ...] = ("t1",),
    **header: Any,
) -> Path:
    held = KEYS if keys is None else keys
    entries = [["creds", "", CREDS], *([*name, text] for name, text in held.items())]
    body = "".join(json.dumps(entry) + "\n" for entry in entries)
    first = {
        "format": "baileys-resilience/client-cache", "version": 1, "company": company, "epoch": epoch,
        "outage": outage, "last_contact": MOMENT, "tokens": list(tokens), "keys": len(held),
        "sha256": hashlib.sha256(body.encode()).hexdigest(), **header,
    }  # fmt: skip
    path = directory / f"{company}.cache"
    path.write_text(json.dumps(first) + "\n" + body)
    return path


def write_copy(exports: Path, of: str = COMPANY, *, whole: Company | None = None, **header: Any) -> dict[str, Any]:
    """A copy in one file, as the client hands it over, and what it says of it. ``whole`` is more than a few lines."""
    creds, held = CREDS, KEYS
    if whole:
        creds = expected_content(whole.creds).decode()
        held = {name: content.decode() for name, content in whole.expected().items()}
    entries = [["creds", "", creds], *([*name, text] for name, text in held.items())]
    body = "".join(json.dumps(entry) + "\n" for entry in entries)
    sha256 = hashlib.sha256(body.encode()).hexdigest()
    first = {
        "format": "baileys-resilience/client-copy", "version": 1, "company": of, "epoch": 3,
        "snapshot_at": MOMENT, "keys": len(held), "sha256": sha256, **header,
    }  # fmt: skip
    exports.mkdir(exist_ok=True)
    path = exports / f"company_{of}.copy"
    path.write_text(json.dumps(first) + "\n" + body)
    return {"file": str(path), "sha256": sha256, "keys": len(held), "snapshot_at": MOMENT}


def write_journal(
    directory: Path,
    *lines: dict[str, Any],
    company: str = COMPANY,
    outage: str = "one",
    epoch: int = 0,
    tokens: tuple[str, ...] = ("t1",),
    **header: Any,
) -> Path:
    first = {
        "format": "baileys-resilience/client-journal", "version": 1, "company": company, "epoch": epoch,
        "outage": outage, "began_at": MOMENT, "last_contact": MOMENT, "tokens": list(tokens), **header,
    }  # fmt: skip
    path = directory / f"{company}.journal"
    path.write_text("".join(line_of(each) for each in (first, *lines)))
    return path


def own(directory: Path, pid: int, company: str = COMPANY) -> None:
    """This process of this host has the session."""
    (directory / f"{company}.owner").write_text(f"wa-session/{socket.gethostname()[:30]}/{pid}/abcd")


def age(directory: Path, seconds: float) -> None:
    """Nothing was written for so long."""
    for path in directory.iterdir():
        moment = path.stat().st_mtime - seconds
        os.utime(path, (moment, moment))
