# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen to a mirror: kills, frozen servers, second writers, other databases, companies on files."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.errors import Busy, DeadlineExceeded, Misconfigured, Refused, SchemaMismatch, Unavailable
from baileys_resilience.failover.mirror import Mirror, MirrorTuning, mirror_status, open_mirror
from baileys_resilience.sessions.model import KeysTable, TableMapping
from lab import Lab
from tests.integration.mirror.conftest import MakeMirror, without
from tests.support.databases import Database, new_database
from tests.support.synthetic import Company, make_companies, make_company

GivesBack = Callable[[Company], None]

PROGRAM = Path(__file__).parent / "scan_program.py"
ROUNDS = 12


def values_of(directory: Path, key_type: str) -> set[bytes | None]:
    found: set[bytes | None] = set()
    with open_mirror(directory) as reader:
        reader.check()
        reader.stream_keys("962301", lambda key: found.add(key.value) if key.type == key_type else None)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def test_a_mirror_killed_at_any_moment_holds_one_whole_scan(
    database: Database, mirror: Mirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    database.fill(make_company("962301"))
    update = "UPDATE whatsapp_keys SET value = to_jsonb(%s::text) WHERE key_type = 'lid-mapping'"
    database.run(update, "start")
    mirror.scan_once()
    chance = random.Random(5)
    seen: set[bytes | None] = set()
    for number in range(ROUNDS):
        params = database.params
        process = subprocess.Popen(
            [sys.executable, PROGRAM, directory, params.host, str(params.port), params.dbname, params.user],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with closing(process.stdin), closing(process.stdout):  # type: ignore[type-var, arg-type]
            process.stdin.write(params.password + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            assert process.stdout.readline() == "begin\n"  # type: ignore[union-attr]
            database.run(update, f"round {number}")
            time.sleep(chance.uniform(0.0, 0.4))
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        values = values_of(directory, "lid-mapping")
        assert len(values) == 1, "a mix of two scans"
        seen |= values
    assert len(seen) > 1, "no kill came after a scan: the rounds proved nothing"
    database.run("UPDATE whatsapp_keys SET value = '\"end\"' WHERE key_type = 'lid-mapping'")
    mirror.scan_once()
    company = make_company("962301")
    ended = {name: "end" if name[0] == "lid-mapping" else value for name, value in company.keys.items()}
    assert_gives_back(replace(company, keys=ended))


def test_a_frozen_server_hangs_no_scan_and_the_age_grows(
    lab: Lab, database: Database, make_mirror: MakeMirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    params = replace(database.params, connect_timeout_seconds=2.0)
    mirror = make_mirror(params=params, tuning=MirrorTuning(deadline_seconds=2.0))
    mirror.scan_once()
    lab.break_("postgres-freeze")
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            mirror.scan_once()
        assert time.monotonic() - began < 6
        first = mirror_status(directory)
        with pytest.raises(Unavailable):
            mirror.scan_once()
        second = mirror_status(directory)
    finally:
        lab.heal()
    assert first.attempt.blind_since
    assert second.attempt.blind_since == first.attempt.blind_since
    assert second.age_seconds is not None
    assert first.age_seconds is not None
    assert second.age_seconds > first.age_seconds + 1
    assert_gives_back(company)
    mirror.scan_once()
    assert mirror_status(directory).attempt.blind_since == ""


def test_a_server_that_freezes_in_the_middle_of_a_scan_is_given_up_and_nothing_is_taken_over(
    database: Database, make_mirror: MakeMirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    mirror = make_mirror(tuning=MirrorTuning(deadline_seconds=1.0))
    mirror.scan_once()
    database.run("DELETE FROM whatsapp_keys WHERE key_id = (SELECT min(key_id) FROM whatsapp_keys)")
    with database.open() as connection:  # a lock is a silence too
        connection.cursor().execute("LOCK TABLE whatsapp_keys IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            mirror.scan_once()
        assert time.monotonic() - began < 15
    assert_gives_back(company)


def test_the_service_goes_on_after_a_failure_and_stops_when_asked(
    lab: Lab, database: Database, make_mirror: MakeMirror, directory: Path
) -> None:
    database.fill(make_company("962301"))
    params = replace(database.params, port=lab.need_postgres().proxy_port, connect_timeout_seconds=2.0)
    mirror = make_mirror(params=params, interval_seconds=0.2, tuning=MirrorTuning(deadline_seconds=1.0))
    stop = threading.Event()
    service = threading.Thread(target=mirror.run, args=(stop,))
    service.start()
    try:
        wait_for(lambda: mirror_status(directory).usable)
        lab.proxy_mode("reset")
        wait_for(lambda: mirror_status(directory).attempt.blind_since != "")
        lab.proxy_mode("pass")
        wait_for(lambda: mirror_status(directory).attempt.blind_since == "")
        database.run("INSERT INTO whatsapp_keys VALUES ('962301', 'lid-mapping', 'new', '\"7\"')")
        wait_for(lambda: b'"7"' in values_of(directory, "lid-mapping"))
    finally:
        lab.proxy_mode("pass")
        stop.set()
        service.join(20)
    assert not service.is_alive()


def test_a_second_service_is_refused_and_a_single_scan_is_not(
    database: Database, make_mirror: MakeMirror, directory: Path
) -> None:
    database.fill(make_company("962301"))
    stop = threading.Event()
    service = threading.Thread(target=make_mirror(interval_seconds=0.1).run, args=(stop,))
    service.start()
    try:
        wait_for(lambda: mirror_status(directory).usable)
        with pytest.raises(Busy) as refusal:
            make_mirror().run(threading.Event())
        assert "stop it" in refusal.value.hint
        database.run("INSERT INTO whatsapp_keys VALUES ('962301', 'lid-mapping', 'new', '\"7\"')")
        make_mirror().sync_now()
        assert b'"7"' in values_of(directory, "lid-mapping")
    finally:
        stop.set()
        service.join(20)


def test_another_database_under_the_same_address_is_refused_until_adopted(
    lab: Lab, database: Database, mirror: Mirror, make_mirror: MakeMirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    mirror.scan_once()
    with mirror._locked_store() as store:  # as if the mirror had been made of another cluster
        store.set_meta("system_identifier", "7000000000000000000")
    with pytest.raises(Misconfigured) as refusal:
        mirror.scan_once()
    assert "adopt-database" in refusal.value.hint
    assert "system identifier" in refusal.value.cause
    assert_gives_back(company)
    with new_database(lab) as other:
        with pytest.raises(Misconfigured):
            make_mirror(params=other.params).scan_once()
        mirror.adopt_database()
        make_mirror(params=other.params).scan_once()
    assert_gives_back(company)  # an empty database is a loss, adopted or not


def test_a_company_on_files_stands_aside_with_its_epoch_and_comes_back_quietly(
    database: Database, make_mirror: MakeMirror, directory: Path, assert_gives_back: GivesBack
) -> None:
    one, two = make_companies(2)
    database.fill(one, two)
    stores = {one.id: ("postgres", 4), two.id: ("postgres", 0)}
    mirror = make_mirror(store_of=lambda company: stores[company])
    mirror.scan_once()
    stores[one.id] = ("files", 5)
    database.run("DELETE FROM whatsapp_keys; UPDATE whatsapp_auth SET creds = NULL")
    mirror.scan_once()
    with open_mirror(directory) as reader:
        state = reader.company_state(one.id)
        assert (state.epoch, state.store, state.good) == (4, "files", True)
        assert state.problems == ["the company lives on files; this copy is of epoch 4"]
        assert state.incidents == []
    assert_gives_back(one)
    moved_back = without(one, *list(one.keys)[:12])
    stores[one.id] = ("postgres", 6)
    database.run("DELETE FROM whatsapp_auth WHERE company_id = %s", one.id)
    database.fill(moved_back)
    mirror.scan_once()
    with open_mirror(directory) as reader:
        assert reader.company_state(one.id).problems == []
        assert reader.company_state(one.id).epoch == 6
    assert_gives_back(moved_back)


def test_the_age_of_a_company_on_files_grows_while_others_are_scanned(
    database: Database, make_mirror: MakeMirror, directory: Path
) -> None:
    one, two = make_companies(2)
    database.fill(one, two)
    stores = {one.id: ("postgres", 0), two.id: ("postgres", 0)}
    mirror = make_mirror(store_of=lambda company: stores[company])
    mirror.scan_once()
    stores[one.id] = ("files", 1)
    mirror.scan_once()
    wait_for(lambda: mirror_status(directory).age_seconds > 0.5)  # type: ignore[operator]
    mirror.scan_once()
    with open_mirror(directory) as reader:
        assert reader.company_state(two.id).age_seconds < 0.5
        assert reader.company_state(one.id).age_seconds > 0.5


def test_nothing_beyond_select_is_needed(
    lab: Lab, database: Database, make_mirror: MakeMirror, assert_gives_back: GivesBack
) -> None:
    company = make_company("962301")
    database.fill(company)
    with closing(lab.connect(superuser=True, direct=True, database=database.name)) as admin:
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute("CREATE ROLE only_reads LOGIN PASSWORD 'p'")
        try:
            mirror = make_mirror(params=replace(database.params, user="only_reads", password="p"))
            with pytest.raises(Refused) as refusal:
                mirror.scan_once()
            assert "grant" in refusal.value.hint
            cursor.execute("GRANT SELECT ON whatsapp_auth, whatsapp_keys TO only_reads")
            mirror.scan_once()
        finally:
            cursor.execute("DROP OWNED BY only_reads; DROP ROLE only_reads")
    assert_gives_back(company)


def test_a_missing_column_and_a_view_are_told_with_the_option_to_set(database: Database, directory: Path) -> None:
    with pytest.raises(SchemaMismatch) as missing:
        Mirror(database.params, TableMapping(keys=KeysTable(value="content")), directory).scan_once()
    assert "session_tables.keys.value" in missing.value.hint
    database.run("CREATE VIEW keys_view AS SELECT * FROM whatsapp_keys")
    with pytest.raises(Misconfigured) as view:
        Mirror(database.params, TableMapping(keys=KeysTable(table="keys_view")), directory).scan_once()
    assert "session_tables.keys.table" in view.value.hint


def test_files_and_directory_are_private(database: Database, mirror: Mirror, directory: Path) -> None:
    database.fill(make_company("962301"))
    mirror.scan_once()
    assert directory.stat().st_mode & 0o777 == 0o700
    names = {"mirror.sqlite3", "mirror.sqlite3-wal", "mirror.sqlite3-shm", "scan.lock", "status.json"}
    with open_mirror(directory):
        modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == dict.fromkeys(names, 0o600)
