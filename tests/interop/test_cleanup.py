# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sessions of real Baileys after a cleanup: of 31, 60 and 400 days, restarted, and while they run. Beside them one
from which everything old was deleted, as a plan with 30 days would have it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.cleanup.plan import CleanupSettings
from baileys_resilience.cleanup.restore import restore
from baileys_resilience.cleanup.run import Cleaned, clean_up
from baileys_resilience.postgres import ConnectParams
from baileys_resilience.sessions.codec import bytes_of, encode_key
from baileys_resilience.sessions.model import TableMapping
from baileys_resilience.sessions.published import create_schema
from lab import Lab, processes

DAYS = {"962301": 31, "962302": 60, "962303": 400}
BY_AGE = "962304"
#: with and without what init-db makes
RUNNING = {True: "962305", False: "962306"}
MEMORIES, TOKENS = 30, 4
#: of the app state: what a phone mutes is in it
COLLECTION = "regular_high"


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


@dataclass(frozen=True)
class Shared:
    """What a phone and its device both hold of the app state, in base64."""

    key_id: str
    key: str
    version: int
    hash: str
    macs: dict[str, str]


def app_state(lab: Lab, company: str) -> Shared:
    """As the rows have it. A device without its version has seen nothing: 0."""
    key_id = run(lab, "SELECT creds->>'myAppStateKeyId' FROM whatsapp_auth WHERE company_id = %s", company)[0][0]
    key = value_of(lab, company, "app-state-sync-key", key_id).get("keyData", "")
    state = value_of(lab, company, "app-state-sync-version", COLLECTION)
    macs = {index: base64_of(entry["valueMac"]) for index, entry in state.get("indexValueMap", {}).items()}
    return Shared(key_id, key, state.get("version", 0), base64_of(state.get("hash")), macs)


def value_of(lab: Lab, company: str, key_type: str, key_id: str) -> dict[str, Any]:
    rows = run(
        lab, "SELECT value::text FROM whatsapp_keys WHERE (company_id, key_type, key_id) = (%s, %s, %s)",
        company, key_type, key_id,
    )  # fmt: skip
    return dict(json.loads(encode_key(key_type, key_id, rows[0][0].encode()))) if rows else {}


def base64_of(value: Any) -> str:
    return base64.b64encode(bytes_of(value) or b"").decode()


def mute(lab: Lab, company: str, before: Shared) -> tuple[int, str]:
    """The phone mutes a chat. Returns the version and hash of the app state, which the device is to come to."""
    known = {"version": before.version, "hash": before.hash, "macs": before.macs}
    after = lab.mute(company, COLLECTION, before.key_id, before.key, known)
    return after["version"], after["hash"]


def times_asked(lab: Lab, company: str) -> int:
    device = next(each for each in lab.devices() if each["jid"] == lab.jid(company))
    return int(device["app_state_asked"].get(COLLECTION, 0))


def read(lab: Lab, contact: str, text: str) -> None:
    def is_there() -> bool:
        inbox = lab.inbox(contact)
        assert [each for each in inbox if each.get("error")] == []
        return any(each.get("text") == text for each in inbox)

    processes.wait_until(is_there, f"{contact} reads {text!r}", 20)


def has_synced(lab: Lab, company: str, theirs: tuple[int, str]) -> bool:
    """Version and hash are what all changes that could be read add up to."""
    ours = app_state(lab, company)
    return (ours.version, ours.hash) == theirs


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
    shared = {company: app_state(lab, company) for company in DAYS}
    done = clean_up(settings(companies=list(DAYS)))
    cleaned(done)
    assert set(done.deleted) == set(DAYS)
    application(lab, "start")
    assert next_pre_keys(lab) == before, "no needless pre-keys were made"
    for company in DAYS:
        talk(lab, company, "after a cleanup")
        theirs = mute(lab, company, shared[company])
        processes.wait_until(partial(has_synced, lab, company, theirs), "the device reads what its phone changed", 20)
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
    before, shared = next_pre_keys(lab)[BY_AGE], app_state(lab, BY_AGE)
    run(lab, "DELETE FROM whatsapp_keys WHERE company_id = %s AND updated_at < now() - interval '30 days'", BY_AGE)
    application(lab, "start")
    assert lab.message(BY_AGE, "first contact", sender="a stranger") == "retry"
    assert lab.message(BY_AGE, "an old chat") == "retry"
    assert next_pre_keys(lab)[BY_AGE] > before
    asked = times_asked(lab, BY_AGE)
    theirs = mute(lab, BY_AGE, shared)
    processes.wait_until(lambda: times_asked(lab, BY_AGE) == asked + 2, "the device asks, and asks again", 20)
    assert lab.message(BY_AGE, "an old chat") == "retry", "it has gone on behind that"
    assert not has_synced(lab, BY_AGE, theirs), "without its key a change cannot be read"
