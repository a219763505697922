# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs on a host of several companies: what is wrong with one of them, or with the record, and with it alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.errors import StepFailed
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.sessions.record import StoreRecord
from tests.integration import toy_application
from tests.support.databases import Database
from tests.support.sources import assert_holds
from tests.support.synthetic import make_companies

COMPANIES = make_companies(3)
IDS = [company.id for company in COMPANIES]


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Iterator[FailoverSettings]:
    database.fill(*COMPANIES)
    app = tmp_path / "app"
    app.mkdir()
    (app / ".env").write_text("PORT=1\n")
    words = [sys.executable, toy_application.__file__, str(tmp_path)]
    service = {"manager": "argv", "name": "toy", **{each: [*words, each] for each in ("start", "stop", "status")}}
    health = {"kind": "command", "command": [*words, "health", *IDS], "deadline_seconds": 10}
    given = settings_from_dict(
        {
            "host": "app1",
            "companies": IDS,
            "database": database.params,
            "sessions_dir": str(app / "baileys_sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": str(app), "service": service, "health": health},
            "policy": {"confirm": "all", "operator": "test", "cooldown_seconds": 0, "connect_seconds": 5},
        }
    )
    toy_application.main(tmp_path, "start", [])
    yield given
    toy_application.main(tmp_path, "stop", [])


def stores(settings: FailoverSettings) -> dict[str, str]:
    return {company: StoreRecord(settings.state).get(company).store for company in IDS}


def test_a_stray_file_keeps_its_own_company_behind_and_no_other(settings: FailoverSettings) -> None:
    home = settings.home()
    place = home.directory(IDS[2])
    place.mkdir(parents=True)
    (place / "creds.json").write_text("{}")
    (place / "notes.txt").write_text("mine")
    report = Operation(settings, "failover").run().report
    assert report is not None
    assert stores(settings) == {IDS[0]: "files", IDS[1]: "files", IDS[2]: "postgres"}
    for company in COMPANIES[:2]:
        assert_holds(home.directory(company.id), company)
    assert "notes.txt" in json.dumps(report["companies"][IDS[2]])
    # Out of the application's sight, whose ratchets in there are old, and for good: it is not ours to remove.
    assert not place.exists()
    (kept,) = (home.private / "previous").iterdir()
    assert (kept / "notes.txt").read_text() == "mine"
    assert not kept.name.rsplit(".", 1)[1].isdigit()


def test_a_lost_record_does_not_let_old_rows_overwrite_live_files(settings: FailoverSettings) -> None:
    Operation(settings, "failover").run()
    session = next(settings.home().directory(IDS[0]).glob("session-*.json"))
    moved_on = {**json.loads(session.read_text()), "version": "ratchet that moved on files"}
    session.write_text(json.dumps(moved_on))
    shutil.rmtree(settings.state)
    with pytest.raises(StepFailed) as caught:
        Operation(settings, "failover").run()
    assert "the application says that it runs from files" in caught.value.cause
    assert "baileys-resilience store set --to files" in caught.value.hint
    assert json.loads(session.read_text()) == moved_on
    assert Operation(settings, "failover").status()["open_run"] is None
    StoreRecord(settings.state).move(IDS, "files", by="by hand", places={})
    assert not Operation(settings, "failover").run().changed
