# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Is what is there what was meant? Files against their manifest, a store against another store, creds against their
keys.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from .. import guarded
from ..errors import SessionDataError, VerificationFailed
from ..files import translate_os_error
from .codec import CREDS_FILE, encode_creds, encode_key, sha256, short_id
from .creds import CredsAudit, paired_user
from .manifest import CREDS_TYPE, MANIFEST_FILE, Entry, Manifest, read_entries
from .model import RawKey, SessionSource

KeyName = Tuple[str, str]
_CREDS: KeyName = (CREDS_TYPE, "")
# What may be in a file's place (a link, a pipe) must neither be followed nor keep us waiting.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass
class CompanyState:
    """One company as a store holds it: SHA256 of the canonical content by (type, id), and everything that is wrong
    with it.
    """

    company: str
    digests: Dict[KeyName, str] = field(default_factory=dict)
    counts: Dict[str, int] = field(default_factory=dict)
    problems: List[str] = field(default_factory=list)
    user: Optional[str] = None

    @property
    def keys(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Difference:
    """What ``actual`` lacks, has beyond, or holds differently than ``expected``."""

    missing: List[KeyName]
    extra: List[KeyName]
    different: List[KeyName]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)

    def summary(self) -> str:
        """Fit to leave the host: numbers, and examples with hashed ids."""
        parts = []
        for word, names in (("missing", self.missing), ("extra", self.extra), ("different", self.different)):
            if names:
                examples = ", ".join(
                    f"{key_type} {short_id(key_id)}".rstrip() for key_type, key_id in sorted(names)[:3]
                )
                parts.append(f"{len(names)} {word} ({examples}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts) or "equal"


def inspect_company(source: SessionSource, company: str) -> CompanyState:
    """Read one company of any store and judge it. Bad data becomes a problem, never an exception; store errors are
    raised.
    """
    state = CompanyState(company)
    raw = source.creds(company)
    audit: Optional[CredsAudit] = None
    if raw is None:
        state.problems.append("there is no row of creds")
    else:
        try:
            content, creds = encode_creds(raw.value, company=company)
            state.digests[_CREDS] = sha256(content)
            state.user = paired_user(creds)
            audit = CredsAudit(creds)
        except SessionDataError as exc:
            state.problems.append(exc.cause)

    def see(key: RawKey) -> None:
        state.counts[key.type] = state.counts.get(key.type, 0) + 1
        try:
            state.digests[key.type, key.id] = sha256(encode_key(key.type, key.id, key.value, company=company))
        except SessionDataError as exc:
            state.problems.append(exc.cause)
        if audit:
            audit.see(key.type, key.id)

    source.stream_keys(company, see)
    if audit:
        state.problems.extend(audit.problems())
    return state


def compare(expected: Dict[KeyName, str], actual: Dict[KeyName, str]) -> Difference:
    return Difference(
        missing=[name for name in expected if name not in actual],
        extra=[name for name in actual if name not in expected],
        different=[name for name, digest in expected.items() if actual.get(name, digest) != digest],
    )


def manifest_digests(manifest: Manifest) -> Dict[KeyName, str]:
    return {(entry.type, entry.id): entry.sha256 for entry in manifest.entries()}


def verify_directory(path: Path) -> Manifest:
    """Read every file back and compare it with the manifest beside it. Raises VerificationFailed; returns the
    manifest.
    """
    manifest, entries = read_entries(path / MANIFEST_FILE)
    problem = _first_file_problem(path, entries)
    if problem:
        raise VerificationFailed(
            problem,
            operation="verify company",
            subject=manifest.header.company,
            hint=f"the files in {path} are not those that were exported; export again, or fail back to keep what"
            " Baileys wrote",
        )
    return manifest


def _first_file_problem(path: Path, entries: Iterable[Entry]) -> Optional[str]:
    try:
        directory = guarded.open_directory(path)
    except OSError as exc:
        raise translate_os_error(exc, "look into", path) from exc
    try:
        for entry in entries:
            try:
                descriptor = os.open(entry.file, _READ, dir_fd=directory)
            except FileNotFoundError:
                return f"{entry.type} {short_id(entry.id)}: the file is missing"
            try:
                content = os.read(descriptor, entry.size + 1)
            finally:
                os.close(descriptor)
            if sha256(content) != entry.sha256:
                return f"{entry.type} {short_id(entry.id)}: the file differs from the manifest"
    except OSError as exc:
        raise translate_os_error(exc, "read file", entry.file) from exc
    finally:
        os.close(directory)
    return None


def same_files(staged: Path, place: Path) -> bool:
    """Whether ``place`` holds exactly the session files that ``staged`` would put there."""
    if not place.is_dir():
        return False
    _manifest, entries = read_entries(staged / MANIFEST_FILE)
    wanted = {entry.file for entry in entries}
    try:
        present = {name for name in os.listdir(place) if name.endswith(".json")}
    except OSError as exc:
        raise translate_os_error(exc, "look into", place) from exc
    if wanted != present or CREDS_FILE not in present or not (place / MANIFEST_FILE).exists():
        return False
    return _first_file_problem(place, entries) is None
