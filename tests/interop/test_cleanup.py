# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sessions of real Baileys after a cleanup: of 31, 60 and 400 days, restarted, and while they run. Beside them one
from which everything old was deleted, as a plan with 30 days would have it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import Cleaned, clean_up
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from lab import Lab, processes

DAYS = {"962301": 31, "962302": 60, "962303": 400}
BY_AGE = "962304"
#: with and without what init-db makes
RUNNING = {True: "962305", False: "962306"}
MEMORIES, TOKENS = 30, 4


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("cleanup") / "lab", [*DAYS, BY_AGE, *RUNNING.values()])
    try:
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def settings(lab: Lab) -> Callable[..., CleanupSettings]:
    server = lab.need_postgres()
    params = ConnectParams(server.host, server.direct_port, server.database, server.user, server.password)
    return partial(CleanupSettings, params, TableMapping(), Path(lab.state_dir))


def run(lab: Lab, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(lab.connect(direct=True)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def age(lab: Lab, company: str, days: int) -> None:
    """Every row of it was written so long ago, and each token says so, too."""
    run(lab, "UPDATE whatsapp_keys SET updated_at = now() - %s * interval '1 day' WHERE company_id = %s", days, company)
    then = int(time.time()) - days * 86400
    run(
        lab,
        "UPDATE whatsapp_keys SET value = value || jsonb_build_object('timestamp', %s::text, 'senderTimestamp', %s)"
        " WHERE company_id = %s AND key_type = 'tctoken' AND key_id <> '__index'",
        str(then), then, company,
    )  # fmt: skip


def application(lab: Lab, word: str) -> None:
    lab.pm2(word, lab.need_app().pm2_name)
    if word != "stop":
        lab.wait_open()


def next_pre_keys(lab: Lab) -> dict[str, int]:
    return dict(run(lab, "SELECT company_id, (creds->>'nextPreKeyId')::int FROM whatsapp_auth"))


def talk(lab: Lab, company: str, word: str) -> None:
    """Somebody new writes; an old contact does, with and without a LID, and in a group; each gets an answer."""
    group = next(each.group for each in lab.companies if each.id == company)
    stranger = f"new-{word}-{company}".replace(" ", "-")
    for contact in (stranger, "contact-1", "pn-contact-1"):
        for turn in (1, 2):
            said = f"{word}: {company} turn {turn}"
            assert lab.message(company, said, sender=contact) == "delivered"
            lab.send(company, f"re: {said}", to=contact)
            read(lab, contact, f"re: {said}")
    assert lab.message(company, f"{word}: group", group=group) == "delivered"
    lab.send(company, f"{word}: {company} to the group", to=group)
    read(lab, "contact-1", f"{word}: {company} to the group")


def read(lab: Lab, contact: str, text: str) -> None:
    def is_there() -> bool:
        inbox = lab.inbox(contact)
        assert [each for each in inbox if each.get("error")] == []
        return any(each.get("text") == text for each in inbox)

    processes.wait_until(is_there, f"{contact} reads {text!r}", 20)


def well(lab: Lab) -> bool:
    return not any(each.get("last_error") for each in lab.health()["companies"])


def cleaned(done: Cleaned) -> None:
    assert done.deleted == {each: {"sender-key-memory": MEMORIES, "tctoken": TOKENS} for each in done.deleted}


def test_old_sessions_that_are_cleaned_up_and_started_again_miss_nothing(
    lab: Lab, settings: Callable[..., CleanupSettings]
) -> None:
    application(lab, "stop")
    for company, days in DAYS.items():
        age(lab, company, days)
    before = next_pre_keys(lab)
    done = clean_up(settings(companies=list(DAYS)))
    cleaned(done)
    assert set(done.deleted) == set(DAYS)
    application(lab, "start")
    assert next_pre_keys(lab) == before, "no needless pre-keys were made"
    for company in DAYS:
        talk(lab, company, "after a cleanup")
    assert {device["retries"] for device in lab.devices()} == {0}


@pytest.mark.parametrize("fenced", [False, True], ids=["without init-db", "with init-db"])
def test_a_cleanup_and_its_restore_under_a_running_client_disturb_nothing(
    lab: Lab, settings: Callable[..., CleanupSettings], fenced: bool
) -> None:
    """The client holds what was deleted in memory, and after an outage compares that with the rows."""
    company = RUNNING[fenced]
    if fenced:
        with contextlib.closing(lab.connect(direct=True)) as connection, connection, connection.cursor() as cursor:
            create_schema(cursor)
        application(lab, "restart")  # the client looks for its table when it opens a session
    age(lab, company, 60)
    done = clean_up(settings(companies=[company]))
    cleaned(done)
    assert done.number == MEMORIES + TOKENS
    lab.break_("network-reset")
    processes.wait_until(lambda: not well(lab), "the client has noticed", 20)
    talk(lab, company, "in the outage")
    if fenced:
        kept = restore(settings(companies=[company]), done.run)
        assert (kept.number, kept.refused) == (done.number, {})
    lab.heal()
    processes.wait_until(lambda: well(lab), "everything is written", 30)
    application(lab, "restart")
    talk(lab, company, "started again")
    assert {(device["retries"], device["conflicts"]) for device in lab.devices()} == {(0, 0)}


def test_the_same_sessions_without_everything_that_is_older_than_30_days_are_broken(lab: Lab) -> None:
    application(lab, "stop")
    age(lab, BY_AGE, 31)
    before = next_pre_keys(lab)[BY_AGE]
    run(lab, "DELETE FROM whatsapp_keys WHERE company_id = %s AND updated_at < now() - interval '30 days'", BY_AGE)
    application(lab, "start")
    assert lab.message(BY_AGE, "first contact", sender="a stranger") == "retry"
    assert lab.message(BY_AGE, "an old chat") == "retry"
    assert next_pre_keys(lab)[BY_AGE] > before
