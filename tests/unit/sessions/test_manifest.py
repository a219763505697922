# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: what was written is read back, and anything cut off, changed or foreign counts as none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import StoreError, VerificationFailed
from baileys_resilience.sessions.manifest import CREDS_TYPE, LINES_AT_ONCE, Entry, Header, ManifestWriter, read_manifest
from baileys_resilience.sessions.model import SourceInfo

ENTRIES = [
    Entry(CREDS_TYPE, "", "creds.json", "a" * 64, 1700, "2026-01-05T06:07:08Z"),
    Entry("session", 'ä"\u2028\n[1]', "session-x.json", "b" * 64, 900, None),
    Entry("device-list", '],\n["],[",', "device-list-],,[.json", "e" * 64, 2, None),
    Entry("pre-key", "1", "pre-key-1.json", "c" * 64, 164, "2026-01-05T06:07:08.25+00"),
    Entry("pre-key", "2", "pre-key-2.json", "d" * 64, 164, None),
]
HEADER = Header(
    "962301", SourceInfo("primary", "db:5432/wa", "2026-01-05T06:07:09Z", "0/1A", 3), "2026-01-05T06:07:10Z"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "manifest.jsonl", ENTRIES)


def write(path: Path, entries: list[Entry]) -> Path:
    with path.open("wb") as stream:
        writer = ManifestWriter(stream, HEADER)
        for entry in entries:
            writer.add(entry)
        writer.finish()
    return path


def test_what_was_written_is_read_back(path: Path) -> None:
    manifest = read_manifest(path)
    assert manifest.header == HEADER
    assert list(manifest.entries()) == ENTRIES
    assert manifest.totals.counts == {"session": 1, "device-list": 1, "pre-key": 2}
    assert manifest.totals.keys == 4
    assert manifest.totals.bytes == 1700 + 900 + 2 + 164 + 164


def test_each_entry_is_one_line_as_the_format_says(path: Path) -> None:
    lines = path.read_text("ascii").splitlines()
    assert lines[1:-1] == [json.dumps(list(entry), separators=(",", ":")) for entry in ENTRIES]


def test_many_entries_are_many_lines(tmp_path: Path) -> None:
    entries = [Entry("pre-key", str(n), f"pre-key-{n}.json", "c" * 64, n, None) for n in range(2 * LINES_AT_ONCE + 1)]
    path = write(tmp_path / "manifest.jsonl", entries)
    assert list(read_manifest(path).entries()) == entries
    assert len(path.read_bytes().splitlines()) == len(entries) + 2


def test_entries_can_be_read_more_than_once(path: Path) -> None:
    manifest = read_manifest(path)
    assert list(manifest.entries()) == list(manifest.entries())


def test_a_manifest_cut_off_at_any_byte_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole) - 1):  # without its last newline it is still whole
        path.write_bytes(whole[:length])
        with pytest.raises(VerificationFailed) as caught:
            read_manifest(path)
        assert "accept_without_manifest" in caught.value.hint


def _replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return change


def _without_line(number: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join(lines[:number] + lines[number + 1 :])

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_replace(b'"pre-key-1.json"', b'"pre-key-9.json"'), "changed after it was written"),
        (_replace(b"962301", b"962302"), "changed after it was written"),
        (_replace(b'"epoch": 3', b'"epoch": 4'), "changed after it was written"),
        (_replace(b'"keys": 4', b'"keys": 3'), "changed after it was written"),
        (_without_line(2), "changed after it was written"),
        (_without_line(6), "cut off"),
        (_without_line(0), "not a baileys-resilience/manifest"),
        (_replace(b'"version": 1', b'"version": 2'), "of version 1"),
        (_replace(b"baileys-resilience/manifest", b"somebody/else"), "not a baileys-resilience/manifest"),
        (lambda content: content + b"5\n", "cannot be read"),
        (lambda _content: b"", "not a baileys-resilience/manifest"),
        (lambda _content: b"[1]\n", "not a baileys-resilience/manifest"),
        (lambda _content: b"5\n", "not a baileys-resilience/manifest"),
        (lambda _content: b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_changed_manifest_is_refused(path: Path, change: Callable[[bytes], bytes], cause: str) -> None:
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(VerificationFailed) as caught:
        read_manifest(path)
    assert cause in caught.value.cause


def test_a_missing_manifest_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed) as caught:
        read_manifest(tmp_path / "none")
    assert caught.value.cause == "there is no manifest"


def test_a_manifest_that_is_a_directory_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("../../etc/shadow", 9),
        ("/dev/watchdog", 9),
        ("a\0b", 9),
        (5, 9),
        (None, 9),
        ("a.json", -1),
        ("a.json", 10**15),
        ("a.json", "9"),
    ],
)
def test_an_entry_that_is_no_file_of_the_directory_refuses_the_manifest(tmp_path: Path, name: Any, size: Any) -> None:
    """Root opens what it names and reads as much as it says, and the application's user can write it."""
    path = tmp_path / "manifest.jsonl"
    with path.open("wb") as stream:
        writer = ManifestWriter(stream, HEADER)
        writer.totals.keys += 1
        writer._write(json.dumps(["session", "x", name, "a" * 64, size, None]) + "\n")
        writer.finish()
    with pytest.raises(VerificationFailed, match="cannot be read"):
        read_manifest(path)


@pytest.mark.parametrize(
    "header",
    [
        {"source": {"kind": "primary", "detail": "", "snapshot_at": "", "epoch": "x"}},
        {"company": 5},
        {"exported_at": None},
        {"source": {"new": 1}},
        {"source": json.loads("[" * 200 + "]" * 200)},
    ],
)
def test_a_header_of_another_shape_refuses_the_manifest(path: Path, header: dict[str, Any]) -> None:
    first, *others = path.read_bytes().splitlines(keepends=True)
    lines = [json.dumps({**json.loads(first), **header}).encode() + b"\n", *others[:-1]]
    footer = {**json.loads(others[-1]), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    path.write_bytes(b"".join(lines) + json.dumps(footer).encode() + b"\n")
    with pytest.raises(VerificationFailed, match="cannot be read"):
        read_manifest(path)


def test_brackets_without_an_end_refuse_the_manifest(path: Path) -> None:
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"[" * 200_000 + b"\n" + b"".join(others))
    with pytest.raises(VerificationFailed, match="cannot be read"):
        read_manifest(path)


def test_each_line_is_json_for_other_tools(path: Path) -> None:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0]["format"] == "baileys-resilience/manifest"
    assert lines[-1]["end"] is True
    assert len(lines) == len(ENTRIES) + 2
