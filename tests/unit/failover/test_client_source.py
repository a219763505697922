# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""May a journal be taken for the session? Only where nobody can have written it elsewhere since."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from baileys_resilience.failover import client_source
from baileys_resilience.failover.client_source import assess_journal, remember_written
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import Offer, SourceReport
from baileys_resilience.failover.sources import choose
from baileys_resilience.sessions.codec import sha256
from baileys_resilience.sessions.imported import Imported
from baileys_resilience.sessions.record import FILES, POSTGRES, StoreRecord
from tests.support.client_copies import COMPANY, age, own, write_cache, write_journal

DEAD = 2**22 + 1


@pytest.fixture
def settings(tmp_path: Path) -> FailoverSettings:
    (tmp_path / "client").mkdir()
    return settings_from_dict(
        {
            "host": "app1", "companies": [COMPANY], "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"), "client_dir": str(tmp_path / "client"),
            "database": {"host": "127.0.0.1", "port": 1, "dbname": "x", "user": "x", "password": "x"},
            "policy": {"confirm": "all"},
        }
    )  # fmt: skip


def left(settings: FailoverSettings, *, pid: int = DEAD, seconds_ago: float = 0.0, **more: object) -> None:
    directory = Path(settings.client_dir)
    write_cache(directory, **more)  # type: ignore[arg-type]
    write_journal(directory, **more)  # type: ignore[arg-type]
    age(directory, seconds_ago)
    own(directory, pid)


def source(kind: str, *, age_seconds: float = 0.0, answers: bool = True) -> SourceReport:
    return SourceReport(kind, kind, answers=answers, age_seconds=age_seconds, offers={COMPANY: Offer({"session": 2})})


def offer_of(settings: FailoverSettings, *others: SourceReport, ended_now: tuple[str, ...] = ()) -> Offer:
    return assess_journal(settings, [COMPANY], others, ended_now=ended_now).offers[COMPANY]


def known_writers(monkeypatch: pytest.MonkeyPatch, writers: Mapping[str, str] | None) -> None:
    monkeypatch.setattr(client_source, "_writers", lambda *_: writers)


def test_a_journal_that_is_being_written_comes_before_every_database(settings: FailoverSettings) -> None:
    left(settings, pid=os.getpid(), seconds_ago=3600)
    mirror = source("mirror", age_seconds=5)
    report = assess_journal(settings, [COMPANY], [source("primary", answers=False), mirror])
    assert (report.answers, report.problem, report.age_seconds) == (True, "", 0.0)
    assert report.offers[COMPANY].complete
    assert choose(settings, [report, mirror], [COMPANY]) == {COMPANY: ["journal", "mirror"]}


def test_one_of_a_dead_process_counts_while_no_source_has_seen_a_later_database(settings: FailoverSettings) -> None:
    left(settings, seconds_ago=3000)
    older, younger = source("mirror", age_seconds=3100), source("mirror", age_seconds=5)
    assert offer_of(settings, older).complete
    assert offer_of(settings, older).age_seconds == 0.0
    doubtful = offer_of(settings, younger)
    assert not doubtful.complete
    assert (doubtful.age_seconds or 0) >= 3000
    assert offer_of(settings, younger, ended_now=(COMPANY,)).complete
    report = assess_journal(settings, [COMPANY], [younger])
    assert choose(settings, [report, younger], [COMPANY]) == {COMPANY: ["mirror"]}


def test_postgresql_names_the_writer(settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    left(settings, seconds_ago=60, tokens=("t1", "t2"))
    primary = source("primary")
    known_writers(monkeypatch, {COMPANY: "t2"})
    assert offer_of(settings, primary).complete
    known_writers(monkeypatch, {COMPANY: "somebody"})
    assert offer_of(settings, primary).problem == "another process has written this session to the database since"
    known_writers(monkeypatch, {})
    assert "nothing tells whether the session was written elsewhere" in offer_of(settings, primary).problem
    left(settings, pid=os.getpid())
    assert offer_of(settings, primary).complete


def test_what_ended_in_order_comes_behind_a_primary_that_answers(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cache(Path(settings.client_dir), outage=None)
    known_writers(monkeypatch, {COMPANY: "t1"})
    assert not offer_of(settings, source("primary")).complete
    known_writers(monkeypatch, None)
    mirror = source("mirror", age_seconds=5)
    assert offer_of(settings, source("primary", answers=False), mirror).complete
    assert not offer_of(settings, source("primary", answers=False)).complete


def test_a_journal_of_before_a_failover_is_refused(settings: FailoverSettings) -> None:
    record = StoreRecord(settings.state)
    for store in (FILES, POSTGRES):
        record.move([COMPANY], store, by="run", places={})
    for epoch in (0, 1):
        left(settings, epoch=epoch)
        assert "the session has lived elsewhere since (epoch 2)" in offer_of(settings).problem
    left(settings, epoch=2)
    assert offer_of(settings).problem == ""


def test_a_client_without_epochs_is_judged_by_the_clock(settings: FailoverSettings) -> None:
    record = StoreRecord(settings.state)
    for store in (FILES, POSTGRES):
        record.move([COMPANY], store, by="run", places={})
    left(settings, began_at="2099-01-01T00:00:00.000Z")
    assert offer_of(settings).problem == ""


def test_without_an_outage_nothing_is_wrong(settings: FailoverSettings) -> None:
    report = assess_journal(settings, [COMPANY], [])
    assert (report.answers, report.problem, report.offers) == (False, "no outage was under way", {})
    elsewhere = replace(settings, client_dir=str(settings.state / "none"))
    assert "the application has no session client" in assess_journal(elsewhere, [COMPANY], []).problem


def test_a_client_that_goes_on_in_memory_only_is_not_whole_on_disk(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(settings, pid=os.getpid())
    monkeypatch.setattr(client_source, "journal_errors", lambda _directory: {COMPANY: "no space left"})
    report = assess_journal(settings, [COMPANY], [])
    assert report.offers[COMPANY].problem == "the client goes on in memory only: no space left"
    assert (report.answers, report.problem) == (False, report.offers[COMPANY].problem)


def test_every_version_that_the_client_wrote_is_remembered_as_its_own(settings: FailoverSettings) -> None:
    directory = Path(settings.client_dir)
    write_cache(directory)
    versions = ['"1@lid"', '"2@lid"']
    no_key = {"at": "", "changes": [["session", "x", "{}"]]}
    write_journal(directory, no_key, *({"at": "", "changes": [["lid-mapping", "x", text]]} for text in versions))
    imported = Imported(settings.state / "imported")
    remember_written(settings, imported, [COMPANY, "962399"])
    ours = imported.recall(COMPANY)
    assert all(ours.holds(("lid-mapping", "x"), sha256(text.encode())) for text in versions)
    assert not ours.holds(("lid-mapping", "x"), sha256(b'"3@lid"'))
