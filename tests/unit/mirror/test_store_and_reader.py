# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors that cannot be used say why and what to do; those that can, give back what was put in."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.clock import now_iso
from baileys_resilience.errors import Busy, ResilienceError, StoreError, UsageError
from baileys_resilience.failover.mirror import mirror_status, open_mirror
from baileys_resilience.failover.mirror.database import CredsRow, Row, ServerState
from baileys_resilience.failover.mirror.layout import DATABASE_FILE, STATUS_FILE
from baileys_resilience.failover.mirror.loop import Mirror
from baileys_resilience.failover.mirror.scan import Work
from baileys_resilience.failover.mirror.status import write_attempt
from baileys_resilience.failover.mirror.store import MirrorStore
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.codec import encode_creds
from baileys_resilience.sessions.model import TableMapping
from tests.support.synthetic import SMALL_MIX, make_company, stored

COMPANY = make_company("962301", 0, SMALL_MIX)
SERVER = ServerState("7", "db", "1", "2026-01-01", "5:5:", "2026-01-05T06:07:08+00", "0/1", "primary")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A mirror of one company after one scan."""
    directory = tmp_path / "mirror"
    with MirrorStore(directory) as store:
        store.begin()
        store.add_company(COMPANY.id, 3, "postgres")
        content, _value = encode_creds(stored(COMPANY.creds, "index").encode())
        store.put_creds(COMPANY.id, content, CredsRow(None, None, "1"))
        for (key_type, key_id), value in COMPANY.keys.items():
            store.put_key(COMPANY.id, Row(key_type, key_id, stored(value, "array").encode(), None, "1(0,1)"))
        store.set_company(COMPANY.id, key_count=store.count_keys(COMPANY.id))
        store.record_scan(SERVER, "thorough", now_iso(), 0.1, Work())
        store.commit()
    return directory


def change(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / DATABASE_FILE)
    with connection:
        connection.execute(statement)
    connection.close()


def read_all(directory: Path) -> dict[tuple[str, str], bytes | None]:
    found: dict[tuple[str, str], bytes | None] = {}
    with open_mirror(directory) as reader:
        reader.creds(COMPANY.id)
        reader.stream_keys(COMPANY.id, lambda key: found.__setitem__((key.type, key.id), key.value))
    return found


def refusal(directory: Path) -> ResilienceError:
    with pytest.raises(StoreError) as refused:
        read_all(directory)
    assert refused.value.hint
    assert not mirror_status(directory).usable or "damaged" in refused.value.cause
    return refused.value


def test_a_mirror_gives_back_what_was_put_in(directory: Path) -> None:
    assert read_all(directory) == COMPANY.expected()
    with open_mirror(directory) as reader:
        assert reader.info.kind == "mirror"
        assert (reader.info.snapshot_at, reader.info.lsn) == (SERVER.snapshot_at, SERVER.lsn)
        assert reader.info_of(COMPANY.id) == replace(reader.info, epoch=3)
        state = reader.company_state(COMPANY.id)
        assert (state.good, state.epoch, state.counts, state.problems) == (True, 3, COMPANY.counts(), [])
        assert reader.creds("another") is None


def test_no_mirror_is_told(tmp_path: Path) -> None:
    assert "there is no mirror" in refusal(tmp_path / "nowhere").cause


def test_a_first_scan_that_was_never_finished_is_told(directory: Path) -> None:
    change(directory, "DELETE FROM scans")
    error = refusal(directory)
    assert "never finished" in error.cause
    assert "mirror once" in error.hint


def test_a_file_without_tables_is_told(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).touch()
    assert "never began" in refusal(tmp_path).cause


def test_another_format_version_is_told_to_readers_and_writers(directory: Path) -> None:
    change(directory, "UPDATE meta SET value = '2' WHERE name = 'version'")
    assert "expected baileys-resilience/mirror 1" in refusal(directory).cause
    with pytest.raises(StoreError):
        MirrorStore(directory)


def test_a_file_that_is_no_database_is_told(directory: Path) -> None:
    (directory / DATABASE_FILE).write_bytes(b"no database" * 1000)
    assert "damaged" in refusal(directory).cause


def test_overwritten_pages_are_told(directory: Path) -> None:
    path = directory / DATABASE_FILE
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    assert "damaged" in refusal(directory).cause


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE keys SET content = '{}' WHERE type = 'session'",
        "UPDATE companies SET creds = '{}'",
        "DELETE FROM keys WHERE type = 'session'",
    ],
)
def test_contents_that_are_not_as_they_were_written_are_told(directory: Path, damage: str) -> None:
    change(directory, damage)
    assert "damaged" in refusal(directory).cause


def test_an_unknown_company_is_told_with_those_that_are_known(directory: Path) -> None:
    with open_mirror(directory) as reader, pytest.raises(UsageError) as refused:
        reader.company_state("1")
    assert COMPANY.id in refused.value.hint


def test_the_status_tells_since_when_the_mirror_is_blind(directory: Path) -> None:
    write_attempt(directory, "2026-01-05T07:00:00.000000Z", 10, error=Busy("no", hint="wait"))
    write_attempt(directory, "2026-01-05T07:00:10.000000Z", 10, error=Busy("no", hint="wait"))
    status = mirror_status(directory)
    assert status.attempt.blind_since == "2026-01-05T07:00:00.000000Z"
    assert status.usable
    write_attempt(directory, "2026-01-05T07:00:20.000000Z", 10)
    assert mirror_status(directory).attempt.blind_since == ""


def test_the_age_is_of_the_last_scan_and_late_after_three_intervals(directory: Path) -> None:
    assert not mirror_status(directory).late
    change(directory, "UPDATE scans SET started_at = '2026-01-05T06:07:08.000000Z'")
    status = mirror_status(directory)
    assert status.late
    assert status.age_seconds is not None
    assert status.age_seconds > 1000


def test_a_broken_status_file_is_no_reason_to_fail(directory: Path) -> None:
    (directory / STATUS_FILE).write_text("{")
    assert "cannot be read" in mirror_status(directory).attempt.error


def test_pauses_grow_with_failures_and_stay_bounded(tmp_path: Path) -> None:
    mirror = Mirror(ConnectParams(), TableMapping(), tmp_path, 10.0)
    assert mirror._pause(0, 4.0) == 6.0
    assert mirror._pause(0, 40.0) == 0.0
    assert all(1.0 <= mirror._pause(n, 0.0) <= 30.0 for n in range(1, 100))
