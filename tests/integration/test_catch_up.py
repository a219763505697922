# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the application writes between the staging and the stop: taken over, unless it is worse than what is proven."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from baileys_resilience.errors import NoSpace, StepFailed
from baileys_resilience.failover import catch_up
from baileys_resilience.sessions.company_writer import CompanyWriter
from lab import nodejs
from tests.support.data_host import DataHost
from tests.support.databases import Database
from tests.support.synthetic import SMALL_MIX, make_companies, make_company, stored

ROOT = Path(__file__).resolve().parents[2]
COMPANIES = make_companies(2, SMALL_MIX)
FIRST, SECOND = (company.id for company in COMPANIES)
KEYS = sum(SMALL_MIX.values())


@pytest.fixture
def host(database: Database, tmp_path: Path) -> Iterator[DataHost]:
    database.fill(*COMPANIES, form="base64")
    host = DataHost(tmp_path / "host", database, [FIRST, SECOND])
    yield host
    host.close()


def new_chats(database: Database, company: str, count: int = 3) -> None:
    """What a session does in an hour."""
    for number in range(count):
        database.run(
            "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value) SELECT company_id, key_type, %s, value"
            " FROM whatsapp_keys WHERE company_id = %s AND key_type = 'session' LIMIT 1",
            f"4917{number}.0",
            company,
        )


@contextmanager
def full_house(database: Database) -> Iterator[tuple[str, Connection]]:
    """A role with one connection, and the application's pool that holds it: (role, the pool's connection)."""
    role = f"pooled_{database.name}"
    params = database.params
    with database.lab.connect(superuser=True, direct=True, database=database.name) as admin, admin.cursor() as cursor:
        cursor.execute(
            f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD %s; GRANT {params.user} TO {role}",
            (params.password,),
        )
    admin.close()
    pool = psycopg2.connect(
        host=params.host, port=params.port, dbname=params.dbname, user=role, password=params.password
    )
    try:
        yield role, pool
    finally:
        pool.close()


def test_a_primary_that_only_we_could_not_reach_is_read_once_the_stop_has_freed_its_slots(
    host: DataHost, database: Database, tmp_path: Path
) -> None:
    """All connection slots are used: the mirror is chosen, and the application writes on until its stop."""
    with full_house(database) as (role, pool):
        host.mirror_now(mirror_dir=str(tmp_path / "mirror"))
        host.params = replace(host.params, user=role)
        run = host.begun("stage", mirror_dir=str(tmp_path / "mirror"))
        new_chats(database, FIRST)
        run.step("stop")
        pool.close()
        report = host.completed(run)
    assert report["outcome"] == "done", report
    assert report["companies"][FIRST]["source"] == "primary"
    assert host.keys_in_files(FIRST) == host.keys_in_rows(FIRST)
    assert len(host.keys_in_files(FIRST)) == KEYS + 1 + 3


def test_a_primary_that_stays_out_of_reach_costs_little_and_the_staged_copy_is_used(
    host: DataHost, database: Database, tmp_path: Path
) -> None:
    mirror = str(tmp_path / "mirror")
    host.mirror_now(mirror_dir=mirror)
    host.params = replace(host.params, port=1)
    run = host.begun("stop", mirror_dir=mirror)
    started = time.monotonic()
    run.step("export")
    assert time.monotonic() - started < 0.7
    report = host.completed(run)
    assert {each["source"] for each in report["companies"].values()} == {"mirror"}
    assert report["outcome"] == "done"


def test_a_frozen_primary_is_given_one_second_of_the_downtime(host: DataHost, tmp_path: Path) -> None:
    mirror, lab = str(tmp_path / "mirror"), host.database.lab
    host.mirror_now(mirror_dir=mirror)
    pid = lab.need_postgres().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        run = host.begun("stop", mirror_dir=mirror)
        started = time.monotonic()
        run.step("export")
        assert 0.9 < time.monotonic() - started < 1.9
    finally:
        os.kill(pid, signal.SIGCONT)
    assert host.completed(run)["outcome"] == "done"


