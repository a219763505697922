# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the session client left on disk, read for a failover: all of it, or a reason why not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from baileys_resilience.clock import age_seconds
from baileys_resilience.errors import StoreError
from baileys_resilience.sessions.client_files import ClientFiles, read_copy
from baileys_resilience.sessions.model import RawKey
from tests.support.client_copies import COMPANY, CREDS, MOMENT, age, line_of, own, write_cache, write_journal


def change(key_type: str, key_id: str, text: str | None) -> dict[str, object]:
    return {"at": MOMENT, "changes": [[key_type, key_id, text, ""]]}


def refused(directory: Path, company: str = COMPANY) -> str:
    with pytest.raises(StoreError) as caught:
        read_copy(directory, company)
    assert caught.value.hint
    return caught.value.cause


def test_the_journal_is_laid_over_the_cache(tmp_path: Path) -> None:
    write_cache(tmp_path)
    write_journal(
        tmp_path,
        change("session", "a.1", '{"a":2}'),
        change("session", "a.1", '{"a":3}'),
        change("pre-key", "7", None),
        change("session", "new", '{"n":1}'),
        {"at": MOMENT, "creds": '{"later":true}', "creds_base": "x"},
        {"at": MOMENT, "token": "t2"},
    )
    copy = read_copy(tmp_path, COMPANY)
    assert dict(copy.keys) == {("session", "a.1"): b'{"a":3}', ("session", "new"): b'{"n":1}'}
    assert copy.creds == b'{"later":true}'
    assert (copy.counts, copy.outage, copy.tokens) == ({"session": 2}, "one", ("t1", "t2"))
    assert [content for name, content in copy.written if name == ("session", "a.1")] == [b'{"a":2}', b'{"a":3}']


def test_a_session_that_ended_in_order_is_its_cache(tmp_path: Path) -> None:
    write_cache(tmp_path, outage=None)
    copy = read_copy(tmp_path, COMPANY)
    assert (copy.outage, copy.creds, len(copy.keys), copy.written) == ("", CREDS.encode(), 2, [])


def test_as_a_source_it_says_what_a_database_says(tmp_path: Path) -> None:
    write_cache(tmp_path, epoch=3)
    write_journal(tmp_path, epoch=3)
    source = ClientFiles(tmp_path)
    keys: list[RawKey] = []
    source.stream_keys(COMPANY, keys.append)
    creds = source.creds(COMPANY)
    assert creds is not None
    assert (source.companies(), creds.value, len(keys)) == ([COMPANY], CREDS.encode(), 2)
    assert (source.info_of(COMPANY).kind, source.info_of(COMPANY).epoch) == ("journal", 3)
    assert ClientFiles(tmp_path, {COMPANY: 5}).info_of(COMPANY).epoch == 5
    assert ClientFiles(tmp_path / "none").companies() == []


def test_a_company_whose_id_is_no_plain_word(tmp_path: Path) -> None:
    write_cache(tmp_path, company="a b", outage=None).rename(tmp_path / "a%20b.cache")
    assert ClientFiles(tmp_path).companies() == ["a b"]
    assert read_copy(tmp_path, "a b").company == "a b"


def test_a_copy_is_of_now_while_its_process_lives_and_else_of_its_last_write(tmp_path: Path) -> None:
    write_cache(tmp_path)
    write_journal(tmp_path)
    age(tmp_path, 100)
    own(tmp_path, os.getpid())
    living = read_copy(tmp_path, COMPANY)
    assert living.alive
    assert age_seconds(living.snapshot_at) < 50
    own(tmp_path, 2**22 + 1)
    dead = read_copy(tmp_path, COMPANY)
    assert not dead.alive
    assert age_seconds(dead.snapshot_at) >= 100
    (tmp_path / f"{COMPANY}.owner").write_text(f"wa-session/elsewhere/{os.getpid()}/abcd")
    assert not read_copy(tmp_path, COMPANY).alive


def test_a_line_that_a_crash_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    write_cache(tmp_path)
    journal = write_journal(tmp_path, change("session", "b", '{"b":1}'))
    whole = journal.read_text()
    cut = line_of(change("session", "c", '{"c":1}'))
    for end in (cut[:20], cut[:-1], cut[:20] + "\n"):
        journal.write_text(whole + end)
        assert set(read_copy(tmp_path, COMPANY).keys) == {("session", "a.1"), ("pre-key", "7"), ("session", "b")}


