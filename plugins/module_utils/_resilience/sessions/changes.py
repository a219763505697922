# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""What an export changes in a company's place, as numbers by type of key: fit for a diff that leaves the host."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional

from ..errors import ResilienceError
from ..files import translate_os_error
from .codec import CREDS_FILE, parse_file_name, sha256
from .manifest import CREDS_TYPE, MANIFEST_FILE, read_manifest

_UNKNOWN_TYPE = "unknown"


@dataclass
class Changes:
    """Numbers of files by key type (creds count as a type of their own)."""

    added: Dict[str, int] = field(default_factory=dict)
    updated: Dict[str, int] = field(default_factory=dict)
    removed: Dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.removed)

    def as_dict(self) -> Dict[str, Dict[str, int]]:
        return {name: dict(sorted(counts.items())) for name, counts in vars(self).items()}


class PlaceComparison:
    """Compares the files that a company should have, one by one as they come, with those in a directory."""

    def __init__(self, place: Optional[Path]) -> None:
        self._place = place
        self._left = _json_files(place)
        self.changes = Changes()

    def see(self, key_type: str, name: str, digest: str) -> None:
        """One file that should be there, with the SHA256 of its content."""
        if name not in self._left or self._place is None:
            _count(self.changes.added, key_type)
            return
        self._left.discard(name)
        try:
            content = (self._place / name).read_bytes()
        except OSError as exc:
            raise translate_os_error(exc, "read file", self._place / name) from exc
        if sha256(content) != digest:
            _count(self.changes.updated, key_type)

    def finish(self) -> Changes:
        """The changes, when every file that should be there was seen."""
        types = _types_by_file(self._place) if self._left else {}
        for name in self._left:
            parsed = parse_file_name(name)
            known = types.get(name) or (parsed[0] if parsed else _UNKNOWN_TYPE)
            _count(self.changes.removed, CREDS_TYPE if name == CREDS_FILE else known)
        self._left.clear()
        return self.changes


def changes_between(before: Optional[Path], after: Path) -> Changes:
    """What changed from the directory ``before`` (None: there was none) to the exported directory ``after``."""
    comparison = PlaceComparison(before)
    for entry in read_manifest(after / MANIFEST_FILE).entries():
        comparison.see(entry.type, entry.file, entry.sha256)
    return comparison.finish()


def _json_files(place: Optional[Path]) -> set[str]:
    if place is None or not place.is_dir():
        return set()
    try:
        return {name for name in os.listdir(place) if name.endswith(".json")}
    except OSError as exc:
        raise translate_os_error(exc, "look into", place) from exc


def _types_by_file(place: Optional[Path]) -> Dict[str, str]:
    if place is None:
        return {}
    try:
        return {entry.file: entry.type for entry in read_manifest(place / MANIFEST_FILE).entries()}
    except ResilienceError:
        return {}  # without a manifest the name has to tell


def _count(counts: Dict[str, int], key_type: str) -> None:
    counts[key_type] = counts.get(key_type, 0) + 1
