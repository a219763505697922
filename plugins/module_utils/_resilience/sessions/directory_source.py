# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: BSD-2-Clause

"""Reading sessions back from a home of directories: by the manifest first, by the rules of names without one."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from .. import guarded
from ..clock import to_iso
from ..errors import VerificationFailed
from ..files import translate_os_error
from .codec import CREDS_FILE, encode_key, file_name, parse_file_name, sha256
from .directory_store import SessionsHome
from .manifest import CREDS_TYPE, Entry, Manifest, read_entries, read_manifest
from .model import KeySink, RawCreds, RawKey, SourceInfo


class CanonicalKey(NamedTuple):
    """A key in the codec's canonical form, with the SHA256 of that content."""

    type: str
    id: str
    content: bytes
    sha256: str


class DirectorySource:
    """The companies of a home as a :class:`model.SessionSource`.

    A file that Baileys made since the export has no manifest entry. Its (type, id) then comes from the rules of
    :func:`codec.parse_file_name`; a file whose type is unknown is refused by name, because guessing would store a key
    under a wrong id.
    """

    def __init__(self, home: SessionsHome, *, require_manifest: bool = True) -> None:
        self._home = home
        self._require_manifest = require_manifest

    @property
    def home(self) -> SessionsHome:
        return self._home

    @property
    def info(self) -> SourceInfo:
        newest = max((self._home.directory(c).stat().st_mtime for c in self.companies()), default=0.0)
        return SourceInfo("directory", str(self._home.path), _moment(newest))

    def info_of(self, company: str) -> SourceInfo:
        manifest = self.manifest(company)
        return replace(self.info, epoch=manifest.header.source.epoch if manifest else 0)

    def companies(self) -> List[str]:
        return self._home.companies()

    def manifest(self, company: str) -> Optional[Manifest]:
        """The company's manifest; None when there is none and none is required."""
        path = self._home.manifest(company)
        if not path.exists() and not self._require_manifest:
            return None
        return read_manifest(path)

    def creds(self, company: str) -> Optional[RawCreds]:
        path = self._home.directory(company) / CREDS_FILE
        try:
            directory = guarded.open_directory(path.parent)
            try:
                content = guarded.read_at(directory, CREDS_FILE)
                return RawCreds(content, _moment(os.lstat(CREDS_FILE, dir_fd=directory).st_mtime))
            finally:
                os.close(directory)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise translate_os_error(exc, "read creds of company", path) from exc

    def stream_keys(self, company: str, sink: KeySink) -> None:
        for entry, content in self._key_contents(company):
            sink(RawKey(entry.type, entry.id, content, None))

    def canonical_keys(self, company: str) -> Iterator[CanonicalKey]:
        """Every key that is there now in canonical form. A file that is still as exported is canonical already."""
        for entry, content in self._key_contents(company):
            digest = sha256(content)
            if digest != entry.sha256:
                content = encode_key(entry.type, entry.id, content, company=company)
                digest = sha256(content)
            yield CanonicalKey(entry.type, entry.id, content, digest)

    def key_names(self, company: str) -> Iterator[Tuple[str, str, str]]:
        """(file name, type, id) of every key file that is there now."""
        for name, entry in self._key_files(company):
            yield name, entry.type, entry.id

    def _key_contents(self, company: str) -> Iterator[Tuple[Entry, bytes]]:
        key_files = list(self._key_files(company))
        if not key_files:
            return
        directory = _opened(self._home.directory(company))
        try:
            for name, entry in key_files:
                yield entry, _read(directory, name, entry.size)
        finally:
            os.close(directory)

    def _key_files(self, company: str) -> Iterator[Tuple[str, Entry]]:
        """Every key file that is there now, with the manifest's entry or one made from its name (without a digest)."""
        known = self._known_files(company)
        for name in _names(self._home.directory(company)):
            if name.endswith(".json") and name != CREDS_FILE:
                yield name, known.get(name) or Entry(*_parse(name, company), name, "", 0, None)

    def _known_files(self, company: str) -> Dict[str, Entry]:
        path = self._home.manifest(company)
        if not path.exists() and not self._require_manifest:
            return {}
        manifest, entries = read_entries(path)
        if manifest.header.company != company:
            raise VerificationFailed(
                f"the manifest is of company {manifest.header.company}",
                operation="read company",
                subject=company,
                hint="this directory was copied to a wrong name: put it back under its own",
            )
        return {entry.file: entry for entry in entries if entry.type != CREDS_TYPE}


def _opened(directory: Path) -> int:
    try:
        return guarded.open_directory(directory)
    except OSError as exc:
        raise translate_os_error(exc, "look into", directory) from exc


def _names(directory: Path) -> List[str]:
    """Names in order; none where there is no directory, which the missing creds tell already."""
    try:
        opened = guarded.open_directory(directory)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise translate_os_error(exc, "look into", directory) from exc
    try:
        return sorted(os.listdir(opened))
    finally:
        os.close(opened)


def _read(directory: int, name: str, expected_size: int) -> bytes:
    """The whole file; with the size that the manifest knows, one read is enough."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        try:
            content = os.read(descriptor, expected_size + 1)
            if len(content) != expected_size:
                while True:
                    more = os.read(descriptor, 1 << 16)
                    if not more:
                        break
                    content += more
            return content
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise translate_os_error(exc, "read file", name.split("-", 1)[0] + "-...") from exc


def _parse(name: str, company: str) -> Tuple[str, str]:
    parsed = parse_file_name(name)
    if parsed is None or file_name(*parsed) != name:
        shown = name.split("-", 1)[0]
        raise VerificationFailed(
            "a file has no entry in the manifest and its name starts with no known key type",
            operation="read company",
            subject=company,
            hint=f"file {shown}-...: remove it if it is not Baileys', else use a version that knows the type",
        )
    return parsed


def _moment(seconds: float) -> str:
    return to_iso(datetime.fromtimestamp(seconds, timezone.utc))
