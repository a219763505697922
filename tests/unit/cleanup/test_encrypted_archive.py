# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An encrypted archive says nothing without its key, and with it nothing that was not written."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from baileys_resilience.cleanup import archive, cipher
from baileys_resilience.cleanup.keyfile import NO_KEYS, ArchiveKeys
from baileys_resilience.cleanup.members import has_begun, is_ended
from baileys_resilience.errors import Misconfigured, ResilienceError, StoreError, VerificationFailed

FORMAT_PAGE = Path(__file__).parents[3] / "docs" / "formats" / "cleanup.md"
COLUMNS = [("company_id", "text"), ("key_type", "text"), ("key_id", "text"), ("value", "jsonb")]
HEADER = archive.Header(
    "cleanup-20260131T030000Z-1a2b", "2026-01-31T03:00:00.000000Z", "safe", "db/whatsapp", "whatsapp_keys", COLUMNS
)
KEY, OTHER = bytes(range(32)), bytes(range(100, 132))
KEYS = ArchiveKeys([KEY], "/etc/archive.key")
BOTH = pytest.mark.parametrize("keys", [NO_KEYS, KEYS], ids=["in the clear", "encrypted"])
BATCHES = [
    archive.Batch(
        number,
        "962301",
        "sender-key-memory",
        "f00d",
        0,
        f"{number}00",
        [["962301", "sender-key-memory", f"12036304{number}{row}@g.us", f'{{"4917{row}":true}}'] for row in range(3)],
    )
    for number in (1, 2, 3)
]
Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(keys: ArchiveKeys = KEYS, header: archive.Header = HEADER, end: str = "done") -> Path:
        writer = archive.Writer.create(tmp_path / "cleanup", header, keys)
        for batch in BATCHES:
            rows = archive.Rows()
            rows.add(batch.rows[:2])
            rows.add(batch.rows[2:])
            writer.batch(batch, rows)
            writer.outcome(batch.number, archive.COMMITTED)
        if end:
            writer.line({"run_ended": end})
        writer.close()
        return writer.path

    return write


def contents(path: Path, keys: ArchiveKeys = KEYS) -> tuple[str, list[archive.Batch]]:
    batches: list[archive.Batch] = []
    return archive.read(path, batches.append, keys).ended, batches


def places(path: Path) -> list[int]:
    """Where members begin, and the end."""
    data = path.read_bytes()
    found = [0, struct.unpack("<I", data[16:20])[0]]
    while found[-1] < len(data):
        found.append(found[-1] + cipher.length_of(data[found[-1] :][: cipher.HEAD_BYTES]))
    return found


def members(path: Path) -> list[bytes]:
    data, found = path.read_bytes(), places(path)
    return [data[start:end] for start, end in pairwise(found)]


def test_both_kinds_hold_the_same_and_the_encrypted_one_shows_none_of_it(written: Written) -> None:
    plain, encrypted = written(NO_KEYS), written(header=replace(HEADER, run="cleanup-20260131T030000Z-1a2c"))
    assert [plain.name, encrypted.name] == [f"{HEADER.run}.jsonl.gz", "cleanup-20260131T030000Z-1a2c.jsonl.gz.enc"]
    assert archive.runs(plain.parent) == [HEADER.run, "cleanup-20260131T030000Z-1a2c"]
    assert contents(plain) == contents(encrypted) == ("done", BATCHES)
    assert encrypted.stat().st_mode & 0o777 == 0o600
    words = {*(text for batch in BATCHES for row in batch.rows for text in row if text), "f00d"}
    assert not [word for word in words if word.encode() in encrypted.read_bytes()]
    for member in members(encrypted)[1:]:
        with pytest.raises(zlib.error):  # or it would be packed, and no more
            zlib.decompress(member[28:], wbits=31)


def test_a_bit_that_is_not_as_it_was_written_is_damage_wherever_it_is(written: Written) -> None:
    path = written()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(VerificationFailed):
            contents(path)
    path.write_bytes(whole)
    assert contents(path) == ("done", BATCHES)


