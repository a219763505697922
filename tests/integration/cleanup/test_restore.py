# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cleanup deleted comes back byte for byte, and only where it belongs."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup import archive
from baileys_resilience.cleanup.choosing import choose
from baileys_resilience.cleanup.commands import _archives
from baileys_resilience.cleanup.members import Members
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up
from baileys_resilience.clock import utc_now
from baileys_resilience.errors import Misconfigured, SchemaMismatch, UsageError, VerificationFailed
from baileys_resilience.sessions.published import create_schema
from baileys_resilience.sessions.record import StoreRecord
from tests.integration.cleanup.conftest import COMPANIES, MIX, OLD, Settings, contents
from tests.support.databases import Database
from tests.support.synthetic import make_company


@pytest.fixture
def fenced(aged: Database) -> Database:
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    return aged


def test_a_run_is_taken_back_byte_for_byte_with_columns_that_are_not_ours(fenced: Database, settings: Settings) -> None:
    fenced.run(
        "ALTER TABLE whatsapp_keys ADD note text, ADD raw bytea, ADD number bigint GENERATED ALWAYS AS IDENTITY,"
        " ADD size int GENERATED ALWAYS AS (length(key_id)) STORED, ADD half float8, ADD words text[]"
    )
    fenced.run(
        """UPDATE whatsapp_keys SET note = E'tab\\tline\\nquote" \\\\ \u00e9\u2028' || key_id, raw = '\\x00ff',
        half = 1.0 / 3, words = '{"a b",NULL,"c\\"d"}'"""
    )
    whole = "SELECT k::text FROM whatsapp_keys k ORDER BY company_id, key_type, key_id"
    before = fenced.run(whole)
    run = clean_up(settings()).run
    assert len(fenced.run(whole)) == len(before) - 2 * OLD
    done = restore(settings(), run)
    assert (done.number, done.kept, done.refused) == (2 * OLD, dict.fromkeys(COMPANIES, 0), {})
    assert fenced.run(whole) == before
    assert restore(settings(), run).number == 0, "twice is no more than once"
    assert fenced.run(whole) == before


def test_the_memory_of_a_group_does_not_come_back_without_its_sender_keys(fenced: Database, settings: Settings) -> None:
    """Baileys would make a key anew and hand it to nobody, since all are said to hold it."""
    fenced.run("UPDATE whatsapp_keys SET updated_at = now() - interval '60 days' WHERE key_type LIKE 'sender-key%%'")
    before = fenced.everything()
    by_age = partial(settings, policy=choose("age", accept_data_loss=True), max_share=1.0)
    pairs = (
        "SELECT count(*) FROM whatsapp_keys m WHERE key_type = 'sender-key-memory' AND NOT EXISTS (SELECT FROM"
        " whatsapp_keys k WHERE k.company_id = m.company_id AND k.key_type = 'sender-key' AND"
        " split_part(k.key_id, '::', 1) = m.key_id)"
    )
    assert fenced.run(pairs) == [(0,)]
    memories, keys = clean_up(by_age()).run, clean_up(by_age()).run
    assert len(fenced.everything()) == len(before) - 4 * MIX["sender-key"]
    early = restore(settings(), memories)
    assert (early.number, early.waiting) == (0, {keys: 2 * MIX["sender-key-memory"]})
    assert fenced.run(pairs) == [(0,)]
    assert restore(settings(), keys).number == 2 * MIX["sender-key"]
    late = restore(settings(), memories)
    assert (late.number, late.waiting) == (2 * MIX["sender-key-memory"], {})
    assert [row[1:] for row in fenced.everything()] == [row[1:] for row in before]


def test_a_newer_row_stays(fenced: Database, settings: Settings) -> None:
    run = clean_up(settings(companies=[COMPANIES[0]])).run
    (batch,) = contents(archive.path_of(settings().archives, run))[1]
    key_id = str(batch.rows[0][2])
    fenced.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
        """ VALUES (%s, 'sender-key-memory', %s, '{"new": true}')""",
        COMPANIES[0],
        key_id,
    )
    done = restore(settings(), run)
    assert (done.number, done.kept) == (OLD - 1, {COMPANIES[0]: 1})
    assert fenced.run(
        "SELECT value FROM whatsapp_keys WHERE key_type = 'sender-key-memory' AND company_id = %s AND key_id = %s",
        COMPANIES[0],
        key_id,
    ) == [({"new": True},)]


