# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a move leaves in the home and in the tables: no session with two writers, no row taken for a stranger's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.errors import StepFailed
from tests.support.data_host import DataHost
from tests.support.databases import Database
from tests.support.synthetic import SMALL_MIX, make_company

COMPANY = make_company("962301", 0, SMALL_MIX)


@pytest.fixture
def host(database: Database, tmp_path: Path) -> Iterator[DataHost]:
    database.fill(COMPANY, form="base64")
    host = DataHost(tmp_path / "host", database, [COMPANY.id], other_hosts={"app2": ["777"]})
    yield host
    host.close()


# Directories that the code on files would open beside ours


def a_session_in(directory: Path, text: str = '{"old": 1}') -> None:
    directory.mkdir(parents=True)
    (directory / "creds.json").write_text(text)


def opened_by_the_code(host: DataHost) -> list[str]:
    return sorted(each.name for each in host.home.iterdir() if not each.name.startswith("."))


def test_old_directories_of_other_hosts_companies_and_of_forgotten_ones_are_put_aside_and_back(
    host: DataHost,
) -> None:
    """Two writers on one session destroy it."""
    for company in ("777", "forgotten"):
        a_session_in(host.place(company))
    run = host.begun("export")
    assert opened_by_the_code(host) == ["company_962301"]
    run.undo("a test")
    assert opened_by_the_code(host) == ["company_777", "company_forgotten"]
    assert (host.place("777") / "creds.json").read_text() == '{"old": 1}'


def test_what_is_put_aside_is_kept_with_the_replaced_directories(host: DataHost) -> None:
    a_session_in(host.place("777"))
    host.operation().run()
    assert opened_by_the_code(host) == ["company_962301"]
    kept = list((host.home / ".resilience" / "previous").glob("company_777.*/creds.json"))
    assert [path.read_text() for path in kept] == ['{"old": 1}']


def test_a_company_that_lives_on_files_here_stays_where_it_is(host: DataHost) -> None:
    a_session_in(host.place("777"))
    host.settings()
    run = host.operation()
    run._context("").record.move(["777"], "files", by="earlier", places={"777": str(host.place("777"))})
    run.run()
    assert opened_by_the_code(host) == ["company_777", "company_962301"]


def test_directories_that_hold_no_session_are_not_ours_to_move(host: DataHost) -> None:
    """With a template that is nothing but the id, any directory looks like a company."""
    (host.home / "media").mkdir(parents=True)
    a_session_in(host.home / "777")
    host.operation(directory_template="{company_id}").run()
    assert opened_by_the_code(host) == ["962301", "media"]


# A failback after one that was taken back


def test_rows_that_an_undone_failback_wrote_are_not_taken_for_somebody_elses(host: DataHost) -> None:
    host.operation().run()
    host.writes_on_files(COMPANY.id, "v2")
    host.begun("verify", "failback").undo("a test")
    host.writes_on_files(COMPANY.id, "v3")
    host.writes_on_files(COMPANY.id, "v3", 1)
    host.begun("verify", "failback").undo("once more")
    host.writes_on_files(COMPANY.id, "v4")
    host.operation("failback").run()
    assert host.store == "postgres"
    sessions = host.database.run(
        "SELECT value->>'version' FROM whatsapp_keys WHERE key_type = 'session' ORDER BY 1 DESC LIMIT 2"
    )
    assert sessions == [("v4",), ("v3",)]


def test_what_somebody_writes_after_an_undone_failback_is_refused_all_the_same(host: DataHost) -> None:
    host.operation().run()
    host.writes_on_files(COMPANY.id, "v2")
    host.begun("verify", "failback").undo("a test")
    host.database.run(
        "UPDATE whatsapp_keys SET value = jsonb_set(value, '{version}', '\"theirs\"'),"
        " updated_at = now() + interval '5 s' WHERE key_type = 'session'"
    )
    with pytest.raises(StepFailed) as caught:
        host.operation("failback").run()
    assert "newer than the files" in caught.value.cause
    assert "newer_rows" in str(caught.value)
    assert host.store == "files"


def test_what_was_imported_is_forgotten_once_the_failback_is_over(host: DataHost) -> None:
    host.operation().run()
    host.writes_on_files(COMPANY.id, "v2")
    host.operation("failback").run()
    assert not any((host.root / "state" / "imported").glob("*"))
