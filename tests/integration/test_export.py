# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL into directories: equal key by key, of one moment, one company's trouble its own."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from baileys_resilience.clock import age_seconds
from baileys_resilience.errors import (
    CredsInvalid,
    ForeignFiles,
    KeyUndecodable,
    NameCollision,
    ResilienceError,
    StoreError,
    UsageError,
)
from baileys_resilience.sessions.codec import short_id
from baileys_resilience.sessions.directory_store import SessionsHome
from baileys_resilience.sessions.export import export_companies, export_in_processes
from baileys_resilience.sessions.manifest import MANIFEST_FILE, read_manifest
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.verify import compare, inspect_company, manifest_digests
from tests.support.databases import Database
from tests.support.exports import export_all
from tests.support.sources import assert_holds
from tests.support.synthetic import FORMS, MIX, SMALL_MIX, Company, Form, make_companies, make_company


def put(database: Database, company: str, key_type: str, key_id: str, value: str) -> None:
    database.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) VALUES (%s, %s, %s, %s)",
        company, key_type, key_id, value,
    )  # fmt: skip


# Equal, key by key


@pytest.mark.parametrize("form", [*FORMS, None])
def test_companies_are_exported_equal_key_by_key(database: Database, home: SessionsHome, form: Form | None) -> None:
    companies = make_companies(3)
    database.fill(*companies, form=form)
    report = export_all(database.params, home)
    assert report.failed == {}
    assert report.changed
    for company in companies:
        assert_holds(home.directory(company.id), company)
        assert report.counts()[company.id] == company.counts()
    assert {each.user for each in report.exported} == {company.creds["me"]["id"] for company in companies}


def test_a_company_of_production_size_is_exported_equal(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=MIX)
    database.fill(company)
    report = export_all(database.params, home)
    assert_holds(home.directory(company.id), company)
    assert report.exported[0].keys == 1333
    assert 350_000 < report.exported[0].bytes < 550_000


def test_the_manifest_says_when_and_from_where(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(1))
    before = database.run("SELECT pg_current_wal_lsn()::text")[0][0]
    report = export_all(database.params, home)
    header = read_manifest(home.manifest("962301")).header
    assert header.source == report.source
    assert (header.source.kind, header.source.detail) == ("primary", database.params.where)
    assert header.source.lsn
    assert int(header.source.lsn.split("/")[1], 16) >= int(before.split("/")[1], 16)
    assert age_seconds(header.source.snapshot_at) < 60
    assert database.params.password not in home.manifest("962301").read_text("utf-8")


def test_each_entry_carries_the_time_of_its_row(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(1))
    export_all(database.params, home)
    rows = database.run("SELECT key_type, key_id, updated_at FROM whatsapp_keys")
    times = {(e.type, e.id): e.updated_at for e in read_manifest(home.manifest("962301")).entries()}
    for key_type, key_id, updated_at in rows:
        assert times[key_type, key_id] == updated_at.isoformat().replace("+00:00", "+00").replace(".250000", ".25")