def test_keys_of_another_life_of_their_company_do_not_come_back(
    fenced: Database, settings: Settings, tmp_path: Path
) -> None:
    run = clean_up(settings()).run
    other = make_company(COMPANIES[0], 77, {"session": 1})
    fenced.run("DELETE FROM whatsapp_auth WHERE company_id = %s", COMPANIES[0])
    fenced.run("DELETE FROM whatsapp_keys WHERE company_id = %s", COMPANIES[0])
    fenced.fill(other)
    record = StoreRecord(tmp_path / "state")
    record.move([COMPANIES[1]], "files", by="r", places={COMPANIES[1]: "/srv/2"})
    done = restore(settings(), run)
    assert done.number == 0
    assert "paired anew" in done.refused[COMPANIES[0]]
    assert "lives on files" in done.refused[COMPANIES[1]]
    record.move([COMPANIES[1]], "postgres", by="r", places={})
    assert "it has moved since (epoch 0 then, 2 now)" in restore(settings(), run).refused[COMPANIES[1]]
    fenced.run("DELETE FROM whatsapp_auth")
    assert "no creds" in restore(settings(), run).refused[COMPANIES[0]]


def test_a_running_client_that_cannot_be_fenced_off_is_not_disturbed(aged: Database, settings: Settings) -> None:
    run = clean_up(settings()).run
    with pytest.raises(Misconfigured) as refused:
        restore(settings(), run)
    assert "init-db" in refused.value.hint
    assert restore(settings(), run, application_stopped=True).number == 2 * OLD


def test_a_trigger_that_changes_a_key_is_found_out(fenced: Database, settings: Settings) -> None:
    run = clean_up(settings()).run
    fenced.run(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.value = '{}'; RETURN NEW; END $$;"
        "CREATE TRIGGER spoil BEFORE INSERT ON whatsapp_keys FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    before = fenced.everything(versions=True)
    with pytest.raises(VerificationFailed) as refused:
        restore(settings(), run)
    assert "trigger" in refused.value.hint
    assert fenced.everything(versions=True) == before


def test_a_column_that_is_gone_is_named(fenced: Database, settings: Settings) -> None:
    run = clean_up(settings()).run
    fenced.run("ALTER TABLE whatsapp_keys DROP COLUMN expires_at")
    with pytest.raises(SchemaMismatch, match="expires_at"):
        restore(settings(), run)


def read_or_hint(path: Path) -> tuple[Any, str]:
    try:
        return contents(path), ""
    except VerificationFailed as exc:
        return None, exc.hint


def test_a_damaged_archive_is_refused_wherever_it_is_damaged(fenced: Database, settings: Settings) -> None:
    run = clean_up(settings()).run
    path = archive.path_of(settings().archives, run)
    whole, content, refused = path.read_bytes(), contents(path), 0
    before = fenced.everything(versions=True)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        found, hint = read_or_hint(path)
        # Bits that fill up the last byte of a member mean nothing.
        assert hint or found == content
        refused += bool(hint)
    assert refused > 0.99 * len(whole)
    path.write_bytes(whole[:30] + b"?" + whole[31:])
    with pytest.raises(VerificationFailed):
        restore(settings(), run)
    assert fenced.everything(versions=True) == before
    path.write_bytes(whole)
    assert subprocess.run(["gunzip", "--test"], input=whole, check=True).returncode == 0
    assert restore(settings(), run).number == 2 * OLD


def test_one_damaged_archive_does_not_hide_the_others(aged: Database, settings: Settings) -> None:
    first, second = clean_up(settings(cap=5)), clean_up(settings())
    path = Path(first.archive)
    path.write_bytes(path.read_bytes()[:30] + b"?" + path.read_bytes()[31:])
    listed = _archives(settings())
    assert (listed.exit_code, len(listed.lines)) == (3, 2)
    found = {each["run"]: each for each in listed.content["archives"]}
    assert "damaged" in found[first.run]["ended"]
    assert found[second.run]["keys"] == 2 * OLD - 5


@pytest.mark.parametrize("name", ["company", "epoch", "xid", "type"])
def test_a_batch_that_lacks_something_is_a_sentence(aged: Database, settings: Settings, name: str) -> None:
    path = Path(clean_up(settings(cap=5)).archive)
    begin, batch, *rest = [b"".join(lines) for _end, lines in Members(path)]
    batch = batch.replace(f'"{name}"'.encode(), b'"x"', 1)
    path.write_bytes(b"".join(map(archive._member, [begin, batch, *rest])))
    with pytest.raises(VerificationFailed, match="damaged"):
        archive.read(path)


@pytest.mark.parametrize("run", ["", "../stores", "cleanup-20260101T030000Z-abcd", "cleanup-20260101T030000Z-abcd/.."])
def test_a_run_that_is_not_there_is_a_sentence(fenced: Database, settings: Settings, run: str) -> None:
    with pytest.raises(UsageError) as refused:
        restore(settings(), run)
    assert "cleanup archives" in refused.value.hint


def test_archives_go_when_they_have_expired(aged: Database, settings: Settings) -> None:
    first = clean_up(settings(cap=OLD))
    old = f"cleanup-{utc_now() - timedelta(days=91):%Y%m%dT%H%M%SZ}-{first.run[-4:]}"
    os.rename(first.archive, archive.path_of(settings().archives, old))
    second = clean_up(settings())
    assert (second.expired, archive.runs(settings().archives)) == ([old], [second.run])
