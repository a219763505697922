# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cleanup deletes what it planned and nothing else, archived first, and stops where that is not safe."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup import archive, batches, run
from baileys_resilience.cleanup.choosing import choose
from baileys_resilience.cleanup.commands import _archives as dispatch_archives
from baileys_resilience.cleanup.explain import explain
from baileys_resilience.cleanup.run import clean_up, dry_run
from baileys_resilience.errors import (
    Busy,
    Conflict,
    Misconfigured,
    NoSpace,
    ReadOnly,
    Refused,
    StoreError,
    Unavailable,
    UsageError,
)
from baileys_resilience.failover.mirror.policy import DeletionLimits, deletion_incident
from baileys_resilience.failover.source_reports import loss_problem
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from baileys_resilience.sessions.record import StoreRecord
from tests.integration.cleanup.conftest import COMPANIES, MIX, OLD, Settings, contents
from tests.support.databases import Database
from tests.support.synthetic import make_company

OLD_MEMORY = "key_type = 'sender-key-memory' AND updated_at < now() - interval '30 days'"


def test_a_dry_run_says_what_goes_and_changes_nothing(aged: Database, settings: Settings, tmp_path: Path) -> None:
    before = aged.everything(versions=True)
    plan = dry_run(settings())
    assert aged.everything(versions=True) == before
    assert not (tmp_path / "state").exists()
    assert (plan.number, plan.total, plan.by_type) == (2 * OLD, 2 * sum(MIX.values()), {"sender-key-memory": 2 * OLD})
    assert plan.as_dict()["companies"][COMPANIES[0]]["share"] == round(OLD / sum(MIX.values()), 4)


def test_what_was_planned_goes_and_every_other_row_is_untouched(aged: Database, settings: Settings) -> None:
    before = aged.everything(versions=True)
    going = {row[:2] for row in aged.run(f"SELECT company_id, key_id FROM whatsapp_keys WHERE {OLD_MEMORY}")}
    done = clean_up(settings())
    assert done.deleted == {company: {"sender-key-memory": OLD} for company in COMPANIES}
    assert (done.left, done.plan.number) == (0, 2 * OLD)
    assert aged.everything(versions=True) == [
        row for row in before if (row[2], row[4]) not in going or row[3] != "sender-key-memory"
    ]
    path = Path(done.archive)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found, batches = contents(path)
    assert {(each.company, row[2]) for each in batches for row in each.rows} == going
    assert (found.ended, found.undecided, found.keys) == ("done", None, 2 * OLD)
    again = clean_up(settings())
    assert (again.number, again.run) == (0, "")
    assert archive.runs(path.parent) == [done.run]