def test_unknown_types_and_awkward_texts_survive(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    strange = {
        ("a-new-type", "1"): {"deep": [1, None, {"x": "\t\\n\n\r\b\f\"'\u2028ü🙂"}], "bytes": b"\x00\xff"},
        ("a-new-type", 'ta\tb\\back"quote\nline\rü🙂'): [True, 1.5, -3],
        ("lid-mapping", "back\\slash"): "a\tb\nc\\d",
    }
    company = Company(company.id, company.creds, {**company.keys, **strange})
    database.fill(company)
    assert export_all(database.params, home).failed == {}
    assert_holds(home.directory(company.id), company)


def test_columns_that_we_do_not_know_do_not_disturb(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    database.run("ALTER TABLE whatsapp_keys ADD \"Odd Column\" point DEFAULT '(1,2)'")
    database.run("ALTER TABLE whatsapp_auth ADD n int[]")
    export_all(database.params, home)
    assert_holds(home.directory(company.id), company)


def test_only_the_companies_that_were_named_are_exported(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(3))
    report = export_all(database.params, home, ["962302"])
    assert [each.company for each in report.exported] == ["962302"]
    assert home.companies() == ["962302"]


def test_a_database_without_companies_is_an_empty_report(database: Database, home: SessionsHome) -> None:
    report = export_all(database.params, home)
    assert (report.exported, report.failed, report.changed) == ([], {}, False)


def test_the_database_and_its_export_are_equal_by_digest(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(1))
    export_all(database.params, home)
    with open_snapshot(database.params, TableMapping()) as snapshot:
        state = inspect_company(snapshot, "962301")
        counts = snapshot.count_keys()
    assert state.problems == []
    assert not compare(manifest_digests(read_manifest(home.manifest("962301"))), state.digests)
    assert counts == {"962301": state.counts}


# Of one moment


def test_what_is_committed_after_the_snapshot_is_not_seen(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    with open_snapshot(database.params, TableMapping()) as snapshot:
        database.run("DELETE FROM whatsapp_keys WHERE key_type = 'session'; UPDATE whatsapp_auth SET creds = '{}'")
        assert export_companies(snapshot, home, [company.id]).failed == {}
    assert_holds(home.directory(company.id), company)


def test_creds_and_keys_are_of_one_moment_while_a_writer_commits(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    put(database, company.id, "a-new-type", "round", "0")
    done = threading.Event()

    def write() -> None:
        with database.open() as connection, connection.cursor() as cursor:
            number = 0
            while not done.is_set():
                number += 1
                cursor.execute(
                    "UPDATE whatsapp_auth SET creds = jsonb_set(creds, '{accountSyncCounter}', %s)", [str(number)]
                )
                cursor.execute("UPDATE whatsapp_keys SET value = %s WHERE key_type = 'a-new-type'", [str(number)])
                connection.commit()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for _ in range(15):
            assert export_all(database.params, home).failed == {}
            directory = home.directory(company.id)
            in_creds = json.loads((directory / "creds.json").read_bytes())["accountSyncCounter"]
            in_keys = json.loads((directory / "a-new-type-round.json").read_bytes())
            assert in_keys == in_creds or in_keys == 0  # 0: before the writer's first commit
            seen.add(in_keys)
    finally:
        done.set()
        writer.join()
    assert len(seen) > 3


# Again


def test_a_second_export_of_the_same_rows_changes_nothing(database: Database, home: SessionsHome) -> None:
    companies = make_companies(2)
    database.fill(*companies)
    first = export_all(database.params, home)
    inode = home.directory("962301").stat().st_ino
    second = export_all(database.params, home)
    assert (first.changed, second.changed) == (True, False)
    assert home.directory("962301").stat().st_ino == inode
    assert list((home.private / "previous").iterdir()) == []
    assert list((home.private / "staging").iterdir()) == []
    assert read_manifest(home.manifest("962301")).header.source.snapshot_at == second.source.snapshot_at


def test_one_changed_row_changes_its_company_only(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(2))
    export_all(database.params, home)
    put(database, "962302", "a-new-type", "1", "[1]")
    report = export_all(database.params, home)
    assert {each.company: each.changed for each in report.exported} == {"962301": False, "962302": True}


@pytest.mark.parametrize("damage", ["cut", "remove", "add", "forget"])
def test_files_that_were_changed_since_are_replaced_and_kept(
    database: Database, home: SessionsHome, damage: str
) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    export_all(database.params, home)
    place = home.directory(company.id)
    victim = next(path for path in place.iterdir() if path.name.startswith("session-"))
    if damage == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif damage == "remove":
        victim.unlink()
    elif damage == "add":
        (place / "session-999.json").write_text("{}")
    else:
        (place / MANIFEST_FILE).unlink()
    report = export_all(database.params, home)
    assert report.changed
    assert report.exported[0].previous
    assert report.exported[0].previous.is_dir()
    assert_holds(place, company)


# One company's trouble is its own


_CREDS = "UPDATE whatsapp_auth SET creds = {} WHERE company_id = '962302'"
_VALUES = "UPDATE whatsapp_keys SET value = {} WHERE company_id = '962302' AND key_type = '{}'"
_TWINS = """INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)
    VALUES ('962302', 'sender-key-memory', '1:2@g.us', '{}'), ('962302', 'sender-key-memory', '1-2@g.us', '{}')"""
_NO_SYNC_KEYS = "DELETE FROM whatsapp_keys WHERE company_id = '962302' AND key_type = 'app-state-sync-key'"
_NO_ROW = "DELETE FROM whatsapp_auth WHERE company_id = '962302'"
_FOREIGN_PAIR = _CREDS.format("jsonb_set(creds, '{noiseKey,public}', creds #> '{signedIdentityKey,public}')")
_STALE = _CREDS.format("jsonb_set(creds, '{nextPreKeyId}', '2')")

BAD: list[tuple[str, type[ResilienceError], str, str]] = [
    (_CREDS.format("NULL"), CredsInvalid, "NULL", "another source"),
    (_CREDS.format("'null'"), CredsInvalid, "null", "another source"),
    (_CREDS.format("'{}'"), CredsInvalid, "object", "another source"),
    (_CREDS.format("creds - 'noiseKey'"), CredsInvalid, "noiseKey: missing", "would lose this session"),
    (_FOREIGN_PAIR, CredsInvalid, "noiseKey: the public key does not belong", "would lose this session"),
    (_STALE, CredsInvalid, "older than the keys", "would lose this session"),
    (_NO_SYNC_KEYS, CredsInvalid, "myAppStateKeyId", "would lose this session"),
    (_NO_ROW, CredsInvalid, "no row of creds", "check the company's id"),
    (_VALUES.format("'{}'", "session"), KeyUndecodable, "session #", "restore this row"),
    (_VALUES.format("NULL", "pre-key"), KeyUndecodable, "pre-key #", "restore this row"),
    (_TWINS, NameCollision, "have the same file name", "delete it"),
]


@pytest.mark.parametrize(("statement", "kind", "cause", "hint"), BAD, ids=range(len(BAD)))
def test_one_bad_company_is_reported_and_leaves_the_others(
    database: Database, home: SessionsHome, statement: str, kind: type[ResilienceError], cause: str, hint: str
) -> None:
    companies = make_companies(3)
    database.fill(*companies)
    export_all(database.params, home, ["962302"])
    database.run(statement)
    report = export_all(database.params, home, ["962301", "962302", "962303"])
    error = report.failed["962302"]
    assert type(error) is kind
    assert cause in error.cause
    assert hint in error.hint
    assert error.subject == "962302"
    assert [each.company for each in report.exported] == ["962301", "962303"]
    for company in companies:  # the bad one keeps what it had
        assert_holds(home.directory(company.id), company)
    assert list((home.private / "staging").iterdir()) == []


def test_a_collision_names_both_keys_without_their_ids(database: Database, home: SessionsHome) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    for key_id in ("4917600001:2", "4917600001-2"):
        put(database, company.id, "device-list", key_id, "[]")
    error = export_all(database.params, home).failed[company.id]
    assert short_id("4917600001:2") in error.cause
    assert short_id("4917600001-2") in error.cause
    assert "49176" not in str(error)


@pytest.mark.parametrize("company_id", ["../evil", "a/b", ".."])
def test_a_company_id_that_leaves_the_home_is_refused_and_leaves_the_others(
    database: Database, home: SessionsHome, tmp_path: Path, company_id: str
) -> None:
    good = make_company(mix=SMALL_MIX)
    database.fill(good, good.named(company_id))
    report = export_all(database.params, home)
    assert isinstance(report.failed[company_id], UsageError)
    assert [each.company for each in report.exported] == [good.id]
    assert sorted(os.listdir(tmp_path)) == ["sessions"]


def test_foreign_files_in_one_place_leave_the_others(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(2))
    home.directory("962301").mkdir(parents=True)
    (home.directory("962301") / "notes.txt").write_text("mine")
    report = export_all(database.params, home)
    assert isinstance(report.failed["962301"], ForeignFiles)
    assert [each.company for each in report.exported] == ["962302"]
    assert (home.directory("962301") / "notes.txt").read_text() == "mine"


def test_a_full_disk_is_reported_and_leaves_the_old_state(
    database: Database, home: SessionsHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = make_company(mix=SMALL_MIX)
    database.fill(company)
    export_all(database.params, home)
    put(database, company.id, "a-new-type", "1", "[1]")
    real, budget = os.write, [8_000]

    def write(descriptor: int, content: bytes) -> int:
        budget[0] -= len(content)
        return real(descriptor, content) if budget[0] > 0 else 0

    monkeypatch.setattr(os, "write", write)
    error = export_all(database.params, home).failed[company.id]
    assert error.code == "no_space"
    assert "free space" in error.hint
    assert_holds(home.directory(company.id), company)


# In processes


def test_processes_share_one_snapshot(database: Database, home: SessionsHome) -> None:
    companies = make_companies(7)
    database.fill(*companies)
    with open_snapshot(database.params, TableMapping()) as snapshot:
        database.run("DELETE FROM whatsapp_keys; UPDATE whatsapp_auth SET creds = NULL")
        report = export_in_processes(
            lambda: open_snapshot(database.params, TableMapping(), export_id=snapshot.export_id),
            home, snapshot.companies(), 3,
        )  # fmt: skip
    assert report.failed == {}
    assert [each.company for each in report.exported] == [company.id for company in companies]
    for company in companies:
        assert_holds(home.directory(company.id), company)


def test_a_bad_company_in_a_process_is_reported_like_in_one(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(4))
    database.run("UPDATE whatsapp_auth SET creds = NULL WHERE company_id = '962303'")
    ids = ["962301", "962302", "962303", "962304"]
    report = export_in_processes(lambda: open_snapshot(database.params, TableMapping()), home, ids, 2)
    assert isinstance(report.failed["962303"], CredsInvalid)
    assert len(report.exported) == 3


def test_more_processes_than_companies_and_no_companies_are_both_fine(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(1))
    report = export_in_processes(lambda: open_snapshot(database.params, TableMapping()), home, ["962301"], 4)
    assert len(report.exported) == 1
    empty = export_in_processes(lambda: open_snapshot(database.params, TableMapping()), home, [], 2)
    assert (empty.exported, empty.failed) == ([], {})


def test_a_process_that_is_killed_is_an_error_and_not_a_wait_for_ever(database: Database, home: SessionsHome) -> None:
    database.fill(*make_companies(2))

    def die() -> None:
        os._exit(9)

    with pytest.raises(StoreError) as caught:
        export_in_processes(die, home, ["962301", "962302"], 2)  # type: ignore[arg-type]
    assert "out-of-memory killer" in caught.value.hint
    assert export_all(database.params, home).failed == {}
