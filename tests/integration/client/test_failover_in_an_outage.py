# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failover while the application's client carries its sessions through an outage: what it wrote is nowhere else, and
every later message must decrypt.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.errors import ApplicationError
from baileys_resilience.failover.operations import Outcome
from baileys_resilience.failover.sources import bring_mirror_up_to_date
from baileys_resilience.sessions.client_files import read_copy
from lab import Lab, processes
from tests.integration.failover.host import Host

STEPS_BEFORE_THE_STOP = ("preflight", "choose_source", "stage")
STEPS_FROM_THE_STOP = (
    "stop", "export", "verify", "record_store", "switch_code", "switch_env", "start", "verify_connection", "report",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _on_postgres_before_and_after(host: Host) -> Iterator[None]:
    host.lab.wait_open()
    processes.wait_until(lambda: client_states(host.lab) == {"online"}, "the client has its database", 20)
    bring_mirror_up_to_date(host.settings())
    yield
    host.lab.heal()
    assert {each["store"] for each in host.lab.wait_open()["companies"]} == {"postgres"}
    talk(host.lab, "at the end")
    assert {device["conflicts"] for device in host.lab.devices()} == {0}


def talk(lab: Lab, text: str) -> None:
    """Two turns with each company: whoever has not every step of its ratchets understands nothing after them."""
    for company in lab.companies:
        for turn in (1, 2):
            said = f"{text}, turn {turn} of {company.id}"
            assert lab.message(company.id, said) == "delivered"
            lab.send(company.id, f"re: {said}")
            read = partial(_was_read, lab, f"re: {said}")
            processes.wait_until(read, "the answer is read", 20)


def _was_read(lab: Lab, text: str) -> bool:
    return any(each.get("text") == text for each in lab.inbox())


def client_states(lab: Lab) -> set[str]:
    return {"outage" if each.get("last_error") else "online" for each in lab.health()["companies"]}


def sources(outcome: Outcome) -> set[str]:
    assert outcome.report is not None
    assert outcome.report["outcome"] == "done", outcome.markdown
    return {each["source"] for each in outcome.report["companies"].values()}


def back(host: Host) -> None:
    host.lab.heal()
    outcome = host.failback()
    assert outcome.report is not None
    assert outcome.report["outcome"] == "done", outcome.markdown


def go_on(host: Host, steps: tuple[str, ...], **overrides: Any) -> Outcome:
    outcome = None
    for step in steps:
        operation = host.operation(**overrides)
        outcome = operation.finish() if step == "report" else operation.step(step)
    assert outcome is not None
    return outcome


def test_messages_of_an_outage_are_in_the_files_and_every_later_one_decrypts(host: Host, lab: Lab) -> None:
    talk(lab, "before")
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    plan = "\n".join(host.operation().plan().sentences())
    assert f"source journal ({lab.client_dir}): answers, 0 s old" in plan
    outcome = host.failover()
    assert sources(outcome) == {"journal"}
    talk(lab, "on files")
    back(host)
    talk(lab, "back in the database")


def test_an_application_that_is_killed_in_the_outage_loses_nothing(host: Host, lab: Lab) -> None:
    lab.break_("postgres-freeze")
    talk(lab, "in the outage")
    os.kill(host.pid(), signal.SIGKILL)
    assert sources(host.failover()) == {"journal"}
    talk(lab, "on files")
    back(host)


def test_a_database_that_dies_between_the_copy_and_the_stop(host: Host, lab: Lab) -> None:
    host.operation().begin()
    staged = go_on(host, STEPS_BEFORE_THE_STOP)
    assert {each["source"] for each in staged.result["sessions"].values()} == {"primary"}
    lab.break_("postgres-kill")
    talk(lab, "between the copy and the stop")
    assert sources(go_on(host, STEPS_FROM_THE_STOP)) == {"journal"}
    talk(lab, "on files")
    back(host)


def test_a_journal_that_is_replayed_between_the_copy_and_the_stop(host: Host, lab: Lab) -> None:
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    host.operation().begin()
    staged = go_on(host, STEPS_BEFORE_THE_STOP)
    assert {each["source"] for each in staged.result["sessions"].values()} == {"journal"}
    lab.heal()
    processes.wait_until(lambda: client_states(lab) == {"online"}, "the client has its database again", 20)
    talk(lab, "back in the database")
    # Not that of the outage any more: the cache of a process that was stopped in order.
    assert sources(go_on(host, STEPS_FROM_THE_STOP)) == {"journal"}
    talk(lab, "on files")
    back(host)


def test_what_a_client_has_in_memory_only_is_taken_from_its_memory(host: Host, lab: Lab) -> None:
    """Its journal cannot be written, so nothing on disk has what it wrote."""
    in_the_way = Path(lab.client_dir) / f"{lab.companies[0].id}.journal"
    in_the_way.mkdir()
    lab.break_("postgres-kill")
    talk(lab, "in memory only")
    plan = "\n".join(host.operation().plan().sentences())
    assert "journal: the client goes on in memory only" in plan
    host.operation().begin()
    staged = go_on(host, STEPS_BEFORE_THE_STOP)
    assert {company: each["source"] for company, each in staged.result["sessions"].items()} == {
        lab.companies[0].id: "client", lab.companies[1].id: "journal",
    }  # fmt: skip
    talk(lab, "between the copy and the stop")
    assert sources(go_on(host, STEPS_FROM_THE_STOP)) == {"client", "journal"}
    talk(lab, "on files")
    in_the_way.rmdir()
    back(host)


def test_a_drained_client_goes_on_when_the_failover_is_taken_back(host: Host, lab: Lab) -> None:
    in_the_way = Path(lab.client_dir) / f"{lab.companies[0].id}.journal"
    in_the_way.mkdir()
    lab.break_("postgres-kill")
    talk(lab, "in memory only")
    index = host.worktree / "src" / "index.js"
    working = index.read_bytes()
    index.write_bytes(b"setInterval(() => {}, 1000);\n")
    in_the_way.rmdir()
    try:
        with pytest.raises(ApplicationError, match="Everything was taken back"):
            host.failover(application={"health": {"deadline_seconds": 2}})
    finally:
        index.write_bytes(working)
    lab.wait_open()
    talk(lab, "taken back, still without a database")


def test_rows_that_somebody_deleted_are_in_the_memory_of_the_client(host: Host, lab: Lab) -> None:
    lab.break_("rows-delete", company=lab.companies[0].id)
    outcome = host.failover()
    assert outcome.report is not None
    taken = {company: each["source"] for company, each in outcome.report["companies"].items()}
    assert taken == {lab.companies[0].id: "client", lab.companies[1].id: "primary"}
    talk(lab, "on files")
    back(host)


def test_a_damaged_journal_is_told_and_never_used(host: Host, lab: Lab) -> None:
    """The failover of the other company is not touched by it."""
    lab.break_("postgres-kill")
    talk(lab, "in the outage")
    damaged, whole = (company.id for company in lab.companies)
    journal = Path(lab.client_dir) / f"{damaged}.journal"
    content = bytearray(journal.read_bytes())
    content[len(content) // 2] ^= 1
    plan = "\n".join(host.operation().plan().sentences())
    assert "the journal was damaged" not in plan
    good = journal.read_bytes()
    journal.write_bytes(content)
    try:
        plan = "\n".join(host.operation().plan().sentences())
        assert f"company {damaged}: " in plan
        assert "journal: the journal was damaged or changed in line" in plan
        chosen = {each.company: each.sources for each in host.operation().plan().companies}
    finally:
        journal.write_bytes(good)
    assert (chosen[damaged], chosen[whole][0]) == (["client", "mirror"], "journal")
    assert read_copy(Path(lab.client_dir), damaged).keys
