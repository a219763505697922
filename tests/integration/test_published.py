# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The copy of the store of record in PostgreSQL: what is written there, what stays, and what a host learns from it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience import cli
from baileys_resilience.errors import Misconfigured, Unavailable
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.plan import Plan
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions import published as publishing
from baileys_resilience.sessions.info import database_info
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.postgres_store import open_snapshot
from baileys_resilience.sessions.published import Reconciled, create_schema, reconcile
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreOfRecord, StoreRecord
from tests.support.databases import Database
from tests.support.synthetic import make_company

COMPANY = "962301"


@pytest.fixture
def schema(database: Database) -> None:
    with database.open() as connection, connection, connection.cursor() as cursor:
        assert create_schema(cursor)


class Host:
    """One application host: its record, and what it tells the database that all share."""

    def __init__(self, database: Database, directory: Path, name: str) -> None:
        self.name = name
        self.record = StoreRecord(directory / name)
        self._database = database

    def move(self, store: str) -> None:
        self.record.move([COMPANY], store, by=f"run-of-{self.name}", places={})

    def tell(self, **options: Any) -> Reconciled:
        return reconcile(self.record, self._database.params, self.name, [COMPANY], **options)

    @property
    def epoch(self) -> int:
        return self.record.get(COMPANY).epoch


@pytest.fixture
def app1(database: Database, schema: None, tmp_path: Path) -> Host:
    return Host(database, tmp_path, "app1")


@pytest.fixture
def app2(database: Database, schema: None, tmp_path: Path) -> Host:
    return Host(database, tmp_path, "app2")


def published(database: Database) -> tuple[Any, ...]:
    rows = database.run("SELECT store, epoch, host, run FROM baileys_resilience.stores WHERE company = %s", COMPANY)
    return rows[0] if rows else ()


def test_what_a_host_recorded_while_the_database_was_away_is_told_later(database: Database, app1: Host) -> None:
    assert app1.tell() == Reconciled()
    assert published(database) == ()
    app1.move(FILES)
    assert app1.tell().published == [COMPANY]
    assert published(database) == (FILES, 1, "app1", "run-of-app1")
    assert app1.tell() == Reconciled()
    app1.move(POSTGRES)
    app1.tell()
    assert published(database) == (POSTGRES, 2, "app1", "run-of-app1")


def lineage(database: Database) -> Any:
    """What a client reads: the epoch from which on the session was there all the time."""
    [(epoch, found)] = database.run("SELECT epoch, lineage FROM baileys_resilience.stores")
    return found[0] if found and found[1] == epoch else epoch


def test_it_is_told_from_which_epoch_on_the_session_was_there_all_the_time(database: Database, app1: Host) -> None:
    """A client with a journal of before a move that was taken back has to know that it is of this session still."""
    before = {COMPANY: app1.record.get(COMPANY)}
    app1.move(FILES)
    app1.tell()
    app1.record.restore(before, by="undo")
    app1.tell()
    assert (published(database)[1], lineage(database)) == (2, 0)
    for store in (FILES, POSTGRES):
        app1.move(store)
        app1.tell()
    assert (published(database)[1], lineage(database)) == (4, 4)


def test_a_table_of_an_earlier_version_is_completed_by_its_owner_and_serves_without(
    database: Database, app1: Host
) -> None:
    database.run("ALTER TABLE baileys_resilience.stores DROP COLUMN lineage")
    app1.move(FILES)
    assert app1.tell().published == [COMPANY]
    with database.open() as connection, connection, connection.cursor() as cursor:
        assert create_schema(cursor)
        assert not create_schema(cursor)
    assert (published(database)[:2], lineage(database)) == ((FILES, 1), 1)
    app1.move(POSTGRES)
    app1.tell()
    assert lineage(database) == 2


def test_a_higher_epoch_stays(database: Database, app1: Host) -> None:
    app1.move(FILES)
    database.run(
        "INSERT INTO baileys_resilience.stores VALUES (%s, 'postgres', 7, now() + interval '1 day', 'app2', 'later')",
        COMPANY,
    )
    found = app1.tell()
    assert published(database) == (POSTGRES, 7, "app2", "later")
    assert app1.epoch == 1
    assert "lives in postgres" in found.conflicts[COMPANY].cause


