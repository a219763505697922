# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source in memory, and what a home of directories holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from baileys_resilience.sessions.codec import sha256
from baileys_resilience.sessions.manifest import CREDS_TYPE, MANIFEST_FILE, read_manifest
from baileys_resilience.sessions.model import KeySink, RawCreds, RawKey, SourceInfo
from tests.support.synthetic import FORMS, Company, expected_content, expected_file_name, stored


class MemorySource:
    """Companies as a `SessionSource`; `broken` maps (company, type, id) to raw bytes that replace a value."""

    def __init__(
        self, companies: Iterable[Company], broken: dict[tuple[str, str, str], bytes | None] | None = None
    ) -> None:
        self._companies = {company.id: company for company in companies}
        self._broken = broken or {}
        self.info = SourceInfo("backup", "memory", "2026-01-05T06:07:09Z")

    def info_of(self, company: str) -> SourceInfo:
        return self.info

    def companies(self) -> list[str]:
        return list(self._companies)

    def creds(self, company: str) -> RawCreds | None:
        if company not in self._companies:
            return None
        raw = stored(self._companies[company].creds, "array").encode()
        return RawCreds(self._broken.get((company, CREDS_TYPE, ""), raw), None)

    def stream_keys(self, company: str, sink: KeySink) -> None:
        for n, ((key_type, key_id), value) in enumerate(self._companies[company].keys.items()):
            raw = stored(value, FORMS[n % len(FORMS)]).encode()
            sink(RawKey(key_type, key_id, self._broken.get((company, key_type, key_id), raw), "2026-01-05T06:07:08+00"))


def assert_holds(directory: Path, company: Company) -> None:
    """The directory is exactly this company: every file, its bytes, modes, and the manifest's word for each."""
    wanted = {expected_file_name(*name): content for name, content in company.expected().items()}
    wanted["creds.json"] = expected_content(company.creds)
    present = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != MANIFEST_FILE}
    assert sorted(present) == sorted(wanted)
    assert [name for name in wanted if present[name] != wanted[name]] == []
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    manifest = read_manifest(directory / MANIFEST_FILE)
    assert manifest.header.company == company.id
    assert manifest.totals.counts == company.counts()
    entries = {(entry.type, entry.id): entry for entry in manifest.entries()}
    assert set(entries) == {*company.keys, (CREDS_TYPE, "")}
    for name, entry in entries.items():
        assert entry.sha256 == sha256(present[entry.file]), name
        assert entry.size == len(present[entry.file]), name


def user_of(directory: Path) -> str:
    """The paired user in a company's directory; tells two states of a company apart."""
    user: str = json.loads((directory / "creds.json").read_bytes())["me"]["id"]
    return user
