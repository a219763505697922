# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and report: what a human reads of them, and that neither a secret nor a key id is among it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from baileys_resilience.clock import from_iso
from baileys_resilience.failover import plan as planning
from baileys_resilience.failover.context import FailoverContext
from baileys_resilience.failover.failover_steps import failover_steps
from baileys_resilience.failover.operations import Operation
from baileys_resilience.failover.plan import make_plan
from baileys_resilience.failover.report import as_markdown, failed_companies, headline, make_report, plan_markdown
from baileys_resilience.failover.settings import FailoverSettings, settings_from_dict
from baileys_resilience.failover.source_reports import Offer, SourceReport
from baileys_resilience.sessions.record import StoreRecord
from baileys_resilience.steps.journal import RunState

SECRETS = {"password": "}X|o<7n?0 '\"$", "telegram_token": "123456:token", "sentry_dsn": "https://dsnkey@sentry.io/1"}
PHONE = "4917612345678"
JID = f"{PHONE}:7@s.whatsapp.net"
A, B, C = "962301", "962302", "962303"


@pytest.fixture
def settings(tmp_path: Path) -> FailoverSettings:
    return settings_from_dict(
        {
            "host": "app1",
            "companies": [A, B, C],
            "database": {"host": "db", "password": SECRETS["password"]},
            "sessions_dir": str(tmp_path / "sessions"),
            "state_dir": str(tmp_path / "state"),
            "application": {"dir": "/srv/app"},
            "notify": {"telegram_token": SECRETS["telegram_token"], "sentry_dsn": SECRETS["sentry_dsn"]},
        }
    )


def source(kind: str, **problems: str) -> SourceReport:
    offers = {each: Offer({"pre-key": 800, "session": 33}, problems.get(f"c{each}", "")) for each in (A, B, C)}
    return SourceReport(kind, f"{kind} of app1", True, "", "2026-01-01T03:00:00Z", "0/1", 3.4, offers)


def plan_with(settings: FailoverSettings, reports: list[SourceReport], patch: pytest.MonkeyPatch) -> planning.Plan:
    patch.setattr(planning, "assess_sources", lambda *_arguments, **_options: reports)
    return make_plan(FailoverContext(settings, "", "files"), "failover", failover_steps(settings))


def assert_tells_no_secret(text: str) -> None:
    for secret in SECRETS.values():
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    assert PHONE not in text