def test_what_a_pinned_mirror_lacks_is_brought_up_to_date_after_the_stop(host: DataHost, tmp_path: Path) -> None:
    options: dict[str, Any] = {"mirror_dir": str(tmp_path / "mirror"), "policy": {"source": "mirror"}}
    host.mirror_now(mirror_dir=options["mirror_dir"])
    run = host.begun("stage", **options)
    new_chats(host.database, FIRST)
    report = host.completed(run)
    assert report["companies"][FIRST]["source"] == "mirror"
    assert host.keys_in_files(FIRST) == host.keys_in_rows(FIRST)


# A fresh copy that is worse than the proven one


def _most_keys_go(database: Database) -> None:
    database.run(
        "DELETE FROM whatsapp_keys WHERE company_id = %s AND key_type IN ('session', 'pre-key', 'identity-key')", FIRST
    )


def _a_new_identity(database: Database) -> None:
    """What an adapter makes that met an error: valid, and paired to nobody."""
    fresh = make_company(FIRST, 99, {})
    creds = {name: value for name, value in fresh.creds.items() if name not in ("me", "account")}
    database.run("DELETE FROM whatsapp_keys WHERE company_id = %s", FIRST)
    database.run("UPDATE whatsapp_auth SET creds = %s WHERE company_id = %s", stored(creds, "base64"), FIRST)


def _a_broken_key(database: Database) -> None:
    database.run("UPDATE whatsapp_keys SET value = '{}' WHERE company_id = %s AND key_type = 'session'", FIRST)


def _no_creds(database: Database) -> None:
    database.run("DELETE FROM whatsapp_auth WHERE company_id = %s", FIRST)


@pytest.mark.parametrize(
    ("ruin", "why"),
    [
        (_most_keys_go, "keys are gone"),
        (_a_new_identity, "not of the same user"),
        (_a_broken_key, "session #"),
        (_no_creds, "there is no row of creds"),
    ],
)
def test_a_proven_copy_is_not_replaced_by_a_worse_one_and_the_report_says_so(
    host: DataHost, ruin: Callable[[Database], None], why: str
) -> None:
    run = host.begun("stage")
    ruin(host.database)
    new_chats(host.database, SECOND)
    report = host.completed(run)
    problem = report["companies"][FIRST]["problem"]
    assert why in problem
    assert "the copy made before the stop is used" in problem
    assert (report["outcome"], report["companies"][SECOND]["problem"]) == ("partial", "")
    assert len(host.keys_in_files(FIRST)) == KEYS + 1
    assert host.creds(FIRST)["me"]["id"] == COMPANIES[0].creds["me"]["id"]
    assert host.keys_in_files(SECOND) == host.keys_in_rows(SECOND)