def test_at_most_the_cap_goes_in_a_run(aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_ROWS", 7)
    first = clean_up(settings(cap=OLD + 5))
    assert (first.number, first.left) == (OLD + 5, OLD - 5)
    assert len(contents(Path(first.archive))[1]) == 4
    assert clean_up(settings(cap=OLD + 5)).number == OLD - 5


def test_too_great_a_share_of_one_company_stops_the_whole_run(aged: Database, settings: Settings) -> None:
    aged.run("UPDATE whatsapp_keys SET updated_at = now() - interval '31 days' WHERE company_id = %s", COMPANIES[1])
    total = sum(MIX.values())
    before = aged.everything(versions=True)
    with pytest.raises(Misconfigured) as stopped:
        clean_up(settings(max_share=0.15))
    assert f"{MIX['sender-key-memory']} of {total} keys" in stopped.value.cause
    assert "nothing is deleted" in stopped.value.cause
    assert stopped.value.subject == COMPANIES[1]
    assert "--max-share" in stopped.value.hint
    assert aged.everything(versions=True) == before
    assert clean_up(settings(max_share=0.15, companies=[COMPANIES[0]])).number == OLD
    assert clean_up(settings(max_share=0.2)).number == MIX["sender-key-memory"]


def test_few_keys_are_no_great_share(aged: Database, settings: Settings) -> None:
    """As for the mirror and a failover, which would refuse PostgreSQL as a source if more were gone."""
    aged.run("DELETE FROM whatsapp_keys WHERE key_type <> 'sender-key-memory' OR company_id = '962302'")
    with pytest.raises(Misconfigured):
        clean_up(settings())
    ten = f"key_id IN (SELECT key_id FROM whatsapp_keys WHERE {OLD_MEMORY} LIMIT {OLD - 10})"
    aged.run(f"DELETE FROM whatsapp_keys WHERE {ten}")
    assert clean_up(settings()).number == 10


def test_what_the_mirror_and_a_failover_would_take_for_a_loss_stops_the_run(
    database: Database, settings: Settings
) -> None:
    """A few of what Baileys never deletes is enough for them, however small its share is."""
    database.fill(make_company("962301", 1, {"session": 100, "identity-key": 6, "lid-mapping": 10}))
    database.run("UPDATE whatsapp_keys SET updated_at = now()")
    by_age = partial(settings, policy=choose("age", accept_data_loss=True))
    for number in (3, 4):
        database.run(
            "UPDATE whatsapp_keys SET updated_at = now() - interval '31 days' WHERE key_type = 'identity-key' AND"
            " key_id IN (SELECT key_id FROM whatsapp_keys WHERE key_type = 'identity-key'"
            f" ORDER BY key_id LIMIT {number})"
        )
        counts = dict(database.run("SELECT key_type, count(*) FROM whatsapp_keys GROUP BY 1"))
        plan = dry_run(by_age())
        gone = {**counts, "identity-key": counts["identity-key"] - number}
        assert bool(plan.too_much) == bool(loss_problem(counts, gone)) == (number == 4)
        assert bool(plan.too_much) == bool(deletion_incident({"identity-key": number}, 116, DeletionLimits()))
    with pytest.raises(Misconfigured) as stopped:
        clean_up(by_age())
    assert "4 of them of types that Baileys never deletes" in stopped.value.cause
    assert "--max-share" in stopped.value.hint
    assert clean_up(by_age(max_share=0.5)).number == 4


def test_rows_of_no_company_are_in_nobodys_way(aged: Database, settings: Settings) -> None:
    aged.run(
        "ALTER TABLE whatsapp_keys DROP CONSTRAINT whatsapp_keys_pkey; ALTER TABLE whatsapp_keys ALTER company_id DROP"
        " NOT NULL; INSERT INTO whatsapp_keys (key_type, key_id, value) VALUES ('session', 'x', '{}')"
    )
    assert clean_up(settings()).number == 2 * OLD


def test_a_key_that_is_written_meanwhile_stays(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the plan and the batch, and while the batch waits for nobody."""
    used, held = (
        row[0]
        for row in aged.run(f"SELECT key_id FROM whatsapp_keys WHERE {OLD_MEMORY} AND company_id = '962301' LIMIT 2")
    )
    planned = run.make_plan

    def plan_then_write(*arguments: Any, **options: Any) -> Any:
        plan = planned(*arguments, **options)
        aged.run("UPDATE whatsapp_keys SET updated_at = now() WHERE key_id = %s", used)
        return plan

    monkeypatch.setattr(run, "make_plan", plan_then_write)
    with aged.open() as writer, writer.cursor() as cursor:
        cursor.execute("UPDATE whatsapp_keys SET value = '{}' WHERE key_id = %s", (held,))
        done = clean_up(settings())
        writer.commit()
    assert done.deleted[COMPANIES[0]] == {"sender-key-memory": OLD - 2}
    assert {row[0] for row in aged.run("SELECT key_id FROM whatsapp_keys")} >= {used, held}


def test_a_key_that_is_written_as_a_batch_begins_stays_also_where_transactions_are_serializable(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged.run(f"ALTER DATABASE {aged.name} SET default_transaction_isolation = 'serializable'")
    asked = batches.standing

    def ask_then_write(*arguments: Any) -> Any:
        answer = asked(*arguments)
        aged.run(f"UPDATE whatsapp_keys SET updated_at = now() WHERE {OLD_MEMORY} AND company_id = '962301'")
        return answer

    monkeypatch.setattr(batches, "standing", ask_then_write)
    assert clean_up(settings()).deleted == {COMPANIES[1]: {"sender-key-memory": OLD}}


def test_companies_whose_rows_are_not_the_session_are_passed_over_and_named(
    aged: Database, settings: Settings, tmp_path: Path
) -> None:
    StoreRecord(tmp_path / "state").move([COMPANIES[0]], "files", by="r", places={COMPANIES[0]: "/srv/1"})
    aged.run("DELETE FROM whatsapp_auth WHERE company_id = %s", COMPANIES[1])
    before = aged.everything(versions=True)
    done = clean_up(settings())
    assert aged.everything(versions=True) == before
    reasons = {each.company: each.passed_over for each in done.plan.companies}
    assert "lives on files" in reasons[COMPANIES[0]]
    assert "no creds" in reasons[COMPANIES[1]]
    assert done.plan.as_dict()["companies"][COMPANIES[0]]["number"] == 0


def test_a_company_that_moves_to_files_during_the_run_keeps_what_is_left(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host says so, in PostgreSQL."""
    with aged.open() as connection, connection, connection.cursor() as cursor:
        create_schema(cursor)
    planned = run.make_plan

    def plan_then_move(*arguments: Any, **options: Any) -> Any:
        plan = planned(*arguments, **options)
        aged.run("INSERT INTO baileys_resilience.stores VALUES (%s, 'files', 1, now(), 'elsewhere', 'r')", COMPANIES[0])
        return plan

    monkeypatch.setattr(run, "make_plan", plan_then_move)
    assert clean_up(settings()).deleted == {COMPANIES[1]: {"sender-key-memory": OLD}}


def test_a_server_that_takes_no_writes_is_only_looked_at(aged: Database, settings: Settings) -> None:
    params = replace(aged.params, extra={"options": "-c default_transaction_read_only=on"})
    read_only = replace(settings(), database=params)
    assert dry_run(read_only).number == 2 * OLD
    with pytest.raises(ReadOnly) as refused:
        clean_up(read_only)
    assert "primary" in refused.value.hint


def test_a_rule_that_changes_what_a_delete_does_is_found_out_and_the_batch_taken_back(
    aged: Database, settings: Settings
) -> None:
    aged.run("CREATE RULE none AS ON DELETE TO whatsapp_keys WHERE OLD.company_id = '962302' DO INSTEAD NOTHING")
    with pytest.raises(Conflict) as refused:
        clean_up(settings())
    assert "rules" in refused.value.hint
    assert aged.run(f"SELECT count(*), min(company_id) FROM whatsapp_keys WHERE {OLD_MEMORY}") == [(OLD, "962302")]


def test_a_role_that_may_not_delete_is_told_which_right_it_lacks(aged: Database, settings: Settings) -> None:
    aged.run("REVOKE DELETE ON whatsapp_keys FROM CURRENT_USER")
    with pytest.raises(Refused) as refused:
        clean_up(settings())
    assert "grant" in refused.value.hint


@contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    """As on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_archive_keeps_every_key(aged: Database, settings: Settings, tmp_path: Path) -> None:
    before = aged.everything(versions=True)
    (tmp_path / "a file").write_text("")
    with pytest.raises(StoreError):
        clean_up(settings(archive_dir=tmp_path / "a file" / "below"))
    with files_of_at_most(700), pytest.raises(NoSpace) as full:
        clean_up(settings())
    assert "free space" in full.value.hint
    assert [row[1:] for row in aged.everything()] == [row[1:] for row in before]
    done = clean_up(settings())
    assert (len(done.reconciled), done.number) == (1, 2 * OLD)


@pytest.mark.parametrize("limit", [0, 100])
def test_an_archive_that_could_not_even_begin_is_in_nobodys_way(aged: Database, settings: Settings, limit: int) -> None:
    with files_of_at_most(limit), pytest.raises(NoSpace):
        clean_up(settings())
    listed = dispatch_archives(settings())
    assert (len(listed.content["archives"]), listed.exit_code) == (1, 0)
    assert "before it deleted anything" in listed.lines[0]
    done = clean_up(settings())
    assert (done.number, done.reconciled) == (2 * OLD, [])
    assert archive.runs(settings().archives) == [done.run]


def test_a_connection_that_is_lost_before_the_commit_is_found_out_by_the_next_run(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = archive.Writer.batch

    def write_then_cut(self: archive.Writer, header: archive.BatchHeader, rows: archive.Rows) -> None:
        write(self, header, rows)
        aged.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'baileys-resilience'"
        )

    monkeypatch.setattr(archive.Writer, "batch", write_then_cut)
    with pytest.raises(Unavailable):
        clean_up(settings())
    monkeypatch.undo()
    assert aged.run(f"SELECT count(*) FROM whatsapp_keys WHERE {OLD_MEMORY}")[0][0] == 2 * OLD
    done = clean_up(settings())
    (cut,) = done.reconciled
    found, batches = contents(archive.path_of(settings().archives, cut))
    assert (found.ended, found.undecided, batches) == ("cut off", None, [])


def test_a_disk_that_hangs_while_a_batch_is_archived_holds_no_client_up(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And neither does a host that is cut off from the network: the server itself lets go of the rows."""
    write = archive.Writer.batch

    def hang_until_a_client_has_written(self: archive.Writer, header: archive.BatchHeader, rows: archive.Rows) -> None:
        aged.run(
            "SET lock_timeout = '20s'; UPDATE whatsapp_keys SET updated_at = now() WHERE company_id = '962301' AND"
            f" key_id = (SELECT min(key_id) FROM whatsapp_keys WHERE company_id = '962301' AND {OLD_MEMORY})"
        )
        write(self, header, rows)

    monkeypatch.setattr(batches, "LOCKED_SECONDS", 0.2)
    monkeypatch.setattr(archive.Writer, "batch", hang_until_a_client_has_written)
    with pytest.raises(Unavailable, match="the server took it back"):
        clean_up(settings())
    monkeypatch.undo()
    done = clean_up(settings())
    assert (len(done.reconciled), done.number) == (1, 2 * OLD - 1)


def test_one_cleanup_at_a_time_on_a_host_and_one_batch_on_a_database(
    aged: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "TURN_SECONDS", 0.2)
    with run.locked(settings()), pytest.raises(Busy) as busy:
        clean_up(settings())
    assert busy.value.retryable
    with aged.open() as other, other.cursor() as cursor:
        cursor.execute(batches.LOCK)
        with pytest.raises(Busy, match="another host"):
            clean_up(settings(archive_dir=tmp_path / "elsewhere"))
    assert aged.run(f"SELECT count(*) FROM whatsapp_keys WHERE {OLD_MEMORY}")[0][0] == 2 * OLD


def test_without_a_column_for_the_time_only_what_keeps_its_own_may_go(aged: Database, settings: Settings) -> None:
    aged.run("ALTER TABLE whatsapp_keys DROP COLUMN updated_at")
    aged.run(
        "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
        """ VALUES ('962301', 'tctoken', 'x', '{"timestamp": 1600000000}')"""
    )
    keys = replace(TableMapping().keys, updated_at=None)
    undated = replace(settings(), tables=replace(TableMapping(), keys=keys))
    assert clean_up(undated).deleted == {"962301": {"tctoken": 1}}


def test_partitions_are_cleaned_up_like_one_table(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several batches: rows of two partitions are at the same place then, one of them in this batch only."""
    monkeypatch.setattr(batches, "BATCH_ROWS", 6)
    aged.run(
        "ALTER TABLE whatsapp_keys RENAME TO old; CREATE TABLE whatsapp_keys (LIKE old) PARTITION BY HASH (key_id);"
        "CREATE TABLE one PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE two PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO whatsapp_keys SELECT * FROM old; DROP TABLE old"
    )
    assert clean_up(settings()).number == 2 * OLD


def test_by_age_with_accepted_loss_the_pairs_stay_together(aged: Database, settings: Settings) -> None:
    aged.run("UPDATE whatsapp_keys SET updated_at = now() - interval '60 days'")
    by_age = settings(policy=choose("age", accept_data_loss=True), max_share=1.0)
    first = clean_up(by_age)
    for kinds in first.deleted.values():
        assert (kinds["sender-key-memory"], kinds["session"]) == (30, 60)
        assert not {"app-state-sync-key", "pre-key"} & set(kinds)
    left = {row[0] for row in aged.run("SELECT DISTINCT key_type FROM whatsapp_keys")}
    assert left == {"app-state-sync-key", "pre-key", "sender-key"}
    assert clean_up(by_age).deleted == {company: {"sender-key": 30} for company in COMPANIES}


def test_a_key_is_explained(aged: Database, settings: Settings, tmp_path: Path) -> None:
    company, key_id = aged.run(f"SELECT company_id, key_id FROM whatsapp_keys WHERE {OLD_MEMORY} LIMIT 1")[0]
    aged.run("INSERT INTO whatsapp_keys SELECT '962303', key_type, key_id, value FROM whatsapp_keys WHERE key_id = %s"
             " AND company_id = %s", key_id, company)  # fmt: skip
    assert "no creds" in explain(settings(companies=["962303"]), f"sender-key-memory/{key_id}")[0].why
    chosen = settings(companies=[company])
    (goes,) = explain(chosen, f"sender-key-memory/{key_id}")
    assert (goes.may_go, "written 31 d" in goes.sentence(), goes.company) == (True, True, company)
    pre_key = aged.run("SELECT key_id FROM whatsapp_keys WHERE company_id = %s AND key_type = 'pre-key'", company)[0][0]
    (stays,) = explain(chosen, f"pre-key/{pre_key}")
    assert (stays.may_go, "hands its id out" in stays.sentence()) == (False, True)
    StoreRecord(tmp_path / "state").move([company], "files", by="r", places={company: "/srv/1"})
    assert "lives on files" in explain(chosen, f"sender-key-memory/{key_id}")[0].why
    for wrong, hint in (("pre-key", "type/id"), ("pre-key/nobody", "session_info")):
        with pytest.raises(UsageError) as refused:
            explain(settings(), wrong)
        assert hint in refused.value.hint


@pytest.mark.parametrize(
    "options", [{"cap": 0}, {"max_share": 1.5}, {"max_share": -0.1}, {"keep_days": 0.0}, {"companies": []}]
)
def test_numbers_that_cannot_be_meant_are_refused(settings: Settings, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        clean_up(settings(**options))
    assert refused.value.hint
