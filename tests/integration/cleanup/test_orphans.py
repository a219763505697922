# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of a company without creds: all that is left of a session for a while, and rubbish after a long one."""

from __future__ import annotations

import pytest

from baileys_resilience.cleanup import run
from baileys_resilience.cleanup.explain import explain
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import clean_up, dry_run
from baileys_resilience.errors import UsageError
from baileys_resilience.sessions.record import StoreRecord
from tests.integration.cleanup.conftest import COMPANIES, MIX, OLD, Settings
from tests.support.databases import Database

ORPHAN, OTHER = COMPANIES
KEYS = sum(MIX.values())
CREDS_AGAIN = f"INSERT INTO whatsapp_auth SELECT '{ORPHAN}', creds FROM whatsapp_auth WHERE company_id = '{OTHER}'"


def of(database: Database, company: str) -> list[tuple[object, ...]]:
    return database.run("SELECT * FROM whatsapp_keys WHERE company_id = %s ORDER BY key_type, key_id", company)


@pytest.fixture
def orphaned(aged: Database) -> Database:
    """The one has no creds, and nobody has written a key of it for 100 days; the other is a session."""
    aged.run("DELETE FROM whatsapp_auth WHERE company_id = %s", ORPHAN)
    aged.run("UPDATE whatsapp_keys SET updated_at = now() - interval '100 days' WHERE company_id = %s", ORPHAN)
    return aged


def test_after_a_long_time_all_of_it_goes_and_comes_back_byte_for_byte(orphaned: Database, settings: Settings) -> None:
    before = of(orphaned, ORPHAN)
    plan = dry_run(settings())
    assert plan.too_much == [], "the share of a session's keys is no measure for what is no session"
    assert {name: each["orphan"] for name, each in plan.as_dict()["companies"].items()} == {ORPHAN: True, OTHER: False}
    done = clean_up(settings())
    assert done.deleted == {ORPHAN: MIX, OTHER: {"sender-key-memory": OLD}}
    assert of(orphaned, ORPHAN) == []
    back = restore(settings(companies=[ORPHAN]), done.run, application_stopped=True)
    assert (back.number, back.refused) == (KEYS, {})
    assert of(orphaned, ORPHAN) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE whatsapp_keys SET updated_at = now() - interval '89 days' WHERE (company_id, key_type, key_id) ="
        f" (SELECT company_id, key_type, key_id FROM whatsapp_keys WHERE company_id = '{ORPHAN}' LIMIT 1)",
        "UPDATE whatsapp_keys SET updated_at = NULL WHERE (company_id, key_type, key_id) ="
        f" (SELECT company_id, key_type, key_id FROM whatsapp_keys WHERE company_id = '{ORPHAN}' LIMIT 1)",
        f"INSERT INTO whatsapp_auth (company_id, creds) VALUES ('{ORPHAN}', 'null')",
        "DELETE FROM whatsapp_auth",
    ],
    ids=["one was written later", "one has no time", "creds that cannot be read", "nobody has creds"],
)
def test_what_may_still_be_a_session_stays(orphaned: Database, settings: Settings, change: str) -> None:
    orphaned.run("ALTER TABLE whatsapp_keys ALTER COLUMN updated_at DROP NOT NULL")
    orphaned.run("ALTER TABLE whatsapp_auth ALTER COLUMN creds DROP NOT NULL")
    orphaned.run(change)
    before = of(orphaned, ORPHAN)
    done = clean_up(settings())
    assert ORPHAN not in done.deleted
    assert of(orphaned, ORPHAN) == before


def test_it_stays_where_it_is_told_to_and_where_the_company_lives_on_files(
    orphaned: Database, settings: Settings
) -> None:
    assert ORPHAN not in clean_up(settings(orphan_days=0)).deleted
    assert ORPHAN not in clean_up(settings(orphan_days=101)).deleted
    options = settings()
    StoreRecord(options.state_dir).move([ORPHAN], "files", by="r", places={ORPHAN: "/srv/1"})
    assert "lives on files" in {each.company: each.passed_over for each in dry_run(options).companies}[ORPHAN]
    assert ORPHAN not in clean_up(options).deleted


def test_creds_that_come_back_in_between_keep_it(
    orphaned: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch looks again, as it locks its rows."""
    make_plan = run.make_plan

    def planned(*arguments: object, **options: bool) -> object:
        plan = make_plan(*arguments, **options)  # type: ignore[arg-type]
        orphaned.run(CREDS_AGAIN)
        return plan

    monkeypatch.setattr(run, "make_plan", planned)
    assert ORPHAN not in clean_up(settings()).deleted
    assert len(of(orphaned, ORPHAN)) == KEYS


def test_keys_are_not_put_back_beside_creds_that_came_later(orphaned: Database, settings: Settings) -> None:
    done = clean_up(settings())
    orphaned.run(CREDS_AGAIN)
    back = restore(settings(companies=[ORPHAN]), done.run, application_stopped=True)
    assert back.number == 0
    assert "it had no creds then and has some now" in back.refused[ORPHAN]


def test_a_key_of_it_is_explained(orphaned: Database, settings: Settings) -> None:
    key = orphaned.run("SELECT key_id FROM whatsapp_keys WHERE company_id = %s AND key_type = 'session'", ORPHAN)[0][0]
    explained = {each.company: each for each in explain(settings(), f"session/{key}")}[ORPHAN]
    assert (explained.may_go, explained.why) == (True, "no creds, and no key written for 90 days")


@pytest.mark.parametrize("days", [29, -1, float("nan")])
def test_a_time_in_which_nobody_would_have_noticed_is_refused(settings: Settings, days: float) -> None:
    with pytest.raises(UsageError) as caught:
        dry_run(settings(orphan_days=days))
    assert caught.value.hint == "give 30 to 36500 days, or 0 for never"