def test_the_plan_says_what_moves_from_where_in_how_long(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    StoreRecord(settings.state).move([C], "files", by="r0", places={})
    plan = plan_with(settings, [source("primary", c962302="keys are gone"), source("mirror")], monkeypatch)
    text = plan_markdown(plan)
    assert plan.moving == [A, B]
    assert "app1: failover of 2 companies to files" in text
    assert "source primary (primary of app1): answers, 3 s old" in text
    assert f"company {A}: 833 keys from primary or mirror" in text
    assert f"company {B}: 833 keys from mirror (primary: keys are gone)" in text
    assert f"company {C}: stays on files since 20" in text
    assert "4. stop the application, or hold its writes: pm2 baileys-whatsapp-service" in text
    assert "USE_DATABASE_AUTH_STATE=false" in text
    assert "expected: " in text
    assert_tells_no_secret(text + json.dumps(plan.as_dict()))


def test_the_plan_names_what_blocks_and_what_is_degraded(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = SourceReport("primary", "db", problem="connect db: refused")
    text = plan_markdown(plan_with(settings, [dead], monkeypatch))
    assert "source primary (db): does not answer: connect db: refused" in text
    assert "BLOCKED: choose source app1: no source answers" in text
    assert "degraded: there is no live mirror" in text
    assert "degraded: the real Baileys does not prove the files" in text
    assert "nobody is notified" not in text


def test_what_blocks_stands_directly_behind_the_headline_and_what_is_degraded_at_the_end(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = SourceReport("primary", "db", problem="connect db: refused")
    plan = plan_with(settings, [dead], monkeypatch)
    lines = plan.sentences()
    blocked, degraded = len(plan.blocked), len(plan.degraded)
    assert blocked > 0
    assert lines[1 : 1 + blocked] == [f"  BLOCKED: {each}" for each in plan.blocked]
    assert lines[-degraded:] == [f"  degraded: {each}" for each in plan.degraded]
    assert lines[-degraded - 1].startswith("  expected: ")


def test_what_a_source_has_seen_elsewhere_does_not_read_as_its_own_fault(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = source("mirror")
    mirror.offers[B] = Offer({"pre-key": 833}, remark="the creds in the database are not usable")
    lines = plan_with(settings, [source("primary"), mirror], monkeypatch).sentences()
    seen = "(the mirror has seen: the creds in the database are not usable)"
    assert f"  company {B}: 833 keys from primary or mirror {seen}" in lines


def test_keys_that_are_counted_in_the_run_do_not_look_lost(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(settings, [source("primary")], monkeypatch)
    plan.operation, plan.target = "failback", "postgres"
    for each in plan.companies:
        each.keys, each.sources = None, []
    assert f"  company {A}: its keys are counted in the run" in plan.sentences()


def test_the_plan_shows_the_whole_order_of_sources_with_those_that_are_not_there(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(settings, [source("primary")], monkeypatch)
    assert [each["kind"] for each in plan.sources] == ["client", "journal", "primary", "replica", "mirror", "backup"]
    text = plan_markdown(plan)
    for kind, why in (
        ("client", "no session client of ours is set (failover_client_dir)"),
        ("journal", "no session client of ours is set (failover_client_dir)"),
        ("replica", "none is set (failover_replica)"),
        ("mirror", "none is set (failover_mirror_dir)"),
        ("backup", "restore one by hand"),
    ):
        assert [line for line in text.splitlines() if line.startswith(f"  source {kind}: not there: ") and why in line]


def test_a_primary_in_recovery_is_told_with_its_answer_and_as_degraded(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby = source("primary")
    standby.problem = "the server is a replica in recovery, not the primary"
    text = plan_markdown(plan_with(settings, [standby], monkeypatch))
    assert "answers, 3 s old, but the server is a replica in recovery" in text
    assert "degraded: primary: the server is a replica in recovery" in text


def test_a_mirror_that_is_too_old_is_degraded_while_the_primary_answers(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = source("mirror")
    old.age_seconds = 4000
    plan = plan_with(settings, [source("primary"), old], monkeypatch)
    assert plan.blocked == []
    assert plan.unready == [each for each in plan.degraded if each.startswith("mirror: it is 4000 s old")] != []


def test_a_home_without_room_blocks_the_plan_before_it_is_made(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs_result((4096, 4096, 10**6, 10**4, 10, 10**6, 10**6, 10**6, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    plan = plan_with(settings, [source("primary")], monkeypatch)
    assert any("check space" in each and "HINT: free space there" in each for each in plan.blocked), plan.blocked
    assert not Path(settings.sessions_dir).exists()


def test_a_plan_of_companies_that_have_all_moved_is_one_line(settings: FailoverSettings) -> None:
    StoreRecord(settings.state).move([A, B, C], "files", by="r0", places={})
    lines = Operation(settings, "failover").plan().sentences()
    assert len(lines) == 1
    assert f"app1: nothing to do: company {A} on files since 20" in lines[0]


def test_expected_seconds_are_those_of_the_last_run_on_this_host(
    settings: FailoverSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.state.mkdir()
    names = [step.name for step in failover_steps(settings)]
    (settings.state / "timings-files.json").write_text(json.dumps(dict.fromkeys(names, 10.0)))
    plan = plan_with(settings, [source("primary")], monkeypatch)
    assert plan.expected_seconds == 10.0 * len(names)
    assert plan.expected_downtime_seconds == 10.0 * (names.index("verify_connection") - names.index("stop") + 1)
    (settings.state / "timings-files.json").write_text("{broken")
    assert plan_with(settings, [source("primary")], monkeypatch).expected_seconds < 60


def line(event: str, step: str = "", result: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"at": "2026-01-01T03:00:00.000000Z", "event": event, "step": step, "result": result or {}, "seconds": 0.25}


def run_state() -> RunState:
    session = {
        "keys": 833, "counts": {"pre-key": 800, "session": 33}, "source": "mirror", "lsn": "0/1",
        "snapshot_at": "2026-01-01T02:59:58Z", "manifest_sha256": "ab" * 32, "user": f"{PHONE}@s.whatsapp.net",
    }  # fmt: skip
    sessions = dict.fromkeys((A, B), session)
    offers = {A: {"counts": {f"session-{PHONE}": 1}}}
    mirror = {"kind": "mirror", "answers": True, "age_seconds": 3.4, "offers": offers}
    primary = {"kind": "primary", "answers": False, "problem": f"connect db: no row of {JID}", "offers": {}}
    return RunState(
        [
            {**line("run_started"), "operation": "failover", "operator": "maria"},
            line("step_done", "choose_source", {"sources": [mirror, primary]}),
            line("step_done", "stage", {"sessions": sessions}),
            line("step_done", "stop", {"stopped_at": from_iso("2026-01-01T03:00:02Z").timestamp()}),
            line("step_done", "export", {"sessions": sessions}),
            line(
                "step_done",
                "verify",
                {"failed": {C: f"creds | are null, says {JID}"}, "proof": {"proven": True, "baileys": "7"}},
            ),
            line(
                "step_done",
                "verify_connection",
                {
                    "connected": [A],
                    "failed": {},
                    "excused": {B: "it was logged out before"},
                    "downtime_seconds": 1.5,
                },
            ),
        ]
    )


def test_the_report_says_of_each_company_where_it_is_and_what_is_wrong_with_it(settings: FailoverSettings) -> None:
    StoreRecord(settings.state).move([A, B], "files", by="r1", places={})
    steps = {"steps": [{"name": "export", "title": "put the copies in their places"}], "degraded": ["no mirror"]}
    report = make_report(FailoverContext(settings, "r1", "files"), steps, run_state(), "partial")
    assert report["companies"][A] == {
        "store": "files", "epoch": 1, "keys": 833, "counts": {"pre-key": 800, "session": 33}, "source": "mirror",
        "snapshot_at": "2026-01-01T02:59:58Z", "age_seconds": 5.4, "lsn": "0/1", "manifest_sha256": "ab" * 32,
        "imported": None, "connected": True, "problem": "",
    }  # fmt: skip
    assert (report["companies"][B]["connected"], report["companies"][B]["problem"]) == (
        False,
        "it was logged out before",
    )
    assert report["companies"][C]["store"] == "postgres"
    assert failed_companies(report) == [C]
    assert (report["operator"], report["downtime_seconds"]) == ("maria", 1.5)
    assert "offers" not in report["sources"][0]
    assert headline(report).startswith("failover on app1 done in part: 1 of 3 companies connected, down 1.5 s")
    text = as_markdown(report)
    assert f"| {A} | files | 833 | mirror | 5 s | yes |  |" in text
    assert f"| {C} | postgres |  |  |  | no | creds / are null, says #" in text
    assert "- source mirror: 3 s old" in text
    assert "- source primary: does not answer: connect db: no row of #" in text
    assert "DATA LOSS" not in text
    assert "| put the copies in their places | 0.25 |" in text
    assert "Baileys 7 loaded every key." in text
    assert "- degraded: no mirror" in text
    assert_tells_no_secret(text + json.dumps(report))


def test_what_others_said_leaves_the_host_without_jids_and_phone_numbers(settings: FailoverSettings) -> None:
    """The application's last error is whatever the application says, and errors quote it."""
    failed = {A: f"decrypting for {JID} failed", B: f"no session for {PHONE}"}
    state = RunState([line("run_started"), line("step_done", "verify_connection", {"connected": [], "failed": failed})])
    plan = {"degraded": [f"the mirror says {JID}"]}
    error = f"no session connected (company {A}: {JID})"
    report = make_report(FailoverContext(settings, "r1", "files"), plan, state, "open", error)
    text = as_markdown(report)
    assert_tells_no_secret(text + json.dumps(report))
    assert f"- error: no session connected (company {A}: #" in text
    assert report["companies"][A]["problem"].startswith("decrypting for #")
    assert report["degraded"][0].startswith("the mirror says #")


def test_data_older_than_allowed_are_said_to_be_lost_with_their_age(settings: FailoverSettings) -> None:
    strict = replace(settings, policy=replace(settings.policy, max_source_age_seconds=5.0, accept_data_loss=True))
    report = make_report(FailoverContext(strict, "r1", "files"), {}, run_state(), "done")
    assert report["data_loss"] == {A: 5.4, B: 5.4}
    text = as_markdown(report)
    assert f"DATA LOSS, accepted: company {A} goes on from data that were 5 s old" in text
    assert "1 of 3 companies connected, from data 5 s old, down 1.5 s" in headline(report)


def test_what_was_read_again_after_the_stop_is_not_old(settings: FailoverSettings) -> None:
    state = run_state()
    exported = state.results["export"]["sessions"]
    again = {A: {**exported[A], "snapshot_at": "2026-01-01T03:00:03Z"}, B: exported[B]}
    state.results["export"] = {"sessions": again}
    report = make_report(FailoverContext(settings, "r1", "files"), {}, state, "done")
    assert [report["companies"][each]["age_seconds"] for each in (A, B, C)] == [0.0, 5.4, None]


def test_a_report_of_a_run_that_failed_at_once_is_whole_too(settings: FailoverSettings) -> None:
    report = make_report(FailoverContext(settings, "r1", "files"), {}, RunState([]), "undone", "read .env: missing")
    assert report["downtime_seconds"] is None
    text = as_markdown(report)
    assert "failover" not in headline(report)
    assert "undone, everything is as before: 0 of 3 companies connected" in text
    assert "- error: read .env: missing" in text
    assert "down " not in headline(report)


def test_what_baileys_did_not_prove_is_said(settings: FailoverSettings) -> None:
    proof = {"proof": {"proven": False, "reason": "load_check.script is not set"}}
    state = RunState([line("run_started"), line("step_done", "verify", proof)])
    report = make_report(FailoverContext(settings, "r1", "files"), {}, state, "done")
    assert "Not proven by Baileys: load_check.script is not set." in as_markdown(report)