def test_a_higher_epoch_stays_also_when_it_came_between_the_look_and_the_writing(
    database: Database, app1: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    app1.move(FILES)
    database.run("INSERT INTO baileys_resilience.stores VALUES (%s, 'postgres', 7, now(), 'app1', 'later')", COMPANY)
    monkeypatch.setattr(publishing, "read_published", lambda *_arguments: {})
    assert app1.tell().published == []
    assert published(database) == (POSTGRES, 7, "app1", "later")


def test_a_second_host_takes_over_the_epoch_and_counts_on_from_it(database: Database, app1: Host, app2: Host) -> None:
    app1.move(FILES)
    app1.move(POSTGRES)
    app1.tell()
    assert app2.tell().adopted == [COMPANY]
    assert app2.record.get(COMPANY).lineage == 2
    app2.move(FILES)
    app2.tell()
    assert published(database) == (FILES, 3, "app2", "run-of-app2")


def test_a_move_made_without_knowing_the_epoch_is_raised_above_it(database: Database, app1: Host, app2: Host) -> None:
    app1.move(FILES)
    app1.move(POSTGRES)
    app1.tell()
    app2.move(FILES)
    assert app2.tell().published == [COMPANY]
    assert (app2.epoch, published(database)) == (3, (FILES, 3, "app2", "run-of-app2"))


def test_files_of_another_host_are_never_overwritten_but_by_a_human(database: Database, app1: Host, app2: Host) -> None:
    app2.move(FILES)
    app2.tell()
    for store in (FILES, POSTGRES, FILES):
        app1.move(store)
        assert "lives in files on app2" in app1.tell().conflicts[COMPANY].cause
    assert published(database)[2] == "app2"
    assert app1.tell(by_hand=True).published == [COMPANY]
    assert published(database)[:3] == (FILES, 2, "app1")


def test_without_the_schema_and_without_an_answer_the_error_says_what_to_do(database: Database, tmp_path: Path) -> None:
    record = StoreRecord(tmp_path)
    with pytest.raises(Misconfigured) as missing:
        reconcile(record, database.params, "app1", [COMPANY])
    assert "baileys-resilience init-db" in missing.value.hint
    with pytest.raises(Unavailable):
        reconcile(record, ConnectParams("127.0.0.1", 1), "app1", [COMPANY])


def test_the_schema_is_made_once_and_found_without_the_right_to_make_it(database: Database, schema: None) -> None:
    user = database.lab.need_postgres().user
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin:
        admin.autocommit = True
        admin.cursor().execute(
            f"ALTER DATABASE {database.name} OWNER TO CURRENT_USER; REVOKE ALL ON DATABASE"
            f' {database.name} FROM "{user}"; GRANT CONNECT ON DATABASE {database.name} TO "{user}"'
        )
    with database.open() as connection, connection.cursor() as cursor:
        assert not create_schema(cursor)


def test_a_canary_that_an_earlier_version_did_not_make_is_made_by_the_owner_and_missed_by_nobody_else(
    database: Database, schema: None
) -> None:
    user = database.lab.need_postgres().user
    database.run("DROP TABLE baileys_resilience.canary")
    with closing(database.lab.connect(superuser=True, direct=True, database=database.name)) as admin:
        admin.autocommit = True
        admin.cursor().execute(
            f"ALTER DATABASE {database.name} OWNER TO CURRENT_USER; REVOKE ALL ON DATABASE"
            f' {database.name} FROM "{user}"; GRANT CONNECT ON DATABASE {database.name} TO "{user}"'
        )
        with database.open() as connection, connection, connection.cursor() as cursor:
            assert create_schema(cursor), "who owns the schema needs no right on the database"
            assert not create_schema(cursor)
        admin.cursor().execute(
            "DROP TABLE baileys_resilience.canary; ALTER TABLE baileys_resilience.stores OWNER TO CURRENT_USER"
        )
        with database.open() as connection, connection.cursor() as cursor:
            assert not create_schema(cursor)


# What is done with it


def content(database: Database, tmp_path: Path, host: str = "app1") -> dict[str, Any]:
    params = database.params
    return {
        "host": host,
        "companies": [COMPANY],
        "database": {name: getattr(params, name) for name in ("host", "port", "dbname", "user", "password")},
        "sessions_dir": str(tmp_path / "sessions"),
        "state_dir": str(tmp_path / host),
        "application": {"dir": str(tmp_path / "app")},
        "policy": {"confirm": "all"},
    }


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> FailoverSettings:
    database.fill(make_company(COMPANY))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".env").write_text("USE_DATABASE_AUTH_STATE=true\n")
    return settings_from_dict(content(database, tmp_path))


