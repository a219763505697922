# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says of the room that the tables take, of how old the keys are, and of a VACUUM that is worth it."""

from __future__ import annotations

import pytest

from baileys_resilience.cleanup import room, run
from baileys_resilience.cleanup.run import clean_up, dry_run
from baileys_resilience.cleanup.telling import room_lines
from tests.integration.cleanup.conftest import MIX, OLD, Settings
from tests.support.databases import Database

TABLES = ("whatsapp_auth", "whatsapp_keys")
TOTAL = 2 * sum(MIX.values())


def on_disk(database: Database) -> list[int]:
    return [database.run(f"SELECT pg_total_relation_size('{table}')")[0][0] for table in TABLES]


def test_a_run_says_what_the_tables_take_before_and_after_it(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = on_disk(aged)
    planned = dry_run(settings()).room
    assert [planned.sizes[table].total for table in TABLES] == before
    carry_out = run._carry_out

    def carry_out_while_the_table_grows(*arguments: object) -> None:
        carry_out(*arguments)  # type: ignore[arg-type]
        aged.run(
            "INSERT INTO whatsapp_keys (company_id, key_type, key_id, value)"
            " SELECT '962301', 'session', n::text, to_json(repeat(md5(n::text), 20)) FROM generate_series(1, 400) n"
        )

    monkeypatch.setattr(run, "_carry_out", carry_out_while_the_table_grows)
    done = clean_up(settings())
    sizes = done.as_dict()["sizes"]
    assert [sum(sizes["before"][table].values()) for table in TABLES] == before
    assert [sum(sizes["after"][table].values()) for table in TABLES] == on_disk(aged) != before
    assert f"before {planned.total_bytes / 1e6:.1f} MB" in room_lines(done)[-1]


def test_a_run_says_how_old_the_keys_were(aged: Database, settings: Settings) -> None:
    for days, key_type in ((3, "session"), (10, "pre-key"), (20, "sender-key")):
        aged.run(f"UPDATE whatsapp_keys SET updated_at = now() - interval '{days} days' WHERE key_type = '{key_type}'")
    of_today = MIX["sender-key-memory"] - OLD + MIX["app-state-sync-key"]
    ages = {"<1d": 2 * of_today, "1-7d": 120, "7-14d": 120, "14-30d": 60, ">30d": 2 * OLD}
    done = clean_up(settings())
    assert list(done.plan.ages.items()) == list(ages.items()), "youngest first"
    assert room_lines(done)[0] == "before, written: " + ", ".join(f"{name} {number}" for name, number in ages.items())
    assert sum(clean_up(settings()).plan.ages.values()) == TOTAL - 2 * OLD


def test_a_vacuum_is_advised_where_much_went(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clean_up(settings(cap=OLD)).advice == "", "20 rows are nothing"
    monkeypatch.setattr(room, "MANY_AT_LEAST", 1)
    assert clean_up(settings(cap=1)).advice == "", "nor is one in hundreds"
    done = clean_up(settings())
    assert 'VACUUM (ANALYZE) "whatsapp_keys"; nobody waits for it' in done.advice
    assert "by itself once a fifth" in done.advice
    assert done.advice in room_lines(done)
    aged.run("UPDATE whatsapp_keys SET updated_at = now()")
    assert clean_up(settings()).advice == "", "nothing went"


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_vacuum_is_advised_after_every_deletion_where_autovacuum_is_off(
    aged: Database, settings: Settings, partitioned: bool
) -> None:
    table = "whatsapp_keys"
    if partitioned:
        table = "one"
        aged.run(
            "ALTER TABLE whatsapp_keys RENAME TO old; CREATE TABLE whatsapp_keys (LIKE old) PARTITION BY HASH (key_id);"
            "CREATE TABLE one PARTITION OF whatsapp_keys FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
            "INSERT INTO whatsapp_keys SELECT * FROM old; DROP TABLE old"
        )
    aged.run(f"ALTER TABLE {table} SET (fillfactor = 90, autovacuum_enabled = on)")
    assert clean_up(settings(cap=1)).advice == ""
    aged.run(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    assert "autovacuum is switched off" in clean_up(settings(cap=1)).advice


def test_a_connection_that_is_lost_behind_the_work_only_leaves_the_figures_out(
    aged: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = run._carry_out

    def carry_out_and_cut(*arguments: object) -> None:
        carry_out(*arguments)  # type: ignore[arg-type]
        aged.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'baileys-resilience'"
        )

    monkeypatch.setattr(run, "_carry_out", carry_out_and_cut)
    done = clean_up(settings())
    assert (done.number, done.as_dict()["sizes"]["after"], done.advice) == (2 * OLD, None, "")
    assert room_lines(done)[-1].startswith("the session tables take ")
