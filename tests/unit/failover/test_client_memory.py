# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running client as a source: when it is asked, and that nothing is believed which is not what it said."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import now_iso
from baileys_resilience.errors import ApplicationError, ResilienceError, StepFailed, StoreError, Unavailable
from baileys_resilience.failover.client_admin import ask, journal_errors
from baileys_resilience.failover.client_memory import (
    ClientMemory,
    assess_client,
    discard_copies,
    drain,
    exported_of,
    last_copies,
    resume,
)
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import CLIENT, Offer, SourceReport
from baileys_resilience.failover.sources import refuse_doubtful_client
from baileys_resilience.failover.staging import stage_companies
from baileys_resilience.sessions.model import RawCreds, RawKey
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreRecord
from tests.support.client_admin import client, dribbling
from tests.support.client_copies import COMPANY, CREDS, KEYS, write_copy
from tests.support.synthetic import SMALL_MIX, make_company

EXPORT, DRAIN = f"POST /export?company={COMPANY}&form=file", f"POST /drain?company={COMPANY}&form=file&export=true"
STATUS = "GET /status"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a unix socket's name holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="client-") as path:
        yield Path(path)


@pytest.fixture
def settings(tmp_path: Path, directory: Path) -> FailoverSettings:
    return settings_from_dict(
        {
            "host": "app1", "companies": [COMPANY], "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"), "client_dir": str(directory),
            "database": {"host": "127.0.0.1", "port": 1, "dbname": "x", "user": "x", "password": "x"},
            "policy": {"confirm": "all"},
        }
    )  # fmt: skip


def status(**session: Any) -> dict[str, Any]:
    both = {"company": COMPANY, "state": "online", "counts": {"session": 2}, "undecodable": 0, "epoch": 0, **session}
    return {"identity": "x", "sessions": [both]}


def primary(*, answers: bool) -> SourceReport:
    return SourceReport("primary", "primary", answers=answers)


def offer(settings: FailoverSettings, session: dict[str, Any], *, answers: bool, on_disk: Offer | None = None) -> Offer:
    journal = SourceReport("journal", "", offers={COMPANY: on_disk} if on_disk else {})
    with client(Path(settings.client_dir), {STATUS: (200, status(**session))}):
        return assess_client(settings, [COMPANY], journal, [primary(answers=answers)]).offers[COMPANY]


def test_it_is_the_first_source_only_for_what_is_nowhere_else(settings: FailoverSettings) -> None:
    assert not offer(settings, {}, answers=True).complete
    assert offer(settings, {}, answers=False).complete
    assert offer(settings, {"state": "outage"}, answers=True).complete
    assert not offer(settings, {"state": "outage"}, answers=False, on_disk=Offer(complete=True)).complete
    assert offer(settings, {"state": "outage"}, answers=False, on_disk=Offer(problem="memory only")).complete


def test_what_stands_against_it(settings: FailoverSettings) -> None:
    assert offer(settings, {"undecodable": 3}, answers=False).problem == "3 keys in its memory are no keys"
    for store in (FILES, POSTGRES):
        StoreRecord(settings.state).move([COMPANY], store, by="run", places={})
    assert "has lived elsewhere since (epoch 2)" in offer(settings, {"epoch": 1}, answers=False).problem
    assert offer(settings, {"epoch": 2}, answers=False).problem == ""


def test_a_client_that_does_not_answer_is_told(settings: FailoverSettings) -> None:
    none = assess_client(settings, [COMPANY], SourceReport("journal", ""), [])
    assert (none.answers, none.offers) == (False, {})
    assert "the client does not answer" in none.problem
    away = replace(settings, client_dir=str(settings.state / "none"))
    assert "has no session client" in assess_client(away, [COMPANY], SourceReport("journal", ""), []).problem
    with client(Path(settings.client_dir), {STATUS: (200, {"sessions": []})}):
        empty = assess_client(settings, [COMPANY], SourceReport("journal", ""), [])
    assert empty.problem == "it runs, and none of these companies is open in it"


@pytest.mark.parametrize("answer", [(200, b"no json"), (200, []), (409, {"error": "it is full"}), (500, b"")])
def test_an_answer_that_is_none_is_an_error_with_a_hint(directory: Path, answer: tuple[int, Any]) -> None:
    with client(directory, {STATUS: answer}), pytest.raises((Unavailable, ApplicationError)) as caught:
        ask(str(directory), "GET", "/status", seconds=2)
    assert isinstance(caught.value, ResilienceError)
    assert caught.value.hint
    assert answer[0] != 409 or "it is full" in caught.value.cause


def test_journals_that_cannot_be_written_are_named(directory: Path) -> None:
    assert journal_errors(str(directory)) == {}
    with client(directory, {STATUS: (200, status(outage={"journal_error": "no space"}))}):
        assert journal_errors(str(directory)) == {COMPANY: "no space"}
    with client(directory, {STATUS: (200, status(outage={"journal_error": None}))}):
        assert journal_errors(str(directory)) == {}