def test_a_copy_that_cannot_be_made_for_a_reason_of_this_host_is_that_companys_problem(
    host: DataHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = host.begun("stage")
    for company in (FIRST, SECOND):
        new_chats(host.database, company)
    finish = CompanyWriter.finish

    def full(self: CompanyWriter) -> str:
        if self._company == FIRST:
            raise NoSpace("No space left on device", operation="write", subject=FIRST, hint="free space")
        return finish(self)

    monkeypatch.setattr(CompanyWriter, "finish", full)
    report = host.completed(run)
    assert "No space left" in report["companies"][FIRST]["problem"]
    assert report["companies"][SECOND]["problem"] == ""
    assert len(host.keys_in_files(FIRST)) == KEYS + 1
    assert host.keys_in_files(SECOND) == host.keys_in_rows(SECOND)


def test_a_primary_that_dies_after_the_staging_leaves_what_is_staged_without_a_word_against_it(
    host: DataHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = host.begun("stage")
    host.params = replace(host.params, port=1)
    run = host.operation()
    report = host.completed(run)
    assert report["outcome"] == "done"
    assert len(host.keys_in_files(FIRST)) == KEYS + 1


@pytest.mark.parametrize("whole", [True, False])
def test_baileys_word_against_one_fresh_copy_drops_that_copy_only(
    host: DataHost, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """With `whole` False the proof itself cannot be had; the copies that were proven before the stop can."""
    run = host.begun("stage")
    for company in (FIRST, SECOND):
        new_chats(host.database, company)

    def prove(_context: Any, _home: Any, companies: list[str]) -> dict[str, Any]:
        if not whole:
            raise NoSpace("node cannot start", operation="load check", hint="")
        assert sorted(companies) == [FIRST, SECOND]
        return {"proven": True, "loaded": {SECOND: KEYS + 3}, "failed": {FIRST: "1 key is not loaded"}}

    monkeypatch.setattr(catch_up, "prove_by_baileys", prove)
    report = host.completed(run)
    assert report["outcome"] == "partial"
    assert len(host.keys_in_files(FIRST)) == KEYS + 1
    assert len(host.keys_in_files(SECOND)) == KEYS + 1 + (3 if whole else 0)
    assert ("1 key is not loaded" if whole else "node cannot start") in report["companies"][FIRST]["problem"]
    assert bool(report["companies"][SECOND]["problem"]) != whole


def test_the_real_baileys_refuses_one_companys_fresh_copy_and_the_other_goes_on(
    database: Database, tmp_path: Path
) -> None:
    node = nodejs.find()[0]
    nodejs.ensure_lab_packages(tmp_path, node)
    database.fill(*COMPANIES, form="base64")
    script = ROOT / "roles" / "toolkit" / "files" / "load_check.mjs"
    check = {"node": node, "script": str(script), "module_dir": str(ROOT / "lab" / "node")}
    host = DataHost(tmp_path / "host", database, [FIRST, SECOND], load_check=check)
    try:
        run = host.begun("stage")
        database.run("UPDATE whatsapp_auth SET creds = creds - 'me' WHERE company_id = %s", FIRST)
        new_chats(database, SECOND)
        report = host.completed(run)
    finally:
        host.close()
    assert "not of the same user" in report["companies"][FIRST]["problem"]
    assert report["proof"]["loaded"] == {FIRST: KEYS, SECOND: KEYS + 3}
    assert host.keys_in_files(SECOND) == host.keys_in_rows(SECOND)


def test_a_run_that_is_cut_off_between_two_companies_is_completed(
    host: DataHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for company in (FIRST, SECOND):
        host.place(company).mkdir(parents=True)
        (host.place(company) / "creds.json").write_text('{"old": 1}')
    run = host.begun("stop")
    for company in (FIRST, SECOND):
        new_chats(host.database, company)
    swap_in = type(host.settings().home()).swap_in
    swapped: list[str] = []

    def cut_off(self: Any, company: str, *words: Any) -> Any:
        if swapped:
            raise KeyboardInterrupt
        swapped.append(company)
        return swap_in(self, company, *words)

    monkeypatch.setattr(type(host.settings().home()), "swap_in", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run.step("export")
    monkeypatch.undo()
    assert host.completed(host.operation())["outcome"] == "done"
    for company in (FIRST, SECOND):
        assert host.keys_in_files(company) == host.keys_in_rows(company)
        assert len(host.keys_in_files(company)) == KEYS + 1 + 3
    kept = sorted((host.home / ".resilience" / "previous").glob("*/creds.json"))
    assert [path.read_text() for path in kept] == ['{"old": 1}'] * 2


def test_an_undo_after_the_catch_up_leaves_no_directory_behind(host: DataHost) -> None:
    run = host.begun("stop")
    new_chats(host.database, FIRST)
    run.step("export")
    assert host.place(FIRST).is_dir()
    run.undo("a test")
    assert not host.place(FIRST).exists()
    assert host.store == "postgres"


def test_a_failover_without_any_whole_copy_says_what_stands_against_it(host: DataHost, database: Database) -> None:
    database.run("ALTER TABLE whatsapp_auth DROP CONSTRAINT whatsapp_auth_pkey")
    database.run("INSERT INTO whatsapp_auth SELECT * FROM whatsapp_auth")
    with pytest.raises(StepFailed) as caught:
        host.operation().run()
    assert f"(company {FIRST}: primary: there are 2 rows of creds" in caught.value.cause
    assert "nothing was touched" in caught.value.hint
    assert host.store == "postgres"
