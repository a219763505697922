# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Twenty companies on one host: one that was logged out, or whose rows are damaged, never takes the others with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from baileys_resilience.failover.code import prepare
from baileys_resilience.failover.configuration import load_settings
from lab import Lab
from tests.faults.alive import assert_alive, wait_connected
from tests.faults.commands import command
from tests.support.lab_settings import write_settings

COMPANIES = 20


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab.up(tmp_path_factory.mktemp("many") / "lab", COMPANIES, client=False)
    yield made
    made.down()


@pytest.fixture(scope="module")
def config(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_settings(lab, tmp_path_factory.mktemp("config") / "failover.json")
    prepare(load_settings(path))
    return path


def test_a_company_that_was_logged_out_before_is_no_failure_and_all_others_live(lab: Lab, config: Path) -> None:
    gone, others = lab.companies[3].id, [each.id for each in lab.companies if each is not lab.companies[3]]
    command(config, "mirror", "once")
    lab.logout(gone)
    wait_logged_out(lab, gone)
    lab.break_("postgres-kill")
    answer = command(config, "failover", "run")
    report = answer["report"]
    assert report["outcome"] == "done"
    assert sorted(company for company, entry in report["companies"].items() if entry["connected"]) == sorted(others)
    assert report["companies"][gone]["problem"] == "it was logged out before"
    assert_alive(lab, config, "files", others)
    lab.heal()
    assert command(config, "failback", "run")["report"]["outcome"] == "done"
    assert_alive(lab, config, "postgres", others)


def wait_logged_out(lab: Lab, company: str) -> None:
    limit = time.monotonic() + 20
    while next(e for e in lab.health()["companies"] if e["company_id"] == company)["connection"] != "logged_out":
        assert time.monotonic() < limit, lab.health()
        time.sleep(0.1)


def test_a_company_without_a_whole_copy_stays_behind_and_is_named_while_the_others_move(
    lab: Lab, config: Path, tmp_path: Path
) -> None:
    damaged = lab.companies[5].id
    others = [each.id for number, each in enumerate(lab.companies) if number not in (3, 5)]
    bare = write_settings(lab, tmp_path / "bare.json", mirror_dir="")
    lab.break_("creds-corrupt", company=damaged, variant="tampered")
    stale = Path(lab.need_app().sessions_dir) / f"company_{damaged}"
    stale.mkdir(mode=0o700)
    (stale / "creds.json").write_text('{"of": "long ago"}')
    report = command(bare, "failover", "run", expect=11)["report"]
    assert not stale.exists(), "the code that runs from files would log this company in from what lies there"
    assert report["outcome"] == "partial"
    assert report["companies"][damaged]["store"] == "postgres"
    assert "public key does not belong to the private one" in report["companies"][damaged]["problem"]
    assert_alive(lab, bare, "files", others)
    command(bare, "failback", "run")
    lab.heal()
    wait_connected(lab, others)
    assert_alive(lab, bare, "postgres", others)