def plan(settings: FailoverSettings, operation: str) -> Plan:
    return Operation(settings, operation).plan()


@pytest.mark.parametrize("operation", ["failover", "failback"])
@pytest.mark.parametrize(
    ("host", "hint"),
    [("app2", "fail it back on app2, or take it from this host's list"), ("app1", "this host's record was lost")],
)
def test_a_company_that_lives_on_files_elsewhere_is_not_taken_for_one_in_postgresql(
    settings: FailoverSettings, database: Database, tmp_path: Path, operation: str, host: str, hint: str
) -> None:
    with database.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    assert not [each for each in plan(settings, operation).blocked if "lives in files" in each]
    other = Host(database, tmp_path / "elsewhere", host)
    other.move(FILES)
    other.tell()
    made = plan(settings, operation)
    assert len([each for each in made.blocked if f"lives in files on {host}" in each]) == 1
    assert any("BLOCKED" in line and hint in line for line in made.sentences())
    with pytest.raises(Misconfigured) as refused:
        Operation(settings, operation).run()
    assert hint in refused.value.hint
    assert not (settings.state / "stores.json").exists()


def test_the_plan_says_in_one_line_that_the_schema_is_missing(settings: FailoverSettings) -> None:
    degraded = [line for line in plan(settings, "failover").degraded if "baileys_resilience" in line]
    assert len(degraded) == 1
    assert "baileys-resilience init-db" in degraded[0]


def test_an_info_shows_what_is_published_and_how_it_contradicts(
    database: Database, settings: FailoverSettings, tmp_path: Path
) -> None:
    record = StoreRecord(settings.state)

    def look() -> Any:
        with open_snapshot(database.params, TableMapping()) as snapshot:
            return database_info(snapshot, TableMapping(), [COMPANY], record)[0]

    assert (look().published, look().store_problem) == (None, "")
    with database.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    other = Host(database, tmp_path / "elsewhere", "app2")
    other.move(FILES)
    other.tell()
    seen = look()
    assert (seen.published.store, seen.published.host, seen.store) == (FILES, "app2", StoreOfRecord())
    assert "lives in files on app2" in seen.store_problem
    assert seen.creds_problems == []


def test_the_command_publishes_what_a_human_sets_and_says_so_when_it_could_not(
    database: Database, settings: FailoverSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "failover.json"

    def run(*words: str) -> Any:
        config.write_text(json.dumps(content(database, tmp_path)))
        config.chmod(0o600)
        assert cli.main(["--config", str(config), "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    assert "the schema baileys_resilience is not in PostgreSQL" in run("store", "set", "--to", "files")["not_published"]
    assert run("init-db")["changed"] is True
    assert run("init-db")["changed"] is False
    assert run("store", "set", "--to", "postgres")["not_published"] == ""
    assert published(database) == (POSTGRES, 2, "app1", "by hand")
    other = Host(database, tmp_path / "elsewhere", "app2")
    other.record.move([COMPANY], POSTGRES, by="r", places={})
    other.tell()
    other.move(FILES)
    other.tell()
    assert published(database) == (FILES, 3, "app2", "run-of-app2")
    run("store", "set", "--to", "postgres")
    assert published(database)[:3] == (POSTGRES, 4, "app1")