def test_damage_anywhere_else_refuses_the_journal(tmp_path: Path) -> None:
    write_cache(tmp_path)
    journal = write_journal(tmp_path, change("session", "b", '{"b":1}'), change("session", "c", '{"c":1}'))
    journal.write_text(journal.read_text().replace('{\\"b\\":1}', '{\\"b\\":9}'))
    assert refused(tmp_path) == "the journal was damaged or changed in line 2"
    journal.write_text(journal.read_text().replace('{\\"c\\":1}', '{\\"c\\":9}'))
    assert refused(tmp_path) == "the journal was damaged or changed in line 2"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"company": "962302"}, "the journal is of company 962302"),
        ({"version": 2}, "the journal is not baileys-resilience/client-journal of version 1"),
        ({"outage": "another"}, "cache and journal are not of one outage"),
    ],
)
def test_a_journal_of_something_else(tmp_path: Path, wrong: dict[str, object], reason: str) -> None:
    write_cache(tmp_path)
    write_journal(tmp_path, **wrong).rename(tmp_path / f"{COMPANY}.journal")  # type: ignore[arg-type]
    assert refused(tmp_path) == reason


def test_a_cache_that_is_not_whole(tmp_path: Path) -> None:
    cache = write_cache(tmp_path, outage=None)
    good = cache.read_text()
    cache.write_text(good[:-10])
    assert refused(tmp_path) == "the cache was cut off or changed after it was written"
    cache.write_text(good.replace('"keys": 2', '"keys": 3'))
    assert refused(tmp_path) == "the cache holds no whole session"
    cache.write_text("nothing\n")
    assert refused(tmp_path) == "the cache has no first line that can be read"
    write_cache(tmp_path, outage=None, company="962302").rename(cache)
    assert refused(tmp_path) == "the cache is of company 962302"


def test_one_of_the_two_alone(tmp_path: Path) -> None:
    assert refused(tmp_path) == "its client has left no cache and no journal"
    journal = write_journal(tmp_path)
    assert refused(tmp_path) == "there is a journal without the cache that it goes on from"
    journal.unlink()
    write_cache(tmp_path)
    assert refused(tmp_path) == "the journal of its outage is gone"


def test_a_journal_that_was_begun_on_the_cache_of_an_end_in_order(tmp_path: Path) -> None:
    cache = write_cache(tmp_path, outage=None)
    sha256 = json.loads(cache.read_text().partition("\n")[0])["sha256"]
    begun = hashlib.sha256(f"{MOMENT} {sha256}".encode()).hexdigest()[:32]
    write_journal(tmp_path, {"at": MOMENT, "changes": [["session", "a.1", '{"a":2}', "x"]]}, outage=begun)
    copy = read_copy(tmp_path, COMPANY)
    assert copy.outage == begun
    assert copy.keys[("session", "a.1")] == b'{"a":2}'
    write_journal(tmp_path, outage="one")
    assert refused(tmp_path) == "cache and journal are not of one outage"


def test_what_is_whole_by_its_checksum_and_of_another_shape(tmp_path: Path) -> None:
    write_cache(tmp_path)
    write_journal(tmp_path, {"at": MOMENT, "changes": [["session"]]})
    assert refused(tmp_path).startswith("cache or journal cannot be read")


def test_a_process_that_began_later_is_another_one(tmp_path: Path) -> None:
    """After a boot its number may be that of any process."""
    write_cache(tmp_path)
    write_journal(tmp_path)
    own(tmp_path, os.getpid())
    age(tmp_path, 10 * 365 * 24 * 3600)
    assert not read_copy(tmp_path, COMPANY).alive


def test_a_file_without_an_end_is_not_read_to_the_end(tmp_path: Path) -> None:
    with (tmp_path / f"{COMPANY}.cache").open("wb") as stream:
        stream.truncate(1 << 40)
    assert "too large" in refused(tmp_path).lower()


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    real = write_cache(tmp_path, outage=None)
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refused(tmp_path)