@BOTH
def test_what_a_kill_cut_off_is_no_damage_and_the_next_run_goes_on_there(
    written: Written, keys: ArchiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    path = written(keys)
    whole, first = path.read_bytes(), struct.unpack("<I", path.read_bytes()[16:20])[0]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert not is_ended(path)
        assert has_begun(path) is (size >= first)
        if size < first:
            continue
        found = archive.read(path, keys=keys)
        assert whole[: found.good_bytes] == path.read_bytes()[: found.good_bytes]
        writer = archive.Writer.append(found)
        if found.undecided is not None:
            writer.outcome(found.undecided.number, archive.COMMITTED)
        writer.line({"run_ended": "cut off"})
        writer.close()
        assert is_ended(path)
        ended, batches = contents(path, keys)
        assert (ended, batches) == ("cut off", BATCHES[: len(batches)])
        assert found.undecided is None or batches[-1] == found.undecided
    path.write_bytes(whole)
    assert is_ended(path)


def test_a_member_that_is_missing_moved_or_of_another_file_is_noticed(written: Written) -> None:
    path = written()
    first, *rest = members(path)
    path.unlink()
    other = members(written())
    spoilt = {
        "missing": [first, *rest[:2], *rest[4:]],
        "missing before the end": [first, *rest[:2], rest[-1]],
        "outcome of another": [first, rest[0], rest[3], *rest[2:]],
        "moved": [first, *rest[2:4], *rest[:2], *rest[4:]],
        "twice": [first, *rest[:2], *rest],
        "of another file": [first, *rest[:2], *other[3:]],
        "all of another file": [first, *other[1:]],
        "beginning of another file": [other[0], *rest],
        "in the clear": [first, archive._member(b'{"run_ended":"done"}\n')],
    }
    read = []
    for what, parts in spoilt.items():
        path.write_bytes(b"".join(parts))
        with suppress(VerificationFailed):
            contents(path)
            read.append(what)
    assert read == []


def test_the_header_in_the_clear_cannot_be_changed(written: Written) -> None:
    """Not even by who makes it whole again."""
    path = written()
    first, *rest = members(path)
    text = zlib.decompress(first, wbits=31)
    path.write_bytes(b"".join([archive._member(text.replace(b"whatsapp_keys", b"whatsapp_auth")), *rest]))
    assert archive.look(path).header.table == "whatsapp_auth"
    with pytest.raises(VerificationFailed):
        contents(path)


def test_no_nonce_and_no_key_is_used_twice_also_where_a_member_takes_the_place_of_another(written: Written) -> None:
    path = written()
    found = [member[16:28] for member in members(path)[1:]]
    whole, starts = path.read_bytes(), places(path)
    for cut in (starts[2] - 1, starts[2] + 20, starts[2] + 20):
        path.write_bytes(whole[:cut])
        writer = archive.Writer.append(archive.read(path, keys=KEYS))
        writer.line({"run_ended": "cut off"})
        writer.close()
        found += [member[16:28] for member in members(path)[-1:]]
    assert len(set(found)) == len(found)
    path.unlink()
    again = members(written())
    assert again[0] != whole[: starts[1]], "the same run at the same time on two hosts"


def test_another_key_is_told_as_such_and_nothing_is_written(written: Written) -> None:
    path = written(end="")
    before = path.read_bytes()
    ours, theirs = cipher.key_id(KEY), cipher.key_id(OTHER)
    for keys, says in (
        (ArchiveKeys([OTHER], "/etc/other.key"), f"encrypted with key {ours}, and /etc/other.key has {theirs}"),
        (NO_KEYS, f"encrypted with key {ours}, and no key file was named"),
        (ArchiveKeys(problem="/etc/archive.key: there is no such file"), "there is no such file"),
    ):
        with pytest.raises(Misconfigured, match=re.escape(says)) as refused:
            contents(path, keys)
        assert "--archive-key" in refused.value.hint
    assert path.read_bytes() == before
    assert archive.look(path).key == ours
    assert not is_ended(path)
    ended = written(header=replace(HEADER, run="cleanup-20260131T030000Z-1a2c"))
    assert is_ended(ended), "which needs no key"


def test_an_older_key_in_the_file_reads_what_it_wrote(written: Written) -> None:
    path = written()
    rotated = ArchiveKeys([OTHER, KEY], "/etc/archive.key")
    assert contents(path, rotated) == ("done", BATCHES)
    path.unlink()
    path = written(rotated)
    assert archive.look(path).key == cipher.key_id(OTHER)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 2}, StoreError),
        ({"cipher": "ROT13"}, StoreError),
        ({"key": 7}, VerificationFailed),
        ({"salt": "zz"}, VerificationFailed),
    ],
)
def test_an_encryption_that_is_not_known_is_a_sentence(
    written: Written, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[ResilienceError]
) -> None:
    described = cipher.encryption_with
    path = written()
    with monkeypatch.context() as patched:
        patched.setattr(archive, "encryption_with", lambda key: {**described(key), **change})
        patched.setattr(archive, "Cipher", lambda *_arguments: None)
        path.unlink()
        path = written()
    with pytest.raises(error) as refused:
        contents(path)
    assert refused.value.hint


def test_an_archive_expires_without_its_key(written: Written) -> None:
    path = written()
    assert archive.expire(path.parent, 90.0, "2026-05-02T03:00:01Z") == [HEADER.run]
    assert not list(path.parent.iterdir())


def test_keys_are_derived_as_rfc_5869_says() -> None:
    for salt in (b"", b"salt", bytes(32)):
        assert cipher.derived(KEY, salt, b"info") == HKDF(SHA256(), 32, salt or None, b"info").derive(KEY)


def test_the_page_of_the_format_says_how_to_read_one_without_this_library(written: Written, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", FORMAT_PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "read.py").write_text(snippet)
    key_file = tmp_path / "archive.key"
    key_file.write_text(f"# ours\n{OTHER.hex()}\n{KEY.hex()}\n")
    argv = [sys.executable, tmp_path / "read.py", written(), key_file]
    lines = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
    assert f'"run":"{HEADER.run}"'.encode() in lines[0]
    assert len(lines) == 1 + 3 * (1 + 3 + 1) + 1
    assert lines[-1] == b'{"run_ended":"done"}'