def test_it_writes_a_copy_once_and_that_is_read(directory: Path) -> None:
    said = write_copy(directory / "exports")
    keys: list[RawKey] = []
    with client(directory, {EXPORT: (200, {"exported": {COMPANY: said}})}) as asked:
        source = ClientMemory(str(directory), {COMPANY: 4})
        source.stream_keys(COMPANY, keys.append)
        creds = source.creds(COMPANY)
        assert (source.info_of(COMPANY).kind, source.info_of(COMPANY).epoch) == ("client", 4)
        assert source.info_of(COMPANY).snapshot_at == said["snapshot_at"]
    assert creds == RawCreds(CREDS.encode(), None)
    assert {(key.type, key.id): key.value for key in keys} == {name: text.encode() for name, text in KEYS.items()}
    assert asked == [EXPORT]
    assert ClientMemory(str(directory), {}, {COMPANY: exported_of(COMPANY, said)}).info_of(COMPANY).epoch == 3


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"company": "962302"}, "of company 962302"),
        ({"version": 2}, "not baileys-resilience/client-copy of version 1"),
        ({"keys": 3}, "holds no whole session"),
        ({"sha256": "0" * 64}, "cut off or changed"),
        ({"snapshot_at": "yesterday"}, "cannot be read"),
        ({"epoch": None}, "cannot be read"),
    ],
)
def test_a_copy_that_is_none_is_refused(directory: Path, wrong: dict[str, Any], why: str) -> None:
    said = write_copy(directory / "exports", **wrong)
    with pytest.raises(StoreError, match=why):
        ClientMemory(str(directory), {}, {COMPANY: exported_of(COMPANY, said)}).creds(COMPANY)


def test_copies_that_were_taken_over_go(directory: Path) -> None:
    write_copy(directory / "exports")
    other = Path(write_copy(directory / "exports", "962302")["file"])
    discard_copies(str(directory), [COMPANY, "962303"])
    assert list((directory / "exports").iterdir()) == [other]
    discard_copies(str(directory / "none"), [COMPANY])


def test_another_copy_than_it_says_is_refused(directory: Path, tmp_path: Path) -> None:
    said = write_copy(directory / "exports")
    wrong = {**said, "sha256": "0" * 64}
    answers = {EXPORT: (200, {"exported": {COMPANY: wrong}})}
    with client(directory, answers), pytest.raises(StoreError, match="another copy than the client made"):
        ClientMemory(str(directory), {}).creds(COMPANY)
    with client(directory, {EXPORT: (200, {"exported": {}})}), pytest.raises(StoreError):
        ClientMemory(str(directory), {}).creds(COMPANY)
    with pytest.raises(StoreError, match="has another name"):
        ClientMemory(str(directory), {}).creds("a b")


def test_one_that_it_does_not_copy_takes_none_of_the_others_with_it(settings: FailoverSettings) -> None:
    other = "962302"
    context = FailoverContext(replace(settings, companies=(COMPANY, other)), "run", FILES)
    directory, whole = Path(settings.client_dir), make_company(COMPANY, 1, SMALL_MIX)
    for refusal in ((409, {"error": "its export failed (ENOSPC)"}), (200, {})):
        answers = {
            EXPORT: (200, {"exported": {COMPANY: write_copy(directory / "exports", whole=whole)}}),
            f"POST /export?company={other}&form=file": refusal,
        }
        with client(directory, answers):
            staged = stage_companies(context, {other: [CLIENT], COMPANY: [CLIENT]})
        assert (set(staged.sessions), set(staged.failed)) == ({COMPANY}, {other})


def test_a_drain_gives_the_last_copy(directory: Path) -> None:
    said = {"sha256": "abc", "snapshot_at": now_iso(), "keys": 3}
    with client(directory, {DRAIN: (200, {"drained": {COMPANY: {"state": "stopped", "export": said}}})}):
        found = drain(str(directory), COMPANY, accept_data_loss=False)
    assert found == {"sha256": "abc", "snapshot_at": said["snapshot_at"]}


def test_a_client_that_runs_and_makes_no_last_copy_is_not_stopped(directory: Path) -> None:
    with client(directory, {DRAIN: (409, {"error": "no space left"})}):
        with pytest.raises(ApplicationError) as caught:
            drain(str(directory), COMPANY, accept_data_loss=False)
        assert "no space left" in caught.value.cause
        assert "nothing was stopped" in caught.value.hint
        assert "no space left" in drain(str(directory), COMPANY, accept_data_loss=True)["error"]
    assert "the client does not answer" in drain(str(directory), COMPANY, accept_data_loss=False)["error"]


def test_a_last_copy_is_one_only_while_the_process_says_so(directory: Path) -> None:
    copies = {COMPANY: {"sha256": "abc", "snapshot_at": now_iso()}, "962302": {"error": "x"}}
    assert last_copies(str(directory), {}) == {}
    assert last_copies(str(directory), copies) == {}  # started anew by a boot, and gone again
    with client(directory, {STATUS: (200, {"sessions": [], "drained": {"companies": {COMPANY: "2026"}}})}):
        assert last_copies(str(directory), copies) == {COMPANY: copies[COMPANY]}
    with client(directory, {STATUS: (200, {"sessions": [], "drained": {"companies": {}}})}):
        assert last_copies(str(directory), copies) == {}


def test_what_stands_against_a_client_keeps_it_from_moving_while_it_runs() -> None:
    whole, lossy = Offer({"session": 2}), Offer({"session": 1}, "keys that the mirror holds are gone")
    refuse_doubtful_client([SourceReport("mirror", "", offers={COMPANY: lossy})], [COMPANY])
    refuse_doubtful_client([SourceReport("client", "", offers={COMPANY: whole})], [COMPANY])
    for offers in ({COMPANY: lossy}, {}):
        with pytest.raises(StepFailed) as caught:
            refuse_doubtful_client([SourceReport("client", "", offers=offers)], [COMPANY])
        assert "failover_mode restart" in caught.value.hint


def test_an_answer_that_dribbles_has_an_end(directory: Path) -> None:
    with dribbling(directory), pytest.raises(Unavailable, match="no end of its answer"):
        ask(str(directory), "GET", "/status", seconds=0.3)


def test_resume_asks_for_each_and_a_dead_client_needs_no_word(directory: Path) -> None:
    resume(str(directory), [COMPANY])
    with client(directory, {}) as asked:
        resume(str(directory), [COMPANY, "962302"])
    assert asked == [f"POST /resume?company={COMPANY}", "POST /resume?company=962302"]
